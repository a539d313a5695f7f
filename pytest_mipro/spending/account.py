"""Charge language model calls to the account of a task or of a session, within its limits.

A call is charged when its response arrives; rows from the store and responses from a cache are
not charged. Once a limit is spent no call begins, also in the middle of a row: a program may make
any number of calls. So the excess is at most the cost of the calls that were running. The reserve
binds only the beginning of a row, as half a row would be wasted.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_mipro.errors import BudgetExceeded, ModelError
from pytest_mipro.records import Usage
from pytest_mipro.spending.limits import Limit, LimitKind, Remaining, amount
from pytest_mipro.spending.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from pytest_mipro.records import BudgetCut
    from pytest_mipro.spending.shared_spending import SharedSpending

Purpose: TypeAlias = Literal["bootstrap", "propose", "search", "held-out", "test"]


class Account:
    """The limits and the spending of a task or of a session.

    Attributes:
        stage: The purpose of calls that name no other.
    """

    def __init__(  # ruff: ignore[too-many-arguments] - the parts of an account
        self,
        limits: Iterable[Limit] = (),
        *,
        prices: Prices | None = None,
        models: Iterable[str] = (),
        parent: Account | None = None,
        shared_spending: SharedSpending | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open an account without spending.

        Args:
            limits: The limits of this account.
            prices: The prices of the models.
            models: The models that will be called, as far as they are known in advance.
            parent: The account of the session, if this is that of a task.
            shared_spending: The spending of other processes that share this account.
            clock: Returns the time in seconds.
        """
        self.stage: Purpose = "search"
        self.limits = tuple(limits)
        self.prices = prices or Prices()
        self._models = tuple(models)
        self._parent = parent
        self._shared = shared_spending
        self._clock = clock
        self._start_time: float | None = None
        self._spent: dict[Purpose, Usage] = {}
        self._reserved_calls = 0
        self._unpriced_model = ""
        self._lock = threading.Lock()

    @property
    def is_limited(self) -> bool:
        """Whether this account or its parent has a limit."""
        return bool(self.limits) or (self._parent is not None and self._parent.is_limited)

    @property
    def usage(self) -> Usage:
        """The usage that this process has charged."""
        return Usage.total(self._spent.values())

    @property
    def spent(self) -> dict[Purpose, Usage]:
        """The usage that this process has charged, by purpose."""
        return dict(self._spent)

    def begin(self) -> None:
        """Start the clock, unless it is running."""
        if self._start_time is None:
            self._start_time = self._clock()

    @contextmanager
    def current(self) -> Generator[Account]:
        """Charge this account for the calls in the block, in all its threads."""
        token = _ACCOUNT.set(self)
        try:
            yield self
        finally:
            _ACCOUNT.reset(token)

    def reserve(self, calls: int) -> None:
        """Replace the reserve by about so many calls, which no new row may spend."""
        self._reserved_calls = calls

    def charge(self, purpose: Purpose, model: str, usage: Usage) -> Usage:
        """Charge one call, and return its usage with its price."""
        priced = self.priced(model, usage)
        self.record(purpose, priced, model)
        return priced

    def priced(self, model: str, usage: Usage) -> Usage:
        """Return ``usage`` with the price that ``model`` charges for it, if that is known."""
        price = self.prices.of(model)
        return usage if price is None else usage + Usage(priced=usage.calls, usd=price.of(usage))

    def record(self, purpose: Purpose, usage: Usage, model: str) -> None:
        """Add the usage of ``model`` to this account and its parent."""
        with self._lock:
            # A new dict, because other threads iterate over the present one without the lock.
            total = self._spent.get(purpose, Usage()) + usage
            self._spent = {**self._spent, purpose: total}
            if usage.cost is None and not self._unpriced_model:
                self._unpriced_model = model
            if self._shared is not None:
                self._shared.write(self.usage)
        if self._parent is not None:
            self._parent.record(purpose, usage, model)

    def admit(self) -> None:
        """Let a row begin.

        Raises:
            BudgetExceeded: A limit is reached, or the reserve would be spent.
            ModelError: The cost is limited, and the price of a model is unknown.
        """
        self.begin()
        for remaining in self.remaining():
            if remaining.limit.unit == "usd":
                self._check_prices(remaining.limit)
            if remaining.amount <= self._reserve(remaining.limit.unit):
                raise self.exceeded(remaining.limit)

    def admit_call(self, completions: int = 1) -> None:
        """Let a call of a row that has begun begin.

        Args:
            completions: How many completions it asks for, each of which counts as a call.

        Raises:
            BudgetExceeded: A limit is spent, or has fewer calls left.
        """
        for remaining in self.remaining():
            missing = completions - 1 if remaining.limit.unit == "calls" else 0
            if remaining.amount <= missing:
                raise self.exceeded(remaining.limit)

    def _check_prices(self, limit: Limit) -> None:
        unpriced = [model for model in self._models if self.prices.of(model) is None]
        if self._unpriced_model:
            unpriced.append(self._unpriced_model)
        if unpriced:
            raise _unknown_price(limit, unpriced[0])

    def allows_more(self, cut: BudgetCut) -> bool:
        """Whether more remains than when a search was cut."""
        amounts = [left.amount for left in self.remaining() if left.limit.unit == cut.unit]
        return not amounts or min(amounts) > cut.remaining

    def with_present_spending(self, error: BudgetExceeded) -> BudgetExceeded:
        """Return ``error`` with the present spending, which includes the last running rows."""
        limits = {str(left.limit): left.limit for left in self.remaining()}
        return self.exceeded(limits[error.limit])

    def remaining(self) -> tuple[Remaining, ...]:
        """Return the remaining amount of each limit, the session's included."""
        usage = self.usage
        if self._shared is not None and self.limits:
            usage += self._shared.read()
        own = tuple(
            Remaining(limit, limit.most - self._amount(usage, limit.unit)) for limit in self.limits
        )
        return own if self._parent is None else own + self._parent.remaining()

    def exceeded(self, limit: Limit) -> BudgetExceeded:
        """Return the error that ``limit`` is reached, with the spending by purpose."""
        spent = ", ".join(f"{purpose} {_in_words(usage)}" for purpose, usage in self._spent.items())
        reserve = ""
        if self._reserved_calls:
            reserve = (
                f"; about {self._reserved_calls} calls are kept back for measuring the winner and "
                "scoring the held-out examples"
            )
        left = min(remaining.amount for remaining in self.remaining() if remaining.limit == limit)
        state = "is spent" if left <= 0 else "is not enough"
        next_step = (
            "everything finished is stored and costs nothing again: the same command goes on from "
            f"there, and a larger {limit.name} gets further"
            if left < limit.most
            else f"no model was called; only a larger {limit.name} gets further"
        )
        message = (
            f"{limit} {state}, and not all held-out examples are scored; this run has spent "
            f"{spent or 'nothing'}{reserve}\nthis is no score; {next_step}"
        )
        return BudgetExceeded(message, str(limit))

    def _amount(self, usage: Usage, kind: LimitKind) -> float:
        if kind != "seconds":
            return amount(usage, kind)
        return 0.0 if self._start_time is None else self._clock() - self._start_time

    def _reserve(self, kind: LimitKind) -> float:
        """Return the amount that the reserved calls take, if they are like those so far."""
        if kind == "calls" or not self._reserved_calls:
            return self._reserved_calls
        usage = self.usage
        per_call = self._amount(usage, kind) / usage.calls if usage.calls else 0.0
        return self._reserved_calls * per_call


def _in_words(usage: Usage) -> str:
    calls = f"{usage.calls} LM call{'' if usage.calls == 1 else 's'}"
    return f"{calls} (${usage.cost:.4f})" if usage.cost else calls


def _unknown_price(limit: Limit, model: str) -> ModelError:
    message = (
        f"{limit}: the price of {model!r} is unknown, so the cost cannot be limited; set it in "
        f"US dollars per million input and output tokens in the ini file, as in "
        f"`mipro_price = {model}: 0.15 0.60`, or limit calls or tokens instead"
    )
    return ModelError(message)


_ACCOUNT: ContextVar[Account | None] = ContextVar("mipro_account", default=None)


def current_account() -> Account | None:
    """Return the account that calls in this context are charged to, if there is one."""
    return _ACCOUNT.get()
