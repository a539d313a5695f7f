"""``--mipro-prune`` deletes entries of the store that were not used for so many days."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project


def age(project: Project, days: float) -> None:
    """Make all entries of the store ``days`` older."""
    with sqlite3.connect(project.path / ".mipro" / "store.db") as store:
        for table in ("rows", "traces", "proposals", "artifacts"):
            store.execute(f"UPDATE {table} SET used = used - ?", (days * 86_400,))
    store.close()


def test_old_entries_are_deleted_at_the_end(compiled: Project) -> None:
    """The summary counts the deleted entries by kind; those that the run used stay."""
    age(compiled, 40)
    paid = compiled.calls
    result = compiled.run("--mipro", "--mipro-prune", "30")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["deleted from sqlite:///.mipro/store.db, as not used for 30 days: * proposals, * rows, *"]
    )
    assert compiled.calls == paid
    second = compiled.run("--mipro", "-o", "mipro_prune=30", "-n", "1")
    second.assert_outcomes(passed=1)
    second.stdout.fnmatch_lines(["deleted from *: nothing"])
    assert compiled.calls == paid


def test_without_a_store_nothing_is_deleted(project: Project) -> None:
    """The run does not make a store."""
    result = project.run("--mipro", "--mipro-prune", "1", "-k", "nothing")
    result.stdout.fnmatch_lines(["deleted from *: nothing"])
    assert not (project.path / ".mipro").exists()


def test_an_interrupted_run_deletes_nothing(compiled: Project) -> None:
    """The user does not have to wait for a large store after Ctrl-C."""
    age(compiled, 40)
    compiled.write(test_stopped="def test_stopped(): raise KeyboardInterrupt")
    result = compiled.run("--mipro", "--mipro-prune", "30")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.no_fnmatch_line("deleted from *")


@pytest.mark.parametrize("value", ["0", "-1", "soon"])
def test_a_wrong_number_is_a_usage_error(project: Project, value: str) -> None:
    """The error names the flag, the value and the expected values."""
    result = project.run("--mipro", "--mipro-prune", value)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--mipro-prune={value!r}: expected a number of days above 0"])
