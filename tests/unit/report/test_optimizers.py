"""The table that compares the optimizers of one test."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import summaries

from pytest_mipro.records import Usage
from pytest_mipro.report.html import render_html
from pytest_mipro.report.markdown import render_markdown
from pytest_mipro.report.optimizers import optimizer_tables, render_optimizers
from pytest_mipro.report.summary import Summary, summarize

if TYPE_CHECKING:
    from collections.abc import Mapping

SCORES = {"bootstrap": (1.0, 1.0, 0.0, 0.0), "mipro": (1.0, 1.0, 1.0, 0.0)}


def summary_of(scores: Mapping[str, tuple[float, ...]]) -> Summary:
    """Return a session with a test that was run with these optimizers."""
    tasks = []
    for number, (optimizer, values) in enumerate(scores.items(), 1):
        report = summaries.report()
        card = replace(report.compiled, examples=tuple("abcd"), scores=values, clusters=())
        report = replace(
            report,
            test=f"test_a.py::test[{optimizer}]",
            compiled=card,
            optimizer=optimizer,
            compile_usage=Usage(number * 100, 1000, 20),
            compile_seconds=number * 60.0,
        )
        tasks.append(summarize(report, file="test_a.py", line=1, status="passed"))
    return replace(summaries.summary(), tasks=tuple(tasks))


def test_each_optimizer_has_a_row() -> None:
    """It has its score, the difference to the first, and what its compile took."""
    ((test, rows),) = optimizer_tables(summary_of(SCORES))
    assert test == "test_a.py::test"
    assert [row.optimizer for row in rows] == ["bootstrap", "mipro"]
    assert [row.score[:6] for row in rows] == ["0.500 ", "0.750 "]
    assert not rows[0].difference
    assert rows[1].difference.startswith("+0.250 [")
    assert [(row.calls, row.tokens) for row in rows] == [("100", "1,020"), ("200", "1,020")]


def test_other_examples_are_not_compared() -> None:
    """Only a paired difference is one."""
    summary = summary_of(SCORES)
    first, second = summary.tasks
    assert second.report is not None
    card = replace(second.report.compiled, examples=tuple("wxyz"))
    second = replace(second, report=replace(second.report, compiled=card))
    ((_, rows),) = optimizer_tables(replace(summary, tasks=(first, second)))
    assert rows[1].difference == "other examples"


def test_one_optimizer_has_no_table() -> None:
    """Nor have tests that are not one test with several optimizers."""
    assert not render_optimizers(summary_of({"mipro": SCORES["mipro"]}))
    twice = summary_of({"mipro": SCORES["mipro"]})
    assert optimizer_tables(replace(twice, tasks=twice.tasks * 2)) == []


def test_every_format_shows_the_table() -> None:
    """Each with all cells, and with hostile names as text."""
    summary = summary_of({**SCORES, "<b>|x": SCORES["mipro"]})
    text = render_optimizers(summary)
    assert text.splitlines()[2].startswith("optimizer  score ")
    for rendered in (text, render_markdown(summary), render_html(summary)):
        assert "difference to the first" in rendered
        assert rendered.count("bootstrap") >= 1
    assert "| `<b>\\|x` |" in render_markdown(summary)
    assert "<b>" not in render_html(summary)
