"""The callbacks of a session: its only connection to the plugin and to the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_mipro.records import Progress
    from pytest_mipro.task import Task


@dataclass(frozen=True)
class Callbacks:
    """The functions that a session calls, so that it depends on no pytest.

    Attributes:
        fingerprint: Returns further parts of the compile key, by name.
        show_line: Shows the user one line.
        show_progress: Shows the user the progress of a task.
        warn: Warns about the test that is set up or runs.
        run_in_test: Runs work that the body of a test asks for, whose errors are not failures of
            the test, and returns its result.
    """

    fingerprint: Callable[[Task], Mapping[str, object]]
    show_line: Callable[[str], None]
    show_progress: Callable[[Task, Progress], None]
    warn: Callable[[str], None]
    run_in_test: Callable[[Callable[[], Any]], Any]

    def say(self, task: Task, text: str) -> None:
        """Show a line about ``task``."""
        self.show_line(f"mipro: {task.name}: {text}")

    def say_waiting(self, task: Task, process_name: str) -> None:
        """Show that another process, which works on ``task``, has to finish first."""
        self.say(task, f"waiting for {process_name}, which works on the same task")

    def advise(self, text: str) -> None:
        """Warn with ``text``, unless it is empty."""
        if text:
            self.warn(text)
