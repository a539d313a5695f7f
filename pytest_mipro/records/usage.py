"""What language model calls take: calls, tokens and money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.canonical import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self


_USD_DIGITS = 12
"""Digits that sums of money keep; unrounded, a sum would depend on the order."""


@dataclass(frozen=True)
class Usage(Record):
    """Calls of language models, uncached, and their tokens; ``priced`` of them cost ``usd``."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    priced: int = 0
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens of prompts and completions together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float | None:
        """The price of all calls in US dollars; None if the price of any is unknown."""
        return self.usd if self.priced == self.calls else None

    def __add__(self, other: Usage) -> Usage:
        """Return the sum of two usages."""
        return self._plus(other, 1)

    def __sub__(self, other: Usage) -> Usage:
        """Return this usage without ``other``, which is a part of it."""
        return self._plus(other, -1)

    def _plus(self, usage: Usage, sign: int) -> Usage:
        return Usage(
            self.calls + sign * usage.calls,
            self.prompt_tokens + sign * usage.prompt_tokens,
            self.completion_tokens + sign * usage.completion_tokens,
            self.priced + sign * usage.priced,
            round(self.usd + sign * usage.usd, _USD_DIGITS),
        )

    @classmethod
    def total(cls, usages: Iterable[Usage]) -> Usage:
        """Return the sum of ``usages``."""
        return sum(usages, cls())


@dataclass(frozen=True)
class ExampleCost(Record):
    """The mean cost of an answer to one example: tokens, and US dollars where known."""

    tokens: float
    usd: float | None = None

    @classmethod
    def of(cls, answers: Sequence[Usage]) -> Self:
        """Return the mean cost of ``answers`` to one example."""
        usage = Usage.total(answers)
        usd = None if usage.cost is None else round(usage.cost / len(answers), _USD_DIGITS)
        return cls(usage.tokens / len(answers), usd)
