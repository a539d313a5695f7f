"""Render what was accepted, orphaned references and pruned rows as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.escaping import escaped_line
from pytest_mipro.report.prompt_changes import prompt_diff

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_mipro.records import Acceptance, Means, Report

MOST_ORPHANS = 10
"""Lines about stale and orphaned references; the rest is counted."""
_ACCEPTED = {
    "first": "first reference",
    "changed": "accepted",
    "unchanged": "reference unchanged",
    "replaced": "accepted, in place of files that could not be used",
}

_NEXT_STEP = "commit these files, so that later runs compare with them"


def render_acceptances(reports: Iterable[Report]) -> str:
    """Return the accepted files of each test, with a diff to the earlier reference."""
    lines: list[str] = []
    first_tasks: dict[tuple[str, ...], str] = {}
    for report in reports:
        if (acceptance := report.acceptance) is None:
            continue
        lines.append(
            f"{report.task}: {_ACCEPTED[acceptance.change]}: {', '.join(acceptance.files)}"
        )
        if acceptance.change != "unchanged":
            # The diffs of tests that share a task are equal.
            diff = tuple(_diff(acceptance))
            first = first_tasks.setdefault(diff, report.task)
            lines += diff if first == report.task else [f"  the same as {first}"]
    if first_tasks:
        lines.append(_NEXT_STEP)
    return "\n".join(map(escaped_line, lines))


def render_orphans(stale: Sequence[str], orphans: Sequence[str]) -> str:
    """Return a line for each reference that is out of date or belongs to no test.

    Args:
        stale: Sentences about references that are out of date.
        orphans: Files that belong to no test.
    """
    lines = [
        *stale,
        *(f"{path} belongs to no test; delete it if it is not needed" for path in orphans),
    ]
    shown = lines[:MOST_ORPHANS]
    if len(lines) > MOST_ORPHANS:
        shown.append(f"and {len(lines) - MOST_ORPHANS} more")
    return "\n".join(map(escaped_line, shown))


def render_pruned(store: str, days: float, removed: Mapping[str, int]) -> str:
    """Return how many rows of each kind were deleted from the store, and whose they were."""
    counts = (
        f"{count} {kind if count != 1 else kind.removesuffix('s')}"
        for kind, count in sorted(removed.items())
        if count
    )
    unit = "day" if days == 1 else "days"
    users = "" if store.startswith("sqlite") else " by any of the projects that share it"
    return escaped_line(
        f"deleted from {store}, as not used for {days:g} {unit}{users}: "
        f"{', '.join(counts) or 'nothing'}"
    )


def _diff(acceptance: Acceptance) -> Iterator[str]:
    yield from _scores(acceptance)
    for head, text in prompt_diff(acceptance.prompts_before, acceptance.prompts_after):
        yield f"  {head}{text}"


def _scores(acceptance: Acceptance) -> Iterator[str]:
    new, old = acceptance.current, acceptance.previous
    if old is None:
        yield f"  scores: {_means(new)}"
        return
    yield f"  scores: {_means(old)} -> {_means(new)}"
    counts = {
        "changed": acceptance.changed,
        "added": acceptance.added,
        "removed": acceptance.removed,
    }
    phrases = [f"{count} {verb}" for verb, count in counts.items() if count]
    metric = ["under another metric than before"] if acceptance.rescored else []
    yield f"  examples by compiled score: {', '.join([*phrases, *metric]) or 'all the same'}"


def _means(means: Means) -> str:
    return f"baseline {means.baseline:.3f}, compiled {means.compiled:.3f} (n = {means.n})"
