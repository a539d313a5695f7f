"""The number of rows that a program may fail on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pytest_mipro.errors import ProgramError
from pytest_mipro.escaping import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_mipro.records import Failure, Row

logger = logging.getLogger(__name__)


class FailureLimit:
    """Counts the rows that the program failed on, and raises when they are too many.

    Args:
        max_errors: Maximum number of failed rows; None allows any number.
        provide_traceback: Log failures with their traceback.
    """

    def __init__(self, max_errors: int | None = None, *, provide_traceback: bool = False) -> None:
        self._max_errors = max_errors
        self._provide_traceback = provide_traceback
        self._failed_keys: set[str] = set()

    def check(self, rows: Iterable[Row]) -> None:
        """Count the failures among ``rows``, a row that comes again only once.

        Raises:
            ProgramError: There are failures among ``rows``, and more in total than allowed.
        """
        failures = {row.key: row.failure for row in rows if row.failure is not None}
        for key, failure in failures.items():
            if key not in self._failed_keys:
                self._log(failure)
        self._failed_keys.update(failures)
        count = len(self._failed_keys)
        if failures and self._max_errors is not None and count > self._max_errors:
            *_, last = failures.values()
            message = (
                f"the program failed on {count} rows, max_errors={self._max_errors} allows no "
                f"more; the last failure is {last.type}: {last.message}"
            )
            raise ProgramError(message)

    def _log(self, failure: Failure) -> None:
        detail = failure.traceback if self._provide_traceback else failure.message
        logger.warning("the program failed on a row: %s: %s", failure.type, printable(detail))
