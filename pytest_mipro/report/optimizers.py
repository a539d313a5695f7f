"""Compare the optimizers of one test that was run with several of them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from pytest_mipro.escaping import escaped_line
from pytest_mipro.gate import compare
from pytest_mipro.report.formatting import duration, interval, mean_score, money
from pytest_mipro.report.text_width import text_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_mipro.records import Report
    from pytest_mipro.report.summary import Summary


class OptimizerRow(NamedTuple):
    """One line of a table of optimizers; ``HEADINGS`` has its columns."""

    optimizer: str
    score: str
    difference: str
    calls: str
    tokens: str
    cost: str
    took: str


HEADINGS = OptimizerRow(
    "optimizer", "score", "difference to the first", "LM calls", "tokens", "cost", "took"
)


def optimizer_tables(summary: Summary) -> list[tuple[str, list[OptimizerRow]]]:
    """Return, for each test with several optimizers, its name and a row for each of them.

    The calls and the time are those of the compile, whenever it was done.
    """
    reports = [task.report for task in summary.tasks if task.report is not None]
    by_test = groupby(sorted(reports, key=_declaring_test), key=_declaring_test)
    groups = [(test, list(members)) for test, members in by_test]
    return [
        (test, list(_rows(members)))
        for test, members in groups
        if len({report.optimizer for report in members}) > 1
    ]


def render_optimizers(summary: Summary) -> str:
    """Return the tables as text, one below the other; empty if there is none."""
    lines: list[str] = []
    for test, rows in optimizer_tables(summary):
        cells = [tuple(map(escaped_line, row)) for row in (HEADINGS, *rows)]
        lines += ["", escaped_line(f"optimizers of {test}"), *text_table(cells)]
    return "\n".join(lines)


def _declaring_test(report: Report) -> str:
    return report.test.partition("[")[0]


def _rows(reports: Sequence[Report]) -> Iterator[OptimizerRow]:
    first = reports[0]
    for report in reports:
        usage = report.compile_usage
        yield OptimizerRow(
            report.optimizer,
            mean_score(report.compiled),
            "" if report is first else _difference(first, report),
            f"{usage.calls:,}",
            f"{usage.tokens:,}",
            money(usage),
            duration(report.compile_seconds),
        )


def _difference(first: Report, report: Report) -> str:
    """Return the paired difference, if both were scored on the same examples."""
    if first.compiled.examples != report.compiled.examples:
        return "other examples"
    scores = first.compiled.scores, report.compiled.scores
    return interval(compare(*scores, clusters=report.compiled.clusters))
