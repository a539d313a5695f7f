"""Render the progress of a task as one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.escaping import escaped_line
from pytest_mipro.report.formatting import calls, cost
from pytest_mipro.report.text_width import columns, cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mipro.records import Progress

_PHASES = {
    "bootstrap": "bootstrapping demos",
    "propose": "proposing instructions",
    "search": "searching",
    "optimize": "compiling",
    "evaluate": "scoring held-out examples",
}
_ERROR_WIDTH = 160
"""Columns that an error of a provider takes at most."""
_MINUTE, _HOUR = 60, 3600


def progress_line(
    task: str, progress: Progress, *, left: float | None = None, width: int | None = None
) -> str:
    """Return the progress of ``task`` as one line.

    Args:
        task: The name of the task.
        progress: Its phase, its counts and its costs.
        left: Estimated seconds until the phase ends; None without an estimate.
        width: Columns of the line; facts that do not fit are left out. None for
            a line of a log, which has a prefix and no limit.
    """
    has_counts = progress.done and progress.total is not None
    counts = f" {progress.done:,}/{progress.total:,}" if has_counts else ""
    phase = _PHASES[progress.phase] + counts
    facts = [_retry(progress)] if progress.provider_error else list(_facts(progress, left))
    if width is None:
        return escaped_line(", ".join([f"mipro: {task}: {phase}", *facts]))
    line = f"{cut(escaped_line(task), max(width - len(phase) - 2, width // 3))}: {phase}"
    for fact in facts:
        if columns(line) + columns(fact) + 2 <= width:
            line += f", {fact}"
    return cut(escaped_line(line), width)


def _facts(progress: Progress, left: float | None) -> Iterator[str]:
    """Yield the facts of a line, the most important first."""
    usage = progress.usage
    if progress.best is not None:
        yield f"best so far {progress.best:.3f}"
    if left is not None:
        yield _left(left)
    if usage.calls:
        yield calls(usage)
        if usage.cost:
            yield cost(usage)
    if usage.tokens:
        yield f"{usage.tokens:,} tokens"


def _retry(progress: Progress) -> str:
    """Return the error because of which the model is asked again; it replaces all other facts."""
    return f"asking the model again: {cut(escaped_line(progress.provider_error), _ERROR_WIDTH)}"


def _left(seconds: float) -> str:
    """Return a time in words, rounded as an estimate is."""
    if seconds < _MINUTE:
        return f"about {max(round(seconds / 10), 1) * 10} s left"
    if seconds < 2 * _HOUR:
        return f"about {round(seconds / _MINUTE)} min left"
    return f"about {round(seconds / _HOUR)} h left"
