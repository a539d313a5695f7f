"""A damaged file causes an error that names it and the next step; the file stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project


@pytest.fixture
def compiled(project: Project) -> Project:
    """Return the project after a run whose responses are cached."""
    conftest = (project.path / "conftest.py").read_text()
    project.write(conftest=conftest.replace('"calls.log")', '"calls.log", cache=True)'))
    project.run("--mipro").assert_outcomes(passed=1)
    return project


def assert_refused(project: Project, *lines: str) -> None:
    """Check that a run fails with these lines, without an LM call or a traceback."""
    paid = project.calls
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(lines)
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:[0-9]*: *")
    assert project.calls == paid


def test_a_damaged_store_is_an_error(compiled: Project) -> None:
    """The run makes no LM call, judges nothing and leaves the file as it is."""
    store = compiled.path / ".mipro" / "store.db"
    store.write_bytes(store.read_bytes()[:5000])
    content = store.read_bytes()
    assert_refused(
        compiled, "mipro: the store *: database disk image is malformed; * move it aside *"
    )
    assert store.read_bytes() == content
