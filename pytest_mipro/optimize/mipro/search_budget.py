"""The budget of a search: how much it may still ask, counted in the order of its choices.

Whether a minibatch is affordable is decided by the cost of the minibatches
that are recorded and the expected cost of those under way, never by which rows
have finished so far. So a limit of calls, tokens or cost cuts a search at the
same minibatch at any parallelism. A limit of seconds cannot, because the speed
depends on the machine.
"""

from __future__ import annotations

import math
import time
from bisect import bisect
from typing import TYPE_CHECKING

from pytest_mipro.records import BudgetCut, Usage
from pytest_mipro.spending import amount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.errors import BudgetExceeded
    from pytest_mipro.records import Row
    from pytest_mipro.spending import Account, Limit, LimitKind, Remaining


class SearchBudget:
    """The most that one search may spend.

    Args:
        account: The account that pays; its present balance is the budget.
        held_out: Held-out rows to leave enough for.
        calls: LM calls that a row takes, until rows show otherwise.
    """

    def __init__(
        self,
        account: Account | None = None,
        held_out: int = 0,
        calls: int = 1,
    ) -> None:
        self._account = account
        self._left: tuple[Remaining, ...] = () if account is None else account.remaining()
        self._held_out = held_out
        self._assumed = Usage(calls)
        self._start = time.monotonic()
        self._prepared = Usage()
        self._sample: Sequence[Usage] = ()
        self._spent = Usage()
        self._rows = 0
        self._uncached_rows = 0
        self._uncached = Usage()
        self._under_way = 0

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self._left)

    def count_preparation(self, spent: Usage, sample: Sequence[Usage]) -> None:
        """Count the phases before the search.

        Args:
            spent: What they have cost now.
            sample: The usages of single runs of a program, now or earlier.
        """
        self._prepared = spent
        self._sample = [usage for usage in sample if usage.calls]

    def count_phases(self, spent: Usage) -> None:
        """Count again what all work but the search's rows has cost."""
        self._prepared = spent

    def reserve(self, rows: int) -> None:
        """Have the account reserve enough for ``rows`` and for the held-out rows."""
        if self._account is not None:
            self._account.reserve((self._held_out + rows) * self._assumed.calls)

    def begin(self, rows: int) -> None:
        """Count ``rows`` as under way, at their expected cost."""
        self._under_way += rows

    def finish(self, rows: Sequence[Row]) -> None:
        """Replace the expected cost of rows under way by their usages."""
        self._under_way -= len(rows)
        self._rows += len(rows)
        self._spent += Usage.total(row.usage for row in rows)
        uncached = [row.usage for row in rows if row.is_uncached]
        self._uncached_rows += len(uncached)
        self._uncached += Usage.total(uncached)

    def limit_against(self, rows: int) -> Limit | None:
        """Return a limit that does not allow ``rows`` more, or None if there is none."""
        for left in self._left:
            if self._needed(rows, left.limit.unit) > left.amount:
                return left.limit
        return None

    def part(self, share: float, most: int, beside: int) -> int:
        """Return a share of the rows that all limits allow beside ``beside`` others.

        It is at most ``most``.
        """
        rows = range(1, math.ceil(most / share) + 1)
        count = bisect(rows, 0, key=lambda count: self.limit_against(count + beside) is not None)
        return min(most, int(share * count))

    def error(self, limit: Limit) -> BudgetExceeded:
        """Return the error that ``limit`` does not allow the rows a search cannot do without."""
        if self._account is None:
            raise AssertionError(limit)
        return self._account.exceeded(limit)

    def cut(self, limit: str) -> BudgetCut:
        """Return how the search was cut by ``limit``."""
        left = next(remaining for remaining in self._left if str(remaining.limit) == limit)
        return BudgetCut(limit, left.limit.unit, left.amount)

    def _needed(self, rows: int, kind: LimitKind) -> float:
        ahead = self._under_way + rows + self._held_out
        if kind == "seconds":
            seconds = time.monotonic() - self._start
            return seconds + ahead * seconds / max(1, self._rows + len(self._sample))
        spent = amount(self._prepared + self._spent, kind)
        return spent + _whole(ahead * self._per_row(kind), kind)

    def _per_row(self, kind: LimitKind) -> float:
        """Return the cost of a row: the mean of the search's rows, or of the sample.

        Rows with a call that a cache answered count only if there are no others: the next row
        may find nothing in the cache.
        """
        if self._uncached_rows:
            return amount(self._uncached, kind) / self._uncached_rows
        if self._rows:
            return amount(self._spent, kind) / self._rows
        if self._sample:
            return amount(Usage.total(self._sample), kind) / len(self._sample)
        return amount(self._assumed, kind)


def _whole(value: float, kind: LimitKind) -> float:
    return value if kind == "usd" else math.ceil(value - 1e-9)
