"""About how large an HTML report becomes, to find the limits that it fits with."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from html import escape
from typing import TYPE_CHECKING

from pytest_mipro.report.escaping import visible
from pytest_mipro.report.page import page
from pytest_mipro.report.summary import worst_first

if TYPE_CHECKING:
    from pytest_mipro.report.lengths import Limits
    from pytest_mipro.report.summary import Summary, TaskSummary

_SAMPLE = 20
"""So many examples of a task stand for all of them."""
_PROBE = 200
"""So many characters stand for how much a text grows when it is escaped."""
_MARKUP = 150
"""About how many bytes of HTML something takes besides its text."""


def sample(summary: Summary) -> Summary:
    """Return ``summary`` with some of its examples, to judge the others by."""
    return replace(summary, tasks=tuple(map(_sampled, summary.tasks)))


def weigh(sampled: Summary, whole: Summary, limits: Limits) -> int:
    """Return about how many bytes of HTML ``whole`` takes, judging by a sample of it."""
    shown = page(sampled, limits)
    total = _weight(shown)
    for task, source in zip(shown.tasks, worst_first(whole.tasks), strict=False):
        rows = () if task.found is None else task.found.examples.rows
        if source.report is not None and rows:
            more = min(len(source.report.held_out), limits.rows) - len(rows)
            total += _weight(rows) * max(more, 0) // len(rows)
    return total


def _sampled(task: TaskSummary) -> TaskSummary:
    if task.report is None or len(task.report.held_out) <= _SAMPLE:
        return task
    every = task.report.held_out
    some = tuple(every[len(every) * place // _SAMPLE] for place in range(_SAMPLE))
    return replace(task, report=replace(task.report, held_out=some))


def _weight(shown: object) -> int:
    if isinstance(shown, str):
        probe = shown[:_PROBE]
        return len(escape(visible(probe)).encode()) * len(shown) // len(probe) if probe else 0
    if is_dataclass(shown):
        return _MARKUP + sum(_weight(getattr(shown, each.name)) for each in fields(shown))
    return sum(map(_weight, shown)) if isinstance(shown, tuple) else 0
