"""End a compile by an optimizer of DSPy if the first runs of the program all fail alike.

DSPy's optimizers score a failed run as 0 and go on, so a broken program would cost a whole compile.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dspy.utils.callback import BaseCallback

from pytest_mipro.dspy_internals import calling_modules
from pytest_mipro.errors import MiproError, ProgramError
from pytest_mipro.evaluate import failure_of
from pytest_mipro.optimize.mipro.first_rows import FIRST_ROWS, UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    import dspy


class FirstRuns(BaseCallback):
    """Watches the runs of a program, and of its copies, until one of them succeeds.

    Args:
        program: The program.
        stop: Called with the error, once, if the first runs all failed alike.
    """

    def __init__(self, program: dspy.Module, stop: Callable[[ProgramError], None]) -> None:
        super().__init__()
        self._class = type(program)
        self._stop = stop
        self._runs: set[str] = set()
        self._failures: list[Exception] = []
        self._is_over = False
        self._lock = threading.Lock()

    def on_module_start(
        self,
        call_id: str,
        instance: object,
        inputs: dict[str, Any],  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
    ) -> None:
        """Recognize the run of a program that no other module calls."""
        if not self._is_over and type(instance) is self._class and not calling_modules():
            self._runs.add(call_id)

    def on_module_end(
        self,
        call_id: str,
        outputs: object,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        exception: BaseException | None = None,
    ) -> None:
        """Count a failed run, and end the compile if it is one too many."""
        # An error of ours ends the compile by itself.
        if self._is_over or call_id not in self._runs or isinstance(exception, MiproError):
            return
        with self._lock:
            if isinstance(exception, Exception):
                self._failures.append(exception)
            else:
                self._is_over = True
            if len(self._failures) >= FIRST_ROWS and not self._is_over:
                self._is_over = True
                self._refuse_equal_failures()

    def _refuse_equal_failures(self) -> None:
        names = {type(failure).__name__ for failure in self._failures}
        if len(names) > 1 or UNREADABLE in names:
            return
        failure = failure_of(self._failures[0])
        message = (
            f"{self._class.__name__} failed in each of its first {FIRST_ROWS} runs with "
            f"{failure.type}: it is broken, which is no score; nothing is stored. The first "
            f"failure:\n{failure.traceback.rstrip()}"
        )
        self._stop(ProgramError(message))
