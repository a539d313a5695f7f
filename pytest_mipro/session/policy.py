"""What a session is asked for, and what it asks of whatever it runs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dspy

    from pytest_mipro.records import Progress
    from pytest_mipro.task import Task


class Surroundings(Protocol):
    """What a session asks of whatever it runs in."""

    def optimize(self, task: Task) -> dspy.Module | None:
        """Compile ``task`` in another way than ours, or return None."""

    def fingerprint(self, task: Task) -> Mapping[str, object]:
        """Return further parts of the compile key, by name."""

    def say(self, line: str) -> None:
        """Show the user one line."""

    def progress(self, task: Task, progress: Progress) -> None:
        """Show the user how far a task has come."""

    def warn(self, text: str) -> None:
        """Warn the user about the test that is running."""

    def advise(self, text: str) -> None:
        """Warn the user about the task of the test that is being set up."""


@dataclass(frozen=True)
class Policy:
    """
    What the user asked of all tasks of a session.

    Attributes:
        update: Accept every outcome as the reference.
        frozen: Take program and scores from the reference; compile nothing.
        refresh: Compile again what the store has.
        rescore: Answer the held-out examples again, whatever the store has.
        tolerant: Let ``no_regression`` pass where the examples do not decide.

    """

    update: bool = False
    frozen: bool = False
    refresh: bool = False
    rescore: bool = False
    tolerant: bool = True
