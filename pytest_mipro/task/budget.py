"""What a task may spend at most, as a test declares it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from pytest_mipro.errors import DeclarationError

# What is wrong is the caller's line: pytest shows that one. Also the frames that dataclass makes.
__tracebackhide__ = True


@dataclass(frozen=True, kw_only=True)
class Budget:
    """
    The most that one task may spend in one run; None sets no limit.

    What comes from a store or a cache costs nothing. A limit is never exceeded
    by more than what was in flight when it was reached.

    Attributes:
        lm_calls: Calls that language models answer.
        tokens: Tokens of these, asked and answered together.
        cost_usd: Their price, in US dollars.
        seconds: Time, by the clock on the wall.

    """

    lm_calls: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """
        Check the limits.

        Raises:
            DeclarationError: One is not a number above 0, or there is none.

        """
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, value in given.items():
            if value is not None:
                _check(name, value, whole=name in {"lm_calls", "tokens"})
        if not any(value is not None for value in given.values()):
            message = f"Budget() limits nothing; give it one of {', '.join(given)}"
            raise DeclarationError(message)


def _check(name: str, value: object, *, whole: bool) -> None:
    kinds = int if whole else (int, float)
    usable = isinstance(value, kinds) and not isinstance(value, bool) and 0 < value < math.inf
    if not usable:
        expected = "a whole number of at least 1" if whole else "a number above 0"
        message = f"Budget({name}={value!r:.80}): expected {expected}"
        raise DeclarationError(message)


def check_budget(value: object) -> None:
    """Raise DeclarationError unless ``value`` is a budget."""
    if not isinstance(value, Budget):
        message = f"budget={value!r:.80}: expected pytest_mipro.Budget(lm_calls=...) or another"
        raise DeclarationError(message)
