"""Divide what a budget still allows among the rows that run in other processes.

A row there cannot ask the account before a call. So it gets a share of what is left, beyond which
none of its calls begins, and returns what it did not need. A row that needs more than its share
runs again with a larger one; the responses that it has are not asked for again.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING, TypeAlias

from pytest_mipro.records import Usage
from pytest_mipro.spending.limits import Limit, amount

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_mipro.spending.account import Account
    from pytest_mipro.spending.limits import Remaining

Share: TypeAlias = tuple[Limit, ...]
"""The limits of one row."""

_CHECK_SECONDS = 1.0
"""Seconds between two checks of what is left: other processes may share the account."""
_FACTOR = 2
"""How much larger the next share of a row at least is, unless it gets all that is left."""


class Shares:
    """The shares of the rows that are in flight.

    Args:
        slots: The most rows in flight.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._taken: list[Share] = []
        self._largest = Usage()
        self._condition = Condition()

    def record(self, usage: Usage) -> None:
        """Record the usage of a row: later shares are enough for a row like it."""
        with self._condition:
            self._largest = max(self._largest, usage, key=lambda of_row: of_row.calls)

    @contextmanager
    def share(self, account: Account | None, last: Share = ()) -> Generator[Share]:
        """Let a row begin with its share of what ``account`` has left; wait until there is one.

        Args:
            account: The account; None allows any number of calls.
            last: The share that was not enough for the row.

        Raises:
            BudgetExceeded: As ``Account.admit``.
            ModelError: As ``Account.admit``.
        """
        if account is None:
            yield ()
            return
        share = self._take(account, last)
        try:
            yield share
        finally:
            with self._condition:
                self._taken.remove(share)
                self._condition.notify_all()

    def _take(self, account: Account, last: Share) -> Share:
        with self._condition:
            account.admit()
            while (share := self._free_share(account, last)) is None:
                self._condition.wait(_CHECK_SECONDS)
                account.admit()
            self._taken.append(share)
        return share

    def _free_share(self, account: Account, last: Share) -> Share | None:
        """Return a share of what nobody has; None if that is too little while others run."""
        amounts = [self._free(remaining, last) for remaining in account.remaining()]
        limits = [limit for limit in amounts if limit is not None]
        return tuple(limits) if len(limits) == len(amounts) else None

    def _free(self, remaining: Remaining, last: Share) -> Limit | None:
        limit = remaining.limit
        if limit.unit == "seconds":  # Time passes for all rows alike.
            return Limit(limit.unit, remaining.amount, limit.name)
        free = remaining.amount - sum(_most(share, limit) for share in self._taken)
        share = max(
            free / max(1, self._slots - len(self._taken)),
            amount(self._largest, limit.unit),
            _FACTOR * _most(last, limit),
        )
        if limit.unit == "calls":
            share = math.ceil(share)
        if not self._taken:  # No other row returns anything.
            share = min(share, free)
        return Limit(limit.unit, share, limit.name) if 0 < share <= free else None


def _most(share: Share, limit: Limit) -> float:
    """Return the amount that a share has of one limit."""
    return sum(part.most for part in share if (part.unit, part.name) == (limit.unit, limit.name))
