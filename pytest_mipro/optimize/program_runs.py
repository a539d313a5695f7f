"""End a compile by an optimizer of DSPy if the program is broken, or would end the test run.

DSPy's optimizers score a failed run as 0 and go on, so a broken program would cost a whole compile.
Nor do they catch what skips or ends a test, which would then pass without a verdict.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import dspy
from dspy.utils.callback import BaseCallback

from pytest_mipro.dspy_internals import calling_modules
from pytest_mipro.errors import MiproError, ProgramError
from pytest_mipro.evaluate import failure_of, is_from_signal, program_error, would_end_run
from pytest_mipro.optimize.mipro.first_rows import FIRST_ROWS, UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Callable


class ProgramRuns(BaseCallback):
    """Watches the runs of a program and of its copies.

    Args:
        program: The program.
        stop: Called with the error if the first runs all failed alike, and if any run raised what
            would end or skip the test run.
    """

    def __init__(self, program: dspy.Module, stop: Callable[[ProgramError], None]) -> None:
        super().__init__()
        self._program = program
        self._stop = stop
        self._runs: dict[str, dspy.Example] = {}
        self._failures: list[Exception] = []
        self._is_decided = False
        self._lock = threading.Lock()

    def on_module_start(
        self,
        call_id: str,
        instance: object,
        inputs: dict[str, Any],
    ) -> None:
        """Recognize the run of a program that no other module calls."""
        if type(instance) is type(self._program) and not calling_modules():
            self._runs[call_id] = dspy.Example(inputs.get("kwargs", {}))

    def on_module_end(
        self,
        call_id: str,
        outputs: object,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        exception: BaseException | None = None,
    ) -> None:
        """End the compile if the run would end the test run, or if it failed like all others."""
        example = self._runs.pop(call_id, None)
        # An error of ours ends the compile by itself, and Ctrl-C or a time limit ends the test.
        if example is None or isinstance(exception, MiproError | KeyboardInterrupt):
            return
        if exception is not None and would_end_run(exception):
            if not is_from_signal(exception):
                self._stop(program_error(self._program, exception, example))
        elif not self._is_decided:
            self._record(exception)

    def _record(self, exception: BaseException | None) -> None:
        with self._lock:
            if isinstance(exception, Exception):
                self._failures.append(exception)
            else:
                self._is_decided = True
            if len(self._failures) >= FIRST_ROWS and not self._is_decided:
                self._is_decided = True
                self._refuse_equal_failures()

    def _refuse_equal_failures(self) -> None:
        names = {type(failure).__name__ for failure in self._failures}
        if len(names) > 1 or UNREADABLE in names:
            return
        failure = failure_of(self._failures[0])
        message = (
            f"{type(self._program).__name__} failed in each of its first {FIRST_ROWS} runs with "
            f"{failure.type}: it is broken, which is no score; nothing is stored. The first "
            f"failure:\n{failure.traceback.rstrip()}"
        )
        self._stop(ProgramError(message))
