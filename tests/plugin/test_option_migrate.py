"""``--mipro-migrate`` shows what a move to another model, adapter or DSPy does to each task."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from project import CONFTEST

if TYPE_CHECKING:
    from project import Project

FAST = ("--mipro", "--mipro-optimizer", "labeled")
"""Arguments with an optimizer that asks no model."""
NEWER = CONFTEST.replace("return ", "lm = ") + '    lm.model = "newer"\n    return lm\n'
"""The project's model under another name."""


def references(project: Project) -> dict[str, bytes]:
    """Return the accepted files."""
    return {path.name: path.read_bytes() for path in (project.path / "__mipro__").rglob("*.json")}


def test_a_migration_measures_and_accepts_nothing(guarded: Project) -> None:
    """Each test is skipped, and the reports have a table; with xdist, too, which asks no more."""
    guarded.run(*FAST, "--mipro-update").assert_outcomes(passed=1)
    accepted = references(guarded)
    guarded.write(conftest=NEWER)
    result = guarded.run(
        *(*FAST, "--mipro-migrate", "-rs"),
        *("--mipro-report", "mipro.json", "--mipro-report", "mipro.md"),
    )
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.OK
    table = [
        "test_adder: model scripted -> newer",
        "program * model * score * difference to the reference * an answer",
        "reference, stored  scripted  * tokens",
        "reference          newer     * tokens",
        "recompiled         newer     * tokens",
        "recompiled against the reference under newer: *",
        "compared on 24 held-out examples; compiling took 0 LM calls, $0",
        "this run made *, and accepted nothing",
        "accept the recompiled program with: * *::test_adder --mipro-optimizer labeled",
    ]
    result.stdout.fnmatch_lines(table)
    result.stdout.fnmatch_lines(["SKIPPED*--mipro-migrate: measured model scripted -> newer"])
    (task,) = json.loads((guarded.path / "mipro.json").read_text(encoding="utf-8"))["tasks"]
    assert task["migration"]["recompiled"]["scores"]
    assert "| recompiled |" in (guarded.path / "mipro.md").read_text(encoding="utf-8")
    paid = guarded.calls
    spread = guarded.run(*FAST, "--mipro-migrate", "-n", "1")
    spread.assert_outcomes(skipped=1)
    spread.stdout.fnmatch_lines(table)
    assert guarded.calls == paid
    assert references(guarded) == accepted


def test_without_a_reference_or_a_move_it_is_an_error(guarded: Project) -> None:
    """With the next step, and before a model is asked."""
    result = guarded.run(*FAST, "--mipro-migrate")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*nothing to migrate: no reference is accepted*"])
    assert guarded.calls == 0
    guarded.run(*FAST, "--mipro-update")
    paid = guarded.calls
    result = guarded.run(*FAST, "--mipro-migrate")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*nothing to migrate: *; name another model with --mipro-lm*"])
    assert guarded.calls == paid
