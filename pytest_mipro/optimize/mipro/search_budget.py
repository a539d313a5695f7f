"""
How much a search may still ask: its part of the budget, counted in decision order.

Whether there is enough for a decision is decided by what the decisions that it
knows of have cost, and by what those under way will presumably cost, never by
what has happened to finish. So calls, tokens and cost cut a search at the same
decision at any parallelism. Seconds cannot: how far they get depends on the
machine.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from pytest_mipro.records import Cut, Usage
from pytest_mipro.spending import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_mipro.errors import BudgetExceeded
    from pytest_mipro.spending import Account, Limit, LimitKind, Remaining


class SearchBudget:
    """
    What may be spent on one search.

    Args:
        account: Who pays; what it has left now is all there is.
        reserved: Rows to keep enough for: those of the held-out examples.
        calls: LM calls that a row takes, unless rows show otherwise.
        clock: Tells the time, in seconds.

    """

    def __init__(
        self,
        account: Account | None = None,
        reserved: int = 0,
        calls: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._left: tuple[Remaining, ...] = () if account is None else account.left()
        self._reserved = reserved
        self._presumed = Usage(calls)
        self._clock = clock
        self._began = clock()
        self._prepared = Usage()
        self._sample: Sequence[Usage] = ()
        self._learned = Usage()
        self._rows = 0
        self._under_way = 0

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self._left)

    def prepare(self, spent: Usage, sample: Sequence[Usage]) -> None:
        """
        Take note of what the phases before the search have cost.

        Args:
            spent: What they have cost now.
            sample: What single runs of a program have cost, whenever that was.

        """
        self._prepared = spent
        self._sample = [usage for usage in sample if usage.calls]

    def keep(self, rows: int) -> None:
        """Keep enough for so many rows, and for those reserved, from being spent now."""
        if self._account is not None:
            self._account.reserve((self._reserved + rows) * self._presumed.calls)

    def take(self, rows: int) -> None:
        """Take what so many rows will presumably cost."""
        self._under_way += rows

    def learn(self, usages: Sequence[Usage]) -> None:
        """Take note of what rows have cost that were taken for."""
        self._under_way -= len(usages)
        self._rows += len(usages)
        self._learned += Usage.total(usages)

    def lacking(self, rows: int) -> Limit | None:
        """Return what does not allow so many rows more, or None if everything does."""
        for left in self._left:
            if self._needed(rows, left.limit.what) > left.amount:
                return left.limit
        return None

    def exceeded(self, limit: Limit) -> BudgetExceeded:
        """Return the error that ``limit`` does not allow what a search cannot do without."""
        if self._account is None:
            raise AssertionError(limit)
        return self._account.exceeded(limit)

    def cut(self, limit: str) -> Cut:
        """Return how the search was cut by ``limit``."""
        left = next(each for each in self._left if str(each.limit) == limit)
        return Cut(limit, left.limit.what, left.amount)

    def _needed(self, rows: int, what: LimitKind) -> float:
        ahead = self._under_way + rows + self._reserved
        if what == "seconds":
            passed = self._clock() - self._began
            return passed + ahead * passed / max(1, self._rows + len(self._sample))
        spent = amount(self._prepared + self._learned, what)
        return spent + _whole(ahead * self._each(what), what)

    def _each(self, what: LimitKind) -> float:
        """Return what a row takes, by those known: first of the search, then any."""
        if self._rows:
            return amount(self._learned, what) / self._rows
        if self._sample:
            return amount(Usage.total(self._sample), what) / len(self._sample)
        return amount(self._presumed, what)


def _whole(value: float, what: LimitKind) -> float:
    return value if what == "usd" else math.ceil(value - 1e-9)
