"""What a release publishes is prepared: its version, its notes, and the forms of the repository."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import pytest_mipro

ROOT = Path(__file__).parents[2]
VERSION = pytest_mipro.__version__
FORMS = {
    ".github/ISSUE_TEMPLATE/bug.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/idea.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
    ".github/dependabot.yml": "dependabot",
}
"""Files for GitHub that are no workflows, and their schemas."""


@pytest.fixture
def release(tmp_path: Path) -> dict[str, Any]:
    """Return the names of the command, for a changelog that a test writes."""
    names = runpy.run_path(str(ROOT / ".ci" / "release.py"))
    package = tmp_path / "pytest_mipro"
    package.mkdir()
    (package / "__init__.py").write_text(f'__version__ = "{VERSION}"\n', encoding="utf-8")
    names["notes"].__globals__["ROOT"] = tmp_path
    return names


def write(folder: Path, date: str) -> None:
    """Write a changelog with a section of the version and an older one."""
    text = (
        f"# Changelog\n\n## [{VERSION}] - {date}\n\n### Added\n\n- It.\n\n## [0.0.1] - 2026-01-01\n"
    )
    (folder / "CHANGELOG.md").write_text(text, encoding="utf-8")


def test_the_changelog_has_a_section_of_the_version() -> None:
    """The first one, which the release on GitHub gets."""
    sections = [
        line
        for line in (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()
        if line[:4] == "## ["
    ]
    assert sections[0].startswith(f"## [{VERSION}] - ")


def test_the_notes_are_the_section(tmp_path: Path, release: dict[str, Any]) -> None:
    """Without its heading, and without older ones."""
    write(tmp_path, "2026-12-01")
    assert release["notes"](f"v{VERSION}") == "### Added\n\n- It.\n"


@pytest.mark.parametrize(
    "tag, date, reason",
    [
        ("v9.9.9", "2026-12-01", f"tag v{VERSION}"),
        (VERSION, "2026-12-01", f"tag v{VERSION}"),
        (f"v{VERSION}", "Unreleased", "write the date"),
    ],
)
def test_a_release_that_is_not_ready_ends(
    tmp_path: Path, release: dict[str, Any], tag: str, date: str, reason: str
) -> None:
    """Before anything is built."""
    write(tmp_path, date)
    with pytest.raises(SystemExit, match=reason):
        release["main"]("check", str(tmp_path / "dist"), tag)
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("name", FORMS)
def test_github_accepts_the_forms(name: str) -> None:
    """Each is as its schema wants it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    done = subprocess.run(
        [*command, f"vendor.{FORMS[name]}", ROOT / name],
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout


def test_files_are_published_from_a_tag_by_one_job_without_a_token() -> None:
    """They are built and tested before; the job that publishes runs one pinned action."""
    path = ROOT / ".github" / "workflows" / "release.yml"
    workflow = YAML(typ="safe").load(path)
    jobs = workflow["jobs"]
    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    assert workflow["permissions"] == {}
    assert (jobs["publish"]["needs"], jobs["test"]["needs"]) == ("test", "build")
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    publish = jobs["publish"]["steps"][-1]
    assert publish["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert set(publish["with"]) == {"packages-dir"}  # Attestations are its default.
    assert "secrets." not in path.read_text(encoding="utf-8")
