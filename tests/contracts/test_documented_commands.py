"""Each command, setting and workflow of the documentation can be used as it is written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest
from documentation import PAGES, ROOT, Block, block, blocks
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from pathlib import Path

    from project import Project

NOT_RUN = {
    "python -m pip install": "it asks a package index; extras and environments are checked below",
    "python benchmarks/": "it takes minutes; test_benchmarks.py runs each with --quick",
    "python make_questions.py": "test_documentation.py runs it with the rest of the tutorial",
    "mkdir questions": "it makes a folder, as that test does",
    "cd questions": "it enters the folder, as that test does",
    "python -m venv .venv": "it makes an environment, as .ci/release.py does",
    "source .venv/bin/activate": "it enters the environment, as .ci/release.py does",
    "dask": "it starts a server; test_executor.py starts a cluster",
    "optuna-dashboard": "it starts a server; test_study.py opens the dashboard",
    "sudo -u postgres psql": "it needs an administrator; database_server.py creates databases",
    "CREATE": "it is what that command reads",
    "SQL": "it ends what that command reads",
    "export": "it is a password or a key",
}
"""The beginnings of commands that no test runs, and the reason."""
ONLY_COLLECTED = ("openai/", "NEW", "local", "--mipro-migrate")
"""Words of commands that ask another model or need a move: collecting checks them all the same."""
LABELED = 'inputs=["ticket"], optimizer="labeled"'
"""The arguments of a task that is compiled without a call."""


def commands() -> list[str]:
    """Return the commands in blocks of all pages, and those in tables and sentences."""
    lines = [
        line.removeprefix("$ ").strip()
        for code in blocks("console", "shell")
        for line in code.text.splitlines()
        if code.language == "shell" or line.startswith("$ ")
    ]
    pages = [(ROOT / page).read_text(encoding="utf-8") for page in PAGES if page != "CHANGELOG.md"]
    inline = [command for text in pages for command in re.findall(r"`(pytest --mipro[^`]*)`", text)]
    return sorted({*lines, *inline})


PYTEST = [command for command in commands() if command.startswith("pytest")]


def test_each_command_is_run_or_has_a_reason() -> None:
    """A command of pytest is run below."""
    rest = set(commands()).difference(PYTEST)
    assert {command for command in rest if not command.startswith(tuple(NOT_RUN))} == set()
    assert {
        beginning
        for beginning in NOT_RUN
        if not any(command.startswith(beginning) for command in rest)
    } == set()


def longest_commands() -> list[list[str]]:
    """Return the arguments of pytest, without those that are a part of others.

    Without ``-v``, which decides only what is shown.
    """
    lines = [[word for word in shlex.split(command)[1:] if word != "-v"] for command in PYTEST]
    return [words for words in lines if not any(set(words) < set(longer) for longer in lines)]


def test_each_pytest_command_can_be_given(folder: Project) -> None:
    """In a repository with an accepted reference, each ends well."""
    test = (folder.path / "test_routing.py").read_text(encoding="utf-8")
    folder.write(test_routing=test.replace('inputs=["ticket"]', LABELED))
    folder.run("--mipro", "--mipro-update").assert_outcomes(passed=1)
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (
        ["init", "--quiet"],
        ["add", "."],
        ["commit", "--quiet", "--message=Accept"],
        ["update-ref", "refs/remotes/origin/main", "HEAD"],
    ):
        subprocess.run([*git, *words], check=True, cwd=folder.path)
    for arguments in longest_commands():
        if any(word.startswith(ONLY_COLLECTED) for word in arguments):
            arguments.append("--collect-only")
        result = folder.run(*arguments)
        assert (arguments, result.ret) == (arguments, 0)
    assert {"report.html", "report.json"} <= {path.name for path in folder.path.iterdir()}


def test_each_ini_block_can_be_used(folder: Project) -> None:
    """Pytest knows each option of all blocks together, and the plugin accepts its value."""
    settings = "".join(code.text.partition("[pytest]\n")[2] for code in blocks("ini"))
    (folder.path / "pytest.ini").write_text(f"[pytest]\n{settings}", encoding="utf-8")
    result = folder.run("--mipro", "--strict-config", "--collect-only")
    assert result.ret == 0


@pytest.mark.parametrize("code", blocks("console", "shell"), ids=str)
def test_each_name_in_a_command_exists(code: Block) -> None:
    """The extras, environments of tox and scripts that it names are there."""
    extras = set(metadata.metadata("pytest-mipro").get_all("Provides-Extra") or ())
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    for names in re.findall(r"pytest-mipro\[([\w,]+)\]", code.text):
        assert set(names.split(",")) <= extras
    for name in re.findall(r"tox run -e ([a-z]+)\b", code.text):
        assert f"[testenv:{name}]" in tox
    for script in re.findall(r"python ((?:benchmarks|docs)/\w+\.py)", code.text):
        assert (ROOT / script).is_file()


def test_each_workflow_is_as_github_wants_it(tmp_path: Path) -> None:
    """A block of steps alone is checked within a workflow."""
    yaml = YAML(typ="safe")
    for number, code in enumerate(blocks("yaml")):
        content = yaml.load(code.text)
        if isinstance(content, list):
            job = {"runs-on": "ubuntu-latest", "steps": content}
            content = {"on": "push", "jobs": {"judge": job}}
        with (tmp_path / f"{number}.yml").open("w", encoding="utf-8") as file:
            yaml.dump(content, file)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    files = sorted(tmp_path.iterdir())
    result = subprocess.run(
        [*command, "vendor.github-workflows", *files],
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    assert files
    assert result.returncode == 0, result.stdout


def test_the_owners_are_those_of_every_reference(tmp_path: Path) -> None:
    """Git, whose patterns GitHub takes for owners, finds references in any folder by it."""
    pattern, owner = block("owners of references").split()
    (tmp_path / ".gitignore").write_text(pattern, encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], check=True, cwd=tmp_path)
    paths = ["__mipro__/test_a/test.json", "tests/deep/__mipro__/test_a/test.history.json"]
    matched = subprocess.run(
        ["git", "check-ignore", *paths, "tests/test_a.py"],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        encoding="utf-8",
    )
    assert owner.startswith("@")
    assert matched.stdout.split() == paths
