"""The section of the terminal summary: what was judged, accepted, left over and deleted."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from pytest_mipro.errors import MiproError
from pytest_mipro.report import (
    details,
    inline,
    render_acceptances,
    render_orphans,
    render_pruned,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest

    from pytest_mipro.plugin.options import Settings
    from pytest_mipro.report import Summary


def write(
    reporter: pytest.TerminalReporter, summary: Summary, notes: Sequence[str], settings: Settings
) -> None:
    """
    Write the section, if there is anything to say.

    Args:
        reporter: Where to.
        summary: What to show.
        notes: Further lines.
        settings: Of the session.

    """
    width = reporter.config.get_terminal_writer().fullwidth
    rows = table(summary, width)
    lines = []
    if reporter.verbosity > 0:
        for task in summary.tasks:
            lines += ["", *details(task, width).splitlines()]
    lines += [line for text in _texts(summary, settings) for line in text.splitlines()]
    lines += map(inline, notes)
    if rows or lines:
        reporter.write_sep("=", "mipro")
    for row in rows:
        for segment in row:
            reporter.write(segment.text, **{segment.style: True} if segment.style else {})
        reporter.write_line("")
    for line in lines:
        reporter.write_line(line)


def _texts(summary: Summary, settings: Settings) -> Iterator[str]:
    reports = [task.report for task in summary.tasks if task.report is not None]
    yield render_acceptances(reports)
    if summary.orphans is not None:
        yield render_orphans([each.stale for each in reports if each.stale], summary.orphans)
    # After Ctrl-C nobody waits for what a large store takes.
    if settings.prune is not None and not summary.interrupted:
        yield _prune(settings, settings.prune)


def _prune(settings: Settings, days: float) -> str:
    """Delete from the store what is older than ``days``, and say what that was."""
    from pytest_mipro.store import Store  # loads SQLAlchemy

    if settings.store_file is not None and not settings.store_file.exists():
        return render_pruned(settings.store, days, {})
    try:
        with closing(Store.open(settings.store_url)) as store:
            removed = store.prune(days)
    except MiproError as error:
        return f"nothing was deleted from the store: {error}"
    return render_pruned(settings.store, days, removed)
