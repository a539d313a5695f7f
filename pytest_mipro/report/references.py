"""What became of the references, as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.report.escaping import inline
from pytest_mipro.report.prompt_changes import prompt_diff

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_mipro.records import Acceptance, Means, Report

MOST = 10
"""Lines about references nobody asked about; the rest is counted."""
_WHAT = {
    "first": "first reference",
    "changed": "accepted",
    "unchanged": "reference unchanged",
    "replaced": "accepted, in place of files that could not be used",
}


def render_acceptances(reports: Iterable[Report]) -> str:
    """Return what was accepted: for each test its files, and a diff to the earlier reference."""
    lines: list[str] = []
    told: dict[tuple[str, ...], str] = {}
    for report in reports:
        if (acceptance := report.acceptance) is None:
            continue
        lines.append(f"{report.task}: {_WHAT[acceptance.what]}: {' and '.join(acceptance.files)}")
        if acceptance.what != "unchanged":
            # Tests that share a task have all of it in common.
            first = told.setdefault(diff := tuple(_diff(acceptance)), report.task)
            lines += diff if first == report.task else [f"  the same as {first}"]
    return "\n".join(map(inline, lines))


def render_orphans(stale: Sequence[str], orphans: Sequence[str]) -> str:
    """
    Return a line for each reference that needs somebody to look at it.

    Args:
        stale: What is out of date, and why.
        orphans: Files that belong to no test.

    """
    lines = [
        *stale,
        *(f"{path} belongs to no test; delete it if it is not needed" for path in orphans),
    ]
    shown = lines[:MOST]
    if len(lines) > MOST:
        shown.append(f"and {len(lines) - MOST} more")
    return "\n".join(map(inline, shown))


def render_pruned(store: str, days: float, removed: Mapping[str, int]) -> str:
    """Return what was deleted from the store, by kind."""
    counts = (
        f"{count} {kind if count != 1 else kind.removesuffix('s')}"
        for kind, count in sorted(removed.items())
        if count
    )
    what = ", ".join(counts) or "nothing"
    unit = "day" if days == 1 else "days"
    return inline(f"deleted from {store}, as not used for {days:g} {unit}: {what}")


def _diff(acceptance: Acceptance) -> Iterator[str]:
    yield from _scores(acceptance)
    for head, text in prompt_diff(acceptance.prompts_before, acceptance.prompts_after):
        yield f"  {head}{text}"


def _scores(acceptance: Acceptance) -> Iterator[str]:
    after, before = acceptance.after, acceptance.before
    if before is None:
        yield f"  scores: {_means(after)}"
        return
    yield f"  scores: {_means(before)} -> {_means(after)}"
    counts = {
        "changed": acceptance.changed,
        "added": acceptance.added,
        "removed": acceptance.removed,
    }
    told = [f"{count} {verb}" for verb, count in counts.items() if count]
    metric = ["under another metric than before"] if acceptance.rescored else []
    yield f"  examples by compiled score: {', '.join([*told, *metric]) or 'all the same'}"


def _means(means: Means) -> str:
    return f"baseline {means.baseline:.3f}, compiled {means.compiled:.3f} (n = {means.n})"
