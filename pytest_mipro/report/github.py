"""Render the summary for GitHub Actions: annotations at the tests, and the job summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pytest_mipro.escaping import printable
from pytest_mipro.gate import question
from pytest_mipro.report.formatting import shortened
from pytest_mipro.report.markdown import render_markdown
from pytest_mipro.report.summary import repeats_verdict, verdicts, worst_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_mipro.records import Verdict
    from pytest_mipro.report.summary import Summary, TaskSummary

STEP_SUMMARY_LIMIT = 1024 * 1024
"""The most bytes of a step's summary, which other programs write to, too."""
MOST_ANNOTATIONS = 10
"""The most errors of a step that GitHub shows; it shows as many warnings."""
_TITLE, _MESSAGE = 80, 600


def render_annotations(summary: Summary) -> list[str]:
    """Return workflow commands for the tasks that need attention, one per line.

    A test that did not pass is an error; those without a verdict come first. A
    test that passed with an INCONCLUSIVE verdict is a warning. There are at
    most ``MOST_ANNOTATIONS`` of both, of which the last counts the rest.
    """
    tasks = worst_first(summary.tasks)
    errors = [task for task in tasks if task.status == "error"]
    errors += [task for task in tasks if task.status == "failed"]
    undecided = [task for task in tasks if task.status == "passed" and task.word == "INCONCLUSIVE"]
    return [*_annotated("error", errors), *_annotated("warning", undecided)]


def render_step_summary(summary: Summary, used: int) -> str:
    """Return what to append to the file that ``GITHUB_STEP_SUMMARY`` names.

    Args:
        summary: What to show.
        used: How many bytes the file has. Details that do not fit beside them
            are left out; the text is empty if the headline does not fit.
    """
    separator = "\n" if used else ""
    text = render_markdown(summary, STEP_SUMMARY_LIMIT - used - len(separator))
    return separator + text if text else ""


def _annotated(command: Literal["error", "warning"], tasks: Sequence[TaskSummary]) -> list[str]:
    if len(tasks) <= MOST_ANNOTATIONS:
        return [_annotation(command, task) for task in tasks]
    shown = [_annotation(command, task) for task in tasks[: MOST_ANNOTATIONS - 1]]
    rest = f"and {len(tasks) - len(shown)} more tasks, see the job summary"
    return [*shown, f"::{command} title=pytest-mipro::{rest}"]


def _annotation(command: str, task: TaskSummary) -> str:
    result = task.status if task.word in {"PASS", "not judged"} else task.word
    properties = {
        "file": task.file,
        "line": str(task.line),
        "title": f"{_paragraph(task.task, _TITLE)}: {result}",
    }
    pairs = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{command} {pairs}::{_data(_paragraph(_reason(task), _MESSAGE))}"


def _reason(task: TaskSummary) -> str:
    if task.status == "passed":
        return _sentences(
            verdict
            for verdict in verdicts(task)
            if verdict.word == "INCONCLUSIVE" or verdict.deferred
        )
    unmet = _sentences(verdict for verdict in verdicts(task) if not verdict)
    return unmet if repeats_verdict(task) or not task.message else task.message


def _sentences(verdicts: Iterable[Verdict]) -> str:
    return "; ".join(f"{question(verdict)}: {verdict!r}" for verdict in verdicts)


def _paragraph(text: str, most: int) -> str:
    return shortened(" ".join(text.split()), most)


def _data(text: str) -> str:
    """Return ``text`` as ``escapeData`` of actions/toolkit does (packages/core, command.ts)."""
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Return ``text`` as ``escapeProperty`` of actions/toolkit does."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
