"""What GitHub Actions shows of a run: annotations at the tests, and the job summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pytest_mipro.report.escaping import printable
from pytest_mipro.report.formatting import shortened
from pytest_mipro.report.markdown import render_markdown
from pytest_mipro.report.summary import repeats_verdict, verdicts, worst_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_mipro.records import Verdict
    from pytest_mipro.report.summary import Summary, TaskSummary

STEP_SUMMARY_LIMIT = 1024 * 1024
"""The most bytes in a step's summary, together with what other programs put into it."""
MOST_ANNOTATIONS = 10
"""The most errors, and the most warnings, that GitHub shows of a step."""
_TITLE, _MESSAGE = 80, 600


def workflow_commands(summary: Summary) -> list[str]:
    """
    Return workflow commands for the tasks that need attention, a line each.

    A test that did not pass is an error, those that were not judged first; one
    that passed though its examples do not decide is a warning. Of each there are
    at most ``MOST_ANNOTATIONS``, of which the last counts the rest.
    """
    tasks = worst_first(summary.tasks)
    errors = [task for task in tasks if task.status == "error"]
    errors += [task for task in tasks if task.status == "failed"]
    doubts = [task for task in tasks if task.status == "passed" and task.word == "INCONCLUSIVE"]
    return [*_annotated("error", errors), *_annotated("warning", doubts)]


def step_summary(summary: Summary, already: int) -> str:
    """
    Return what to append to the file that ``GITHUB_STEP_SUMMARY`` names.

    Args:
        summary: What to show.
        already: How many bytes the file has. Details are left out where they
            would not fit beside that; the text is empty if nothing does.

    """
    before = "\n" if already else ""
    text = render_markdown(summary, STEP_SUMMARY_LIMIT - already - len(before))
    return before + text if text else ""


def _annotated(command: Literal["error", "warning"], tasks: Sequence[TaskSummary]) -> list[str]:
    if len(tasks) <= MOST_ANNOTATIONS:
        return [_annotation(command, task) for task in tasks]
    shown = [_annotation(command, task) for task in tasks[: MOST_ANNOTATIONS - 1]]
    rest = f"and {len(tasks) - len(shown)} more tasks, see the job summary"
    return [*shown, f"::{command} title=pytest-mipro::{rest}"]


def _annotation(command: str, task: TaskSummary) -> str:
    judged = task.status if task.word in {"PASS", "not judged"} else task.word
    properties = {
        "file": task.file,
        "line": str(task.line),
        "title": f"{_paragraph(task.task, _TITLE)}: {judged}",
    }
    named = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{command} {named}::{_data(_paragraph(_why(task), _MESSAGE))}"


def _why(task: TaskSummary) -> str:
    if task.status == "passed":
        return _sentences(each for each in verdicts(task) if each.word == "INCONCLUSIVE")
    unmet = _sentences(each for each in verdicts(task) if not each)
    return unmet if repeats_verdict(task) or not task.message else task.message


def _sentences(some: Iterable[Verdict]) -> str:
    return "; ".join(f"{each.question}: {each!r}" for each in some)


def _paragraph(text: str, most: int) -> str:
    return shortened(" ".join(text.split()), most)


def _data(text: str) -> str:
    """Return ``text`` as ``escapeData`` of actions/toolkit does (packages/core, command.ts)."""
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Return ``text`` as ``escapeProperty`` of actions/toolkit does."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
