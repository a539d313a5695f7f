"""Check for failed answers before a result becomes a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.gate import failed_answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mipro.records import Scorecard
    from pytest_mipro.session.results import TaskResult
    from pytest_mipro.task import Task

_PASSING = {"connection", "warning"}
"""Reasons of a failure that may be gone in the next run."""


def check_failures(task: Task, result: TaskResult, warn: Callable[[str], None]) -> None:
    """Warn if answers failed.

    Raises:
        ReferenceFileError: Answers failed because of something outside of the program: later
            runs, which may get them, would be compared with scores of 0.
    """
    __tracebackhide__ = True
    for name, program in (("baseline", result.baseline), ("compiled", result.compiled)):
        _check_card(task, name, program.card, warn)


def _check_card(task: Task, name: str, card: Scorecard, warn: Callable[[str], None]) -> None:
    __tracebackhide__ = True
    passing = [failure for failure in card.failures if failure.reason in _PASSING]
    for first in (passing or card.failures)[:1]:
        clause = f"{failed_answers(name, card)}; for example {first.type}: {first.message}"
        if passing:
            message = (
                f"nothing is accepted, because answers may be there in the next run: {clause}; "
                "run the same command again, or let the program answer where it raises this"
            )
            raise ReferenceFileError(message)
        warn(f"{task.name}: accepted with failed answers: {clause}")
