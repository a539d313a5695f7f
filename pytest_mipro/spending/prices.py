"""What a token costs: as the user says, or as DSPy's price list has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dspy.clients.model_metadata import model_info, rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.records import Usage

MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """
    What one model charges, in US dollars per million tokens.

    Attributes:
        asked: For tokens it reads.
        answered: For tokens it writes.

    """

    asked: float
    answered: float

    def of(self, usage: Usage) -> float:
        """Return what ``usage`` costs, without what a provider's own cache takes off."""
        asked, answered = usage.prompt_tokens, usage.completion_tokens
        return (self.asked * asked + self.answered * answered) / MILLION


class Prices:
    """
    The prices of all models.

    Args:
        given: What the user says, by model name; goes before the list.

    """

    def __init__(self, given: Mapping[str, Price] | None = None) -> None:
        self._known: dict[str, Price | None] = dict(given or {})

    def of(self, model: str) -> Price | None:
        """Return the price of ``model``, or None where nobody knows it."""
        if model not in self._known:
            self._known[model] = _listed(model)
        return self._known[model]


def _listed(model: str) -> Price | None:
    provider, slash, name = model.partition("/")
    if not slash:
        return None  # Nothing is loaded for the name of a model that no provider has.
    info = model_info(provider, name)
    asked, answered = (rate(info, f"{way}_cost_per_token") for way in ("input", "output"))
    if asked is None or answered is None:
        return None
    return Price(asked * MILLION, answered * MILLION)
