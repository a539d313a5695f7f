"""The one model all renderers show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_mipro.records import Record, Report

if TYPE_CHECKING:
    from collections.abc import Sequence

Word = Literal["PASS", "FAIL", "INCONCLUSIVE", "not judged"]
_WORST_FIRST: tuple[Word, ...] = ("FAIL", "INCONCLUSIVE", "PASS")


@dataclass(frozen=True)
class TaskSummary(Record):
    """
    One task in one test.

    Attributes:
        report: All there is to say about it.
        word: The worst of the verdicts the test asked for.
        effort: What this run did for it, in words.

    """

    report: Report
    word: Word
    effort: str


@dataclass(frozen=True)
class Summary(Record):
    """All tasks of a session, in the order of their tests."""

    tasks: tuple[TaskSummary, ...]


def summarize(reports: Sequence[Report]) -> Summary:
    """Return the summary of ``reports``."""
    return Summary(tuple(TaskSummary(each, _word(each), _effort(each)) for each in reports))


def _word(report: Report) -> Word:
    given = {verdict.word for verdict in report.verdicts}
    return next((word for word in _WORST_FIRST if word in given), "not judged")


def _effort(report: Report) -> str:
    calls = f"{report.usage.calls} LM call{'' if report.usage.calls == 1 else 's'}"
    if report.origin == "stored":
        return f"from the store, {calls}"
    return f"compiled in {report.seconds:.0f} s, {calls}"
