"""Files that cannot be used: an error that names them and says what to do, and they stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project


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


def test_a_store_that_cannot_be_used(compiled: Project) -> None:
    """Nothing is asked, judged or deleted."""
    store = compiled.path / ".mipro" / "store.db"
    store.write_bytes(store.read_bytes()[:5000])
    found = store.read_bytes()
    refused(compiled, "mipro: the store *: database disk image is malformed; * move it aside *")
    assert store.read_bytes() == found


def test_responses_that_are_damaged(compiled: Project) -> None:
    """No language model is blamed for a file, and once it is moved aside the run goes on."""
    (compiled.path / ".mipro" / "store.db").unlink()
    for file in (compiled.path / ".mipro" / "lm").rglob("cache.db"):
        content = file.read_bytes()
        file.write_bytes(content[: 4 * 4096].ljust(len(content), b"\xa5"))
    refused(compiled, "mipro: the LM responses kept in *lm* cannot be used: * move it aside *")
    (compiled.path / ".mipro" / "lm").rename(compiled.path / "aside")
    compiled.run("--mipro").assert_outcomes(passed=1)
