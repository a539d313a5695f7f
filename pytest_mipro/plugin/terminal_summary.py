"""Write the section ``mipro`` of pytest's terminal summary."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from pytest_mipro.errors import MiproError
from pytest_mipro.plugin.safe_text import safe_line, safe_text
from pytest_mipro.report import (
    render_acceptances,
    render_details,
    render_failed_answers,
    render_migrations,
    render_optimizers,
    render_orphans,
    render_pruned,
    render_table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest

    from pytest_mipro.plugin.settings import Settings
    from pytest_mipro.report import Summary


def write(
    reporter: pytest.TerminalReporter, summary: Summary, notes: Sequence[str], settings: Settings
) -> None:
    """Write the section, unless it is empty.

    Args:
        reporter: The terminal.
        summary: The summary of the session.
        notes: Lines below it.
        settings: The settings of the session.
    """
    width = reporter.config.get_terminal_writer().fullwidth
    rows = render_table(summary, width)
    lines = []
    if reporter.verbosity > 0:
        for task in summary.tasks:
            lines += ["", *render_details(task, width).splitlines()]
    for task in summary.tasks:
        lines += render_failed_answers(task, width).splitlines()
    lines += render_migrations(summary, width).splitlines()
    lines += [line for text in _texts(summary, settings) for line in text.splitlines()]
    lines += map(safe_line, notes)
    if rows or lines:
        reporter.write_sep("=", "mipro")
    for row in rows:
        for segment in row:
            reporter.write(segment.text, **{segment.style: True} if segment.style else {})
        reporter.write_line("")
    for line in lines:
        reporter.write_line(line)


def _texts(summary: Summary, settings: Settings) -> Iterator[str]:
    """Return what was accepted, what is stale or orphaned, and what was deleted."""
    reports = [task.report for task in summary.tasks if task.report is not None]
    yield render_optimizers(summary)
    yield render_acceptances(reports)
    if summary.orphans is not None:
        stale = [report.stale for report in reports if report.stale]
        yield render_orphans(stale, summary.orphans)
    # To prune a large store takes longer than a user waits after Ctrl-C.
    if settings.prune is not None and not summary.interrupted:
        yield _prune(settings, settings.prune)


def _prune(settings: Settings, days: float) -> str:
    """Delete from the store what was not used for ``days``, and return how much that was."""
    from pytest_mipro.store import Store  # loads SQLAlchemy

    if settings.store_file is not None and not settings.store_file.exists():
        return render_pruned(settings.store_name, days, {})
    try:
        with closing(Store.open(settings.store_url)) as store:
            removed = store.prune(days)
    except MiproError as error:
        return safe_text(f"nothing was deleted from the store: {error}")
    return render_pruned(settings.store_name, days, removed)
