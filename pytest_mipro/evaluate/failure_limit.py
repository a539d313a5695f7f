"""How often a program may fail: a number of times, and never from the beginning."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, get_args

from pytest_mipro.errors import ProgramError
from pytest_mipro.evaluate.failures import traceback_with_advice
from pytest_mipro.records import ReplyReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_mipro.records import Failure, Row, Trace

logger = logging.getLogger(__name__)

_FIRST_RUNS = 5
"""Runs that show a program to be broken if all fail alike, before more are paid for."""


class FailureLimit:
    """Counts the runs that a program failed in, and raises when they are too many.

    A program that fails in its first runs, each time with the same exception, is broken. A
    reply that cannot be read does not show that: better prompts may change it.

    Args:
        max_errors: Maximum number of failed runs; None allows any number.
        provide_traceback: Log failures with their traceback.
    """

    def __init__(self, max_errors: int | None = None, *, provide_traceback: bool = False) -> None:
        self._max_errors = max_errors
        self._provide_traceback = provide_traceback
        self._failures: dict[str, Failure] = {}
        self._has_succeeded = False

    def check(self, runs: Iterable[Row | Trace]) -> None:
        """Count the failures among ``runs``, a run that comes again only once.

        Raises:
            ProgramError: There are failures among ``runs``, and more in total than allowed, or
                the program has never done anything else.
        """
        runs = list(runs)
        failures = {run.key: run.failure for run in runs if run.failure is not None}
        self._has_succeeded |= len(failures) < len(runs)
        for key, failure in failures.items():
            if key not in self._failures:
                self._log(failure)
        self._failures.update(failures)
        if failures:
            self._check_number()
            self._check_beginning()

    def _check_number(self) -> None:
        count, last = len(self._failures), list(self._failures.values())[-1]
        if self._max_errors is not None and count > self._max_errors:
            message = (
                f"the program failed on {count} rows, max_errors={self._max_errors} allows no "
                f"more; the last failure is {last.type}: {last.message}"
            )
            raise ProgramError(message)

    def _check_beginning(self) -> None:
        failures = list(self._failures.values())
        ways = {(failure.type, failure.reason in get_args(ReplyReason)) for failure in failures}
        if self._has_succeeded or len(failures) < _FIRST_RUNS or len(ways) > 1:
            return
        ((error_type, is_reply),) = ways
        if not is_reply:
            message = (
                f"the program failed on each of its first {len(failures)} rows with {error_type}: "
                f"it is broken, so nothing more is asked. The first failure:\n"
                f"{traceback_with_advice(failures[0])}"
            )
            raise ProgramError(message)

    def _log(self, failure: Failure) -> None:
        detail = failure.traceback if self._provide_traceback else failure.message
        logger.warning("the program failed on a row: %s: %s", failure.type, detail)
