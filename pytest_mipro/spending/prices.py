"""The prices of models: those that the user sets, and those of DSPy's price list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.dspy_internals import listed_rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.records import Usage

MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """The price of one model, in US dollars per million tokens.

    Attributes:
        prompt: The price of input tokens.
        completion: The price of output tokens.
    """

    prompt: float
    completion: float

    def of(self, usage: Usage) -> float:
        """Return the cost of ``usage``, without the discount of a provider's own cache."""
        input_tokens, output_tokens = usage.prompt_tokens, usage.completion_tokens
        return (self.prompt * input_tokens + self.completion * output_tokens) / MILLION


class Prices:
    """Looks up the price of a model.

    Args:
        user_prices: Prices that the user sets, by model; they take precedence over the list.
    """

    def __init__(self, user_prices: Mapping[str, Price] | None = None) -> None:
        self._prices: dict[str, Price | None] = dict(user_prices or {})

    def of(self, model: str) -> Price | None:
        """Return the price of ``model``, or None if it is unknown."""
        if model not in self._prices:
            self._prices[model] = _list_price(model)
        return self._prices[model]


def _list_price(model: str) -> Price | None:
    provider, slash, name = model.partition("/")
    if not slash:
        return None  # The list names no model without a provider, and need not be loaded.
    rates = listed_rates(provider, name)
    return None if rates is None else Price(*(rate * MILLION for rate in rates))
