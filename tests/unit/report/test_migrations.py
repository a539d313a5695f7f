"""The tables of what moves do to tasks."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import summaries

from pytest_mipro.gate import compare
from pytest_mipro.records import ExampleCost, Migration, Scorecard, Usage
from pytest_mipro.report import Summary, TaskSummary
from pytest_mipro.report.html import render_html
from pytest_mipro.report.json_report import render_json
from pytest_mipro.report.markdown import render_markdown
from pytest_mipro.report.migrations import migration_tables, render_migrations
from pytest_mipro.report.summary import headline

EXAMPLES = tuple("abcd")
COMMAND = "pytest --mipro --mipro-update test_a.py::test --mipro-lm openai/new"


def card(*scores: float, tokens: float | None = 120.0, usd: float | None = 0.0001) -> Scorecard:
    """Return the scorecard of a program."""
    costs = () if tokens is None else (ExampleCost(tokens, usd),) * len(scores)
    return Scorecard(EXAMPLES, scores, Usage(4), costs=costs)


def migration(**values: Any) -> Migration:
    """Return a move that loses two examples of four, and gains one back by a compile."""
    accepted, moved, recompiled = card(1, 1, 1, 0), card(1, 0, 0, 0), card(1, 1, 0, 0, tokens=None)
    default = Migration(
        accepted_model="openai/old",
        model="openai/new",
        moves="model openai/old -> openai/new",
        accepted=accepted,
        moved=moved,
        recompiled=recompiled,
        loss=compare(accepted.scores, moved.scores),
        gain=compare(moved.scores, recompiled.scores),
        net=compare(accepted.scores, recompiled.scores),
        usage=Usage(1234, 10, 10, 1234, 0.5),
        compile_usage=Usage(1000),
        command=COMMAND,
    )
    return replace(default, **values)


def summary(**values: Any) -> Summary:
    """Return the summary of a session that measured one move."""
    task = TaskSummary(
        task="router",
        test="test_a.py::test",
        file="test_a.py",
        line=3,
        status="skipped",
        word="not judged",
        migration=migration(**values),
    )
    return replace(summaries.summary(), tasks=(task,))


def test_each_program_has_a_row() -> None:
    """It has its model, its score, the difference to the accepted scores, and its cost."""
    (table,) = migration_tables(summary())
    stored, moved, recompiled = table.rows
    assert [row.model for row in table.rows] == ["openai/old", "openai/new", "openai/new"]
    assert [row.score[:7] for row in table.rows] == ["0.750 [", "0.250 [", "0.500 ["]
    assert stored.difference == "-"
    assert moved.difference.startswith("-0.500 [")
    assert recompiled.difference.startswith("-0.250 [")
    assert [row.answer for row in table.rows] == [
        *["120 tokens, $0.000100"] * 2,
        "unknown",
    ]


def test_the_notes_have_what_it_took_and_the_next_step() -> None:
    """And whether a compile helps under the new model."""
    (table,) = migration_tables(summary(moved=card(1, 0, 0, 0, usd=None)))
    assert table.rows[1].answer == "120 tokens"
    assert table.notes[0].startswith("recompiled against the reference under openai/new: +0.250 [")
    assert table.notes[1:] == (
        "compared on 4 held-out examples; compiling took 1,000 LM calls, cost unknown",
        "this run made 1,234 LM calls, $0.5000, and accepted nothing",
        f"accept the recompiled program with: {COMMAND}",
    )


def test_a_terminal_has_aligned_columns() -> None:
    """Nothing is shown of a session without a move."""
    lines = render_migrations(summary(), 100).splitlines()
    assert lines[1] == "router: model openai/old -> openai/new"
    assert len({line.index("openai/") for line in lines[3:6]}) == 1
    assert not render_migrations(summaries.summary(), 100)


@pytest.mark.parametrize("render", [render_markdown, render_html, render_json])
def test_every_format_has_the_move(render: Any) -> None:
    """With hostile names as text."""
    text = render(summary(model="<b>|x", moves="model a -> <b>|x\x1b[2J"))
    assert "recompiled" in text
    assert "\x1b[2J" not in text
    if render is render_json:
        assert json.loads(text)["tasks"][0]["migration"]["model"] == "<b>|x"
    elif render is render_markdown:
        assert "| `<b>\\|x` |" in text
    else:
        assert "<b>" not in text


def test_the_headline_says_that_nothing_was_judged() -> None:
    """The tests are skipped, and that is no news."""
    assert headline(summary()) == "The move of 1 task was measured"
