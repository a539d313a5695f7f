"""The summary as lines for a terminal."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mipro.records import Progress, Prompt
    from pytest_mipro.report.summary import Summary, TaskSummary

_UNSAFE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
_WHAT = {
    "bootstrap": "bootstrapping demos",
    "propose": "proposing instructions",
    "search": "searching",
    "evaluate": "scoring held-out examples",
}


def printable(text: str) -> str:
    """
    Return ``text`` with everything a terminal would obey shown instead of sent.

    Line breaks stay; control, format and private characters become escapes.
    """
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in _UNSAFE
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def inline(text: str) -> str:
    """Return ``text`` safe for a terminal and on one line."""
    return printable(text).replace("\n", "\\n")


def render(summary: Summary, *, detailed: bool) -> str:
    """
    Return one line per task.

    Args:
        summary: What to show.
        detailed: Also show each verdict's sentence and the compiled prompts.

    """
    lines = []
    for task in summary.tasks:
        lines.append(_line(task))
        if detailed:
            lines.extend(_details(task))
    return "\n".join(map(inline, lines))


def progress_line(task: str, progress: Progress) -> str:
    """Return where ``task`` stands, in a line."""
    count = (
        "" if progress.total is None or not progress.done else f" {progress.done}/{progress.total}"
    )
    best = "" if progress.best is None else f", best so far {progress.best:.3f}"
    calls = f", {progress.usage.calls} LM calls" if progress.usage.calls else ""
    return inline(f"mipro: {task}: {_WHAT[progress.phase]}{count}{best}{calls}")


def _line(task: TaskSummary) -> str:
    comparison = task.report.comparison
    return (
        f"{task.report.task}: {task.word}  "
        f"baseline {comparison.baseline:.3f} -> compiled {comparison.compiled:.3f}  "
        f"({comparison.difference:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}], "
        f"n = {comparison.n})  {task.effort}"
    )


def _details(task: TaskSummary) -> Iterator[str]:
    for verdict in task.report.verdicts:
        yield f"  {verdict.question}: {verdict!r}"
    for prompt in task.report.prompts_after:
        yield from _prompt(prompt)


def _prompt(prompt: Prompt) -> Iterator[str]:
    yield f"  compiled instruction of {prompt.predictor}:"
    yield from _indented(prompt.instruction)
    yield f"  compiled demos of {prompt.predictor}: {len(prompt.demos) or 'none'}"
    for demo in prompt.demos:
        fields = (f"{name}: {value}" for name, value in demo.items() if name != "augmented")
        yield from _indented(" | ".join(fields))


def _indented(text: str) -> Iterator[str]:
    for line in text.splitlines() or ["(empty)"]:
        yield f"    {line}"
