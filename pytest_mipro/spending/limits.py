"""The limits of a budget, and the amounts that they limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from pytest_mipro.records import Usage
    from pytest_mipro.task import Budget

LimitKind: TypeAlias = Literal["calls", "tokens", "usd", "seconds"]


@dataclass(frozen=True)
class Limit:
    """The maximum amount of one kind that may be spent.

    Attributes:
        unit: The unit of the amount.
        most: The maximum.
        name: The user's name of the limit: a field of a budget, or an option.
    """

    unit: LimitKind
    most: float
    name: str

    def __str__(self) -> str:
        """Return the limit as the user set it."""
        separator = " " if self.name.startswith("-") else "="
        return f"{self.name}{separator}{self.most:g}"


@dataclass(frozen=True)
class Remaining:
    """The amount that a limit still allows.

    Attributes:
        limit: The limit.
        amount: The rest of it; less than 0 if it was exceeded.
    """

    limit: Limit
    amount: float


def limits_of(budget: Budget | None) -> tuple[Limit, ...]:
    """Return the limits that ``budget`` sets."""
    if budget is None:
        return ()
    fields: tuple[tuple[LimitKind, str, float | None], ...] = (
        ("calls", "lm_calls", budget.lm_calls),
        ("tokens", "tokens", budget.tokens),
        ("usd", "cost_usd", budget.cost_usd),
        ("seconds", "seconds", budget.seconds),
    )
    return tuple(Limit(kind, most, name) for kind, name, most in fields if most is not None)


def amount(usage: Usage, kind: LimitKind) -> float:
    """Return the amount of one kind in ``usage``, which has no seconds."""
    return {"calls": usage.calls, "tokens": usage.tokens, "usd": usage.usd, "seconds": 0}[kind]
