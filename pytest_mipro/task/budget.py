"""The budget that a test declares for its task."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from pytest_mipro.errors import DeclarationError

# Hides this module's frames, so that pytest shows the declaring line. A function's local would
# not hide the `__init__` that dataclass generates.
__tracebackhide__ = True


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that one task may spend in one run; None sets no limit.

    Results from a store or a cache cost nothing. The calls in flight when a limit
    is reached are the most that can exceed it.

    Attributes:
        lm_calls: Calls that language models answer.
        tokens: Tokens of their prompts and completions together.
        cost_usd: Their price, in US dollars.
        seconds: Elapsed time.
    """

    lm_calls: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            DeclarationError: A limit is not a number above 0, or all are None.
        """
        limits = {limit.name: getattr(self, limit.name) for limit in fields(self)}
        for name, value in limits.items():
            if value is not None:
                _check(name, value, whole=name in {"lm_calls", "tokens"})
        if not any(value is not None for value in limits.values()):
            message = f"Budget() limits nothing; give it one of {', '.join(limits)}"
            raise DeclarationError(message)


def _check(name: str, value: object, *, whole: bool) -> None:
    types = int if whole else (int, float)
    usable = isinstance(value, types) and not isinstance(value, bool) and 0 < value < math.inf
    if not usable:
        expected = "a whole number of at least 1" if whole else "a number above 0"
        message = f"Budget({name}={value!r:.80}): expected {expected}"
        raise DeclarationError(message)


def check_budget(value: object) -> None:
    """Raise DeclarationError unless ``value`` is a budget."""
    if not isinstance(value, Budget):
        message = f"budget={value!r:.80}: expected pytest_mipro.Budget(lm_calls=...) or another"
        raise DeclarationError(message)
