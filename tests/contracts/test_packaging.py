"""What must stay true of the package, its metadata and the commands that build it."""

import os
import re
import stat
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import pytest_mipro

ROOT = Path(__file__).parents[2]

MAIN_JOB = "python -m pip install tox && python -m tox run -e example"
ALL_CHECKS = "python -m pip install tox && python -m tox run"


def read(name: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def direct_requirements() -> list[Requirement]:
    """Return the package's requirements, those of its extras included."""
    return [Requirement(line) for line in metadata.requires("pytest-mipro") or ()]


def lowest_pins() -> dict[str, Version]:
    """Return the versions that the lowest environment installs."""
    lines = (
        line.partition("#")[0].strip() for line in read(".ci/constraints-lowest.txt").splitlines()
    )
    pins = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): Version(version) for name, version in pins}


def installed_by_tox() -> bool:
    """Tell whether tox started this run in an environment that installs the wheel."""
    env = os.environ.get("TOX_ENV_NAME", "")
    return env.startswith("py")


needs_wheel = pytest.mark.skipif(
    not installed_by_tox(), reason="only tox's test environments install a wheel"
)


def test_the_readme_opens_with_the_two_commands() -> None:
    """The first two shell blocks of the README hold one command each: the main job, the checks."""
    blocks: list[str] = re.findall(
        r"^```shell\n(.*?)^```$", read("README.md"), re.MULTILINE | re.DOTALL
    )
    assert [block.strip() for block in blocks[:2]] == [MAIN_JOB, ALL_CHECKS]


def test_ci_runs_the_second_command_and_nothing_else() -> None:
    """.ci/run goes to the repository's root and runs the README's second command."""
    lines = [line for line in read(".ci/run").splitlines() if line]
    assert lines == [
        "#!/usr/bin/env bash",
        "set -euo pipefail",
        'cd "$(dirname "${BASH_SOURCE[0]}")/.."',
        ALL_CHECKS,
    ]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
def test_ci_run_is_executable() -> None:
    """.ci/run can be started by its path."""
    assert (ROOT / ".ci/run").stat().st_mode & stat.S_IXUSR


def test_lowest_pins_are_the_declared_floors() -> None:
    """The lowest environment installs exactly the oldest version of each direct dependency."""
    floors = {
        canonicalize_name(requirement.name): Version(clause.version)
        for requirement in direct_requirements()
        for clause in requirement.specifier
        if clause.operator == ">="
    }
    assert lowest_pins() == floors


def test_every_direct_dependency_is_tested_on_its_oldest_version() -> None:
    """Some tests are marked as those of that dependency, and the lowest environments run them."""
    marks = re.findall(
        r"pytest\.mark\.uses\(([^)]*)\)",
        "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")),
    )
    marked = {canonicalize_name(name) for mark in marks for name in re.findall(r'"(.+?)"', mark)}
    assert marked == set(lowest_pins())


def test_every_direct_dependency_has_a_floor() -> None:
    """Each requirement says from which version on it is known to work."""
    without = [
        str(requirement)
        for requirement in direct_requirements()
        if not any(clause.operator == ">=" for clause in requirement.specifier)
    ]
    assert without == []


def test_every_dependency_line_gives_its_reason() -> None:
    """Each requirement in pyproject.toml stands on its own line, before a comment that says why."""
    requirement = re.compile(r'^ *"(?P<name>[\w-]+)(\[[\w,-]+\])?[<>=~!]+[^"]*",?(?P<rest>.*)$')
    lines = [
        match for match in map(requirement.match, read("pyproject.toml").splitlines()) if match
    ]
    named = {canonicalize_name(line["name"]) for line in lines}
    assert {canonicalize_name(declared.name) for declared in direct_requirements()} <= named
    assert [line["name"] for line in lines if not re.match(r" *# \S+ \S+", line["rest"])] == []


def test_changelog_opens_with_this_version() -> None:
    """The top section of the changelog is this version, with a date or as unreleased."""
    top = re.search(
        r"^## \[(?P<version>[^\]]+)\] - (\d{4}-\d\d-\d\d|Unreleased)$",
        read("CHANGELOG.md"),
        re.MULTILINE,
    )
    assert top is not None
    assert top["version"] == pytest_mipro.__version__


def test_metadata_carries_the_version_of_the_code() -> None:
    """The installed distribution and the package agree about the version."""
    assert metadata.version("pytest-mipro") == pytest_mipro.__version__


def test_pytest_finds_the_plugin() -> None:
    """The entry point of pytest plugins names the plugin."""
    (plugin,) = metadata.entry_points(group="pytest11", name="mipro")
    assert plugin.value == "pytest_mipro.plugin"


@needs_wheel
def test_the_installed_wheel_is_tested() -> None:
    """The package under test comes from site-packages, not from the checkout."""
    assert Path(pytest_mipro.__file__).is_relative_to(sysconfig.get_path("purelib"))


@needs_wheel
def test_the_wheel_holds_the_package_and_nothing_else() -> None:
    """Tests and examples stay out of the wheel; the marker for type checkers is in it."""
    files = [file.as_posix() for file in metadata.files("pytest-mipro") or ()]
    tops = {file.partition("/")[0] for file in files}
    assert "pytest_mipro/py.typed" in files
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pytest_mipro"}
