"""``--mipro-dry-run`` shows what would run, with the most LM calls that it would make."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project


def test_a_dry_run_makes_no_call_and_its_bound_holds(project: Project) -> None:
    """The skipped test shows the most LM calls, and the run after it makes no more."""
    dry = project.run("--mipro", "--mipro-dry-run", "-rs")
    dry.assert_outcomes(skipped=1)
    assert dry.ret == pytest.ExitCode.OK
    assert project.calls == 0
    dry.stdout.fnmatch_lines(
        [
            "mipro: test_adder: would compile: no artifact in the store yet",
            "*bootstrap: at most 20 LM calls, * tokens, cost unknown (no price for 'scripted')",
            "*  propose: *",
            "*  search: *",
            "*  final: *",
            "*  held-out: at most 48 LM calls*",
            "*  together: *; tokens estimated from the prompts",
            "SKIPPED*--mipro-dry-run: would compile: *; at most * LM calls",
        ]
    )
    (most,) = re.findall(r"together: at most (\d+) LM calls", dry.stdout.str())
    project.run("--mipro").assert_outcomes(passed=1)
    assert 0 < project.calls <= int(most)


def test_a_stored_task_is_judged(compiled: Project) -> None:
    """A test that needs no model is judged; an estimate uses stored rows and ``mipro_price``."""
    paid = compiled.calls
    compiled.run("--mipro", "--mipro-dry-run").assert_outcomes(passed=1)
    rescored = compiled.run(
        "--mipro", "--mipro-dry-run", "--mipro-rescore", "-o", "mipro_price=scripted: 1 1"
    )
    rescored.assert_outcomes(skipped=1)
    rescored.stdout.fnmatch_lines(
        [
            "mipro: test_adder: would score 48 held-out rows",
            "*  together: at most 48 LM calls, * tokens, about $0.*; tokens as in * stored rows",
        ]
    )
    assert compiled.calls == paid


def test_a_dry_run_contradicts_an_update(project: Project) -> None:
    """A dry run has no outcome to accept, so the error names both flags."""
    result = project.run("--mipro", "--mipro-dry-run", "--mipro-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--mipro-update and --mipro-dry-run contradict each other*"])
