"""The number of runs that a program may fail in."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pytest_mipro.errors import ProgramError
from pytest_mipro.escaping import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_mipro.records import Failure, Row, Trace

logger = logging.getLogger(__name__)


class FailureLimit:
    """Counts the runs that a program failed in, and raises when they are too many.

    Args:
        max_errors: Maximum number of failed runs; None allows any number.
        provide_traceback: Log failures with their traceback.
    """

    def __init__(self, max_errors: int | None = None, *, provide_traceback: bool = False) -> None:
        self._max_errors = max_errors
        self._provide_traceback = provide_traceback
        self._failures: dict[str, Failure] = {}

    def check(self, runs: Iterable[Row | Trace]) -> None:
        """Count the failures among ``runs``, a run that comes again only once.

        Raises:
            ProgramError: There are failures among ``runs``, and more in total than allowed.
        """
        failures = {run.key: run.failure for run in runs if run.failure is not None}
        for key, failure in failures.items():
            if key not in self._failures:
                self._log(failure)
        self._failures.update(failures)
        if failures:
            self._check_number()

    def _check_number(self) -> None:
        count, last = len(self._failures), list(self._failures.values())[-1]
        if self._max_errors is not None and count > self._max_errors:
            message = (
                f"the program failed on {count} rows, max_errors={self._max_errors} allows no "
                f"more; the last failure is {last.type}: {last.message}"
            )
            raise ProgramError(message)

    def _log(self, failure: Failure) -> None:
        detail = failure.traceback if self._provide_traceback else failure.message
        logger.warning("the program failed on a row: %s: %s", failure.type, printable(detail))
