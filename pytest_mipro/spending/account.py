"""
What may be spent and what has been: one account per task, and one per session.

A call is charged when it is answered; what comes from a store or a cache is
not. A row that has begun is finished, as half a row would be money for
nothing: when a limit is reached, rows under way may go beyond it, and no other
begins. So a limit is never exceeded by more than what was in flight.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_mipro.errors import BudgetExceeded, ModelError
from pytest_mipro.records import Usage
from pytest_mipro.spending.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from pytest_mipro.records import Cut
    from pytest_mipro.spending.shared_spending import SharedSpending
    from pytest_mipro.task import Budget

LimitKind: TypeAlias = Literal["calls", "tokens", "usd", "seconds"]
Purpose: TypeAlias = Literal["bootstrap", "propose", "search", "held-out"]

PRICE_HINT = "mipro_price = {model}: 0.15 0.60"


@dataclass(frozen=True)
class Limit:
    """
    The most of one thing that may be spent.

    Attributes:
        what: What is limited.
        most: How much of it is allowed.
        name: What the user calls the limit.

    """

    what: LimitKind
    most: float
    name: str

    def __str__(self) -> str:
        """Return the limit as the user set it."""
        joint = " " if self.name.startswith("-") else "="
        return f"{self.name}{joint}{self.most:g}"


@dataclass(frozen=True)
class Remaining:
    """
    How much a limit still allows.

    Attributes:
        limit: The limit.
        amount: What is left of it; less than 0 if it was exceeded.

    """

    limit: Limit
    amount: float


def limits_of(budget: Budget | None) -> tuple[Limit, ...]:
    """Return what ``budget`` limits."""
    if budget is None:
        return ()
    declared: tuple[tuple[LimitKind, str, float | None], ...] = (
        ("calls", "lm_calls", budget.lm_calls),
        ("tokens", "tokens", budget.tokens),
        ("usd", "cost_usd", budget.cost_usd),
        ("seconds", "seconds", budget.seconds),
    )
    return tuple(Limit(what, most, name) for what, name, most in declared if most is not None)


def amount(usage: Usage, what: LimitKind) -> float:
    """Return how much of ``what`` is in ``usage``; there are no seconds in it."""
    return {"calls": usage.calls, "tokens": usage.tokens, "usd": usage.usd, "seconds": 0}[what]


class Account:
    """
    What one task, or a whole session, may spend and has spent.

    Attributes:
        stage: What rows are evaluated for at present.

    """

    def __init__(  # ruff: ignore[too-many-arguments] - what an account is made of
        self,
        limits: Iterable[Limit] = (),
        *,
        prices: Prices | None = None,
        models: Iterable[str] = (),
        parent: Account | None = None,
        elsewhere: SharedSpending | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Open an account with nothing spent.

        Args:
            limits: What may be spent.
            prices: What models charge.
            models: Who is going to be asked, as far as that is known.
            parent: The account that this one is a part of.
            elsewhere: What else is charged to this account, by other processes.
            clock: Tells the time, in seconds.

        """
        self.stage: Purpose = "search"
        self.limits = tuple(limits)
        self.prices = prices or Prices()
        self._models = tuple(models)
        self._parent = parent
        self._elsewhere = elsewhere
        self._clock = clock
        self._began: float | None = None
        self._spent: dict[Purpose, Usage] = {}
        self._reserved = 0
        self._unpriced = ""
        self._lock = threading.Lock()

    @property
    def is_limited(self) -> bool:
        """Whether anything is limited."""
        return bool(self.limits) or (self._parent is not None and self._parent.is_limited)

    @property
    def usage(self) -> Usage:
        """What this process has spent."""
        return Usage.total(self._spent.values())

    @property
    def spent(self) -> dict[Purpose, Usage]:
        """What this process has spent, by what it was for."""
        return dict(self._spent)

    def begin(self) -> None:
        """Start the clock, unless it runs already."""
        if self._began is None:
            self._began = self._clock()

    @contextmanager
    def current(self) -> Generator[Account]:
        """Charge this account for what is asked in the block, in all its threads."""
        token = _ACCOUNT.set(self)
        try:
            yield self
        finally:
            _ACCOUNT.reset(token)

    def reserve(self, calls: int) -> None:
        """Keep enough for about so many calls from being spent until told otherwise."""
        self._reserved = calls

    def charge(self, purpose: Purpose, model: str, usage: Usage) -> Usage:
        """Charge one answered call, and return it with its price."""
        priced = self.priced(model, usage)
        self.book(purpose, priced, model)
        return priced

    def priced(self, model: str, usage: Usage) -> Usage:
        """Return ``usage`` with what ``model`` charges for it, if that is known."""
        price = self.prices.of(model)
        return usage if price is None else usage + Usage(priced=usage.calls, usd=price.of(usage))

    def book(self, purpose: Purpose, usage: Usage, model: str) -> None:
        """Take down what ``model`` has answered, here and in the account this is a part of."""
        with self._lock:
            # Never changed in place: other threads add it up meanwhile.
            before = self._spent.get(purpose, Usage())
            self._spent = {**self._spent, purpose: before + usage}
            self._unpriced = self._unpriced or ("" if usage.cost is not None else model)
            if self._elsewhere is not None:
                self._elsewhere.tell(self.usage)
        if self._parent is not None:
            self._parent.book(purpose, usage, model)

    def admit(self) -> None:
        """
        Let a row begin.

        Raises:
            BudgetExceeded: What it may be charged to is spent, or reserved.
            ModelError: Its price is limited and unknown.

        """
        self.begin()
        for left in self.left():
            if left.limit.what == "usd":
                self._refuse_unpriced(left.limit)
            if left.amount <= self._kept(left.limit.what):
                raise self.exceeded(left.limit)

    def _refuse_unpriced(self, limit: Limit) -> None:
        unknown = [model for model in self._models if self.prices.of(model) is None]
        for model in filter(None, [*unknown, self._unpriced]):
            raise unpriced(limit, model)

    def allows_more(self, cut: Cut) -> bool:
        """Whether there is more to spend than where a search was cut."""
        amounts = [left.amount for left in self.left() if left.limit.what == cut.what]
        return not amounts or min(amounts) > cut.left

    def restated(self, error: BudgetExceeded) -> BudgetExceeded:
        """Return ``error`` with what has been spent by now, all that was in flight included."""
        limits = {str(left.limit): left.limit for left in self.left()}
        return self.exceeded(limits[error.limit])

    def left(self) -> tuple[Remaining, ...]:
        """Return what every limit still allows, the session's included."""
        everywhere = self.usage
        if self._elsewhere is not None and self.limits:
            everywhere += self._elsewhere.spent()
        own = tuple(
            Remaining(limit, limit.most - self._amount(everywhere, limit.what))
            for limit in self.limits
        )
        return own if self._parent is None else own + self._parent.left()

    def exceeded(self, limit: Limit) -> BudgetExceeded:
        """Return the error that says what was spent on what."""
        spent = ", ".join(f"{name} {_said(each)}" for name, each in self._spent.items())
        kept = ""
        if self._reserved:
            kept = (
                f"; about {self._reserved} calls are kept back for measuring the winner and "
                "scoring the held-out examples"
            )
        left = min(each.amount for each in self.left() if each.limit == limit)
        state = "is spent" if left <= 0 else "is not enough"
        further = (
            "everything finished is stored and costs nothing again: the same command goes on from "
            f"there, and a larger {limit.name} gets further"
            if left < limit.most
            else f"nothing was asked; only a larger {limit.name} gets further"
        )
        message = (
            f"{limit} {state}, and not all held-out examples are scored; this run has spent "
            f"{spent or 'nothing'}{kept}\nthis is no score; {further}"
        )
        return BudgetExceeded(message, str(limit))

    def _amount(self, usage: Usage, what: LimitKind) -> float:
        if what != "seconds":
            return amount(usage, what)
        return 0.0 if self._began is None else self._clock() - self._began

    def _kept(self, what: LimitKind) -> float:
        """Return how much of ``what`` the reserved calls will take, going by those so far."""
        if what == "calls" or not self._reserved:
            return self._reserved
        usage = self.usage
        return self._reserved * self._amount(usage, what) / usage.calls if usage.calls else 0.0


def _said(usage: Usage) -> str:
    calls = f"{usage.calls} LM call{'' if usage.calls == 1 else 's'}"
    return f"{calls} (${usage.cost:.4f})" if usage.cost else calls


def unpriced(limit: Limit, model: str) -> ModelError:
    """Return the error that a price is limited and unknown."""
    message = (
        f"{limit}: the price of {model!r} is unknown, so the cost cannot be limited; give it in "
        f"US dollars per million tokens asked and answered, in the ini file, as in "
        f"`{PRICE_HINT.format(model=model)}`, or limit calls or tokens instead"
    )
    return ModelError(message)


_ACCOUNT: ContextVar[Account | None] = ContextVar("mipro_account", default=None)


def current_account() -> Account | None:
    """Return the account that what is asked here is charged to, if there is one."""
    return _ACCOUNT.get()
