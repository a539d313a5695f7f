"""``--mipro-prune`` deletes from the store what was not used for so long."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project


def age(project: Project, days: float) -> None:
    """Let everything in the store be as old as ``days``."""
    with sqlite3.connect(project.path / ".mipro" / "store.db") as store:
        for table in ("rows", "traces", "proposals", "trials", "artifacts"):
            store.execute(f"UPDATE {table} SET used = used - ?", (days * 86_400,))
    store.close()


def test_what_is_old_is_deleted_at_the_end(project: Project) -> None:
    """The summary counts by kind; what the run used stays."""
    project.run("--mipro")
    age(project, 40)
    paid = project.calls
    result = project.run("--mipro", "--mipro-prune", "30")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["deleted from sqlite:///.mipro/store.db, as not used for 30 days: * proposals, * rows, *"]
    )
    assert project.calls == paid
    again = project.run("--mipro", "-o", "mipro_prune=30", "-n", "1")
    again.assert_outcomes(passed=1)
    again.stdout.fnmatch_lines(["deleted from *: nothing"])
    assert project.calls == paid


def test_without_a_store_there_is_nothing_to_delete(project: Project) -> None:
    """Nor is one made."""
    result = project.run("--mipro", "--mipro-prune", "1", "-k", "nothing")
    result.stdout.fnmatch_lines(["deleted from *: nothing"])
    assert not (project.path / ".mipro").exists()


def test_after_ctrl_c_nobody_waits_for_it(project: Project) -> None:
    """A run that is stopped deletes nothing."""
    project.run("--mipro")
    age(project, 40)
    project.write(test_stopped="def test_stopped(): raise KeyboardInterrupt")
    result = project.run("--mipro", "--mipro-prune", "30")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.no_fnmatch_line("deleted from *")


@pytest.mark.parametrize("value", ["0", "-1", "soon"])
def test_a_wrong_number_is_a_usage_error(project: Project, value: str) -> None:
    """The error names the flag, the value and what it can be."""
    result = project.run("--mipro", "--mipro-prune", value)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--mipro-prune={value!r}: expected a number of days above 0"])
