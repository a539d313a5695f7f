"""Where a task stands that takes long, as one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.report.escaping import inline
from pytest_mipro.report.formatting import calls, cost
from pytest_mipro.report.text_width import columns, cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mipro.records import Progress

_WHAT = {
    "bootstrap": "bootstrapping demos",
    "propose": "proposing instructions",
    "search": "searching",
    "evaluate": "scoring held-out examples",
}
_LONGEST = 160
"""Columns that are left to what a model said."""
_MINUTE, _HOUR = 60, 3600


def progress_line(
    task: str, progress: Progress, *, left: float | None = None, width: int | None = None
) -> str:
    """
    Return where ``task`` stands, in a line.

    Args:
        task: Its name.
        progress: Where it stands.
        left: Seconds the phase will take yet; None if nobody knows.
        width: Columns there are; what does not fit is left out. None for a
            line among others, which says who says it.

    """
    counted = progress.done and progress.total is not None
    what = _WHAT[progress.phase] + (f" {progress.done:,}/{progress.total:,}" if counted else "")
    facts = [_trouble(progress)] if progress.provider_error else list(_facts(progress, left))
    if width is None:
        return inline(", ".join([f"mipro: {task}: {what}", *facts]))
    line = f"{cut(inline(task), max(width - len(what) - 2, width // 3))}: {what}"
    for fact in facts:
        if columns(line) + columns(fact) + 2 <= width:
            line += f", {fact}"
    return cut(inline(line), width)


def _facts(progress: Progress, left: float | None) -> Iterator[str]:
    """Yield what else there is to say, the most important first."""
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


def _trouble(progress: Progress) -> str:
    """Return why nothing moves, which is more than anything else there is to say."""
    return f"asking the model again: {cut(inline(progress.provider_error), _LONGEST)}"


def _left(seconds: float) -> str:
    """Return a time in words, as roughly as it is known."""
    if seconds < _MINUTE:
        return f"about {max(round(seconds / 10), 1) * 10} s left"
    if seconds < 2 * _HOUR:
        return f"about {round(seconds / _MINUTE)} min left"
    return f"about {round(seconds / _HOUR)} h left"
