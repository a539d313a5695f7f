from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from version_control import git

from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.reference.git import content_at, tracked_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with a commit, and a change since."""
    root = tmp_path / "a b"
    (root / "sub").mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    (root / "sub" / "old.json").write_text("ä", encoding="utf-8")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    (root / "sub" / "old.json").write_text("forged", encoding="utf-8")
    (root / "sub" / "new.json").write_text("forged", encoding="utf-8")
    return root


def test_the_content_of_a_commit(repository: Path) -> None:
    """It is that of the commit, whatever the work tree has."""
    assert content_at("main", repository / "sub" / "old.json") == "ä".encode()
    (repository / "sub" / "old.json").unlink()
    (repository / "sub" / "new.json").unlink()
    (repository / "sub").rmdir()
    assert content_at("HEAD", repository / "sub" / "old.json") == "ä".encode()


@pytest.mark.parametrize("name", ["sub/new.json", "sub/none.json", "none/none.json"])
def test_a_file_that_the_commit_lacks(repository: Path, name: str) -> None:
    """It has no content, also where the work tree has the file."""
    assert content_at("main", repository / name) is None


@pytest.mark.parametrize("revision", ["origin/main", "--output=x", "main:sub", ""])
def test_what_is_no_commit(repository: Path, revision: str) -> None:
    """The error says what to fetch."""
    with pytest.raises(ReferenceFileError, match=r"--mipro-reference-from\): .*fetch-depth: 0"):
        content_at(revision, repository / "sub" / "old.json")
    assert sorted(path.name for path in repository.iterdir()) == [".git", "sub"]


def test_outside_of_a_repository(tmp_path: Path) -> None:
    """There is no commit."""
    with pytest.raises(ReferenceFileError, match="not a git repository"):
        content_at("main", tmp_path / "x.json")


def test_without_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its absence is an error where a commit is to be read, and else none."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ReferenceFileError, match="install git"):
        content_at("main", repository / "sub" / "old.json")
    assert tracked_file(repository / "sub") is None


def test_a_tracked_file(repository: Path) -> None:
    """The first file that git tracks is named."""
    assert tracked_file(repository / "sub") == "sub/old.json"
    (repository / "other").mkdir()
    assert tracked_file(repository / "other") is None
