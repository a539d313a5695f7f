"""Files that cannot be used: an error that names them and says what to do, and they stay."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from project import Project


def cut(store: Path) -> None:
    """Cut the file in the middle."""
    store.write_bytes(store.read_bytes()[:5000])


def overwrite(store: Path) -> None:
    """Write something else to the file."""
    store.write_text("something else", encoding="utf-8")


def alter(statement: str) -> Callable[[Path], None]:
    """Return what changes the store behind its back."""

    def change(store: Path) -> None:
        with closing(sqlite3.connect(store)) as connection:
            connection.execute(statement)
            connection.commit()

    return change


@pytest.fixture
def compiled(project: Project) -> Project:
    """Return the project after a run whose responses DSPy has kept."""
    conftest = (project.path / "conftest.py").read_text()
    project.write(conftest=conftest.replace('"calls.log")', '"calls.log", cache=True)'))
    project.run("--mipro").assert_outcomes(passed=1)
    return project


def refused(project: Project, *lines: str) -> None:
    """Check that a run is an error of these lines, asks nothing and shows no traceback."""
    paid = project.calls
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(lines)
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:[0-9]*: *")
    assert project.calls == paid


@pytest.mark.parametrize(
    "damage, line",
    [
        (cut, "mipro: the store *: database disk image is malformed; * move it aside *"),
        (overwrite, "mipro: the store *: file is not a database; * move it aside *"),
        (
            alter("UPDATE rows SET value = replace(value, '1.0', '0.0')"),
            "mipro: rows/* is not what was written, in the store *store.db; * move it aside *",
        ),
        (
            alter("UPDATE about SET version = 99"),
            "mipro: the store *store.db has format 99, *; use another store, *",
        ),
        (
            alter("UPDATE about SET application = 'another'"),
            "mipro: *store.db is a database of something else; use another one *",
        ),
    ],
    ids=["cut", "no database", "edited", "newer", "foreign"],
)
def test_a_store_that_cannot_be_used(
    compiled: Project, damage: Callable[[Path], None], line: str
) -> None:
    """Whatever is wrong with it, nothing is asked, judged or deleted."""
    store = compiled.path / ".mipro" / "store.db"
    damage(store)
    found = store.read_bytes()
    refused(compiled, line)
    assert store.read_bytes() == found


def test_a_file_in_place_of_the_folder(project: Project) -> None:
    """There is nowhere to keep what is paid for."""
    (project.path / ".mipro").touch()
    refused(project, "mipro: the folder *.mipro, *cannot be written: File exists; move aside *")


def test_responses_that_cannot_be_opened(compiled: Project) -> None:
    """DSPy's cache is not ours, but what is wrong with it is told in the same way."""
    (compiled.path / ".mipro" / "store.db").unlink()
    for file in (compiled.path / ".mipro" / "lm").rglob("cache.db"):
        file.write_text("something else", encoding="utf-8")
    refused(compiled, "mipro: the LM responses kept in *lm* cannot be used: * move it aside *")


def test_responses_that_are_damaged(compiled: Project) -> None:
    """No language model is blamed for a file, and once it is moved aside the run goes on."""
    (compiled.path / ".mipro" / "store.db").unlink()
    for file in (compiled.path / ".mipro" / "lm").rglob("cache.db"):
        content = file.read_bytes()
        file.write_bytes(content[: 4 * 4096].ljust(len(content), b"\xa5"))
    refused(compiled, "mipro: the LM responses kept in *lm* cannot be used: * move it aside *")
    (compiled.path / ".mipro" / "lm").rename(compiled.path / "aside")
    compiled.run("--mipro").assert_outcomes(passed=1)
