from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.records import Usage
from pytest_mipro.spending.prices import Prices

if TYPE_CHECKING:
    import pytest


def test_a_providers_model_has_its_list_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """The price comes from the list that DSPy ships; other models have none."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    price = Prices().of("openai/gpt-4o-mini")
    assert price is not None
    assert 0 < price.prompt < price.completion < 10
    assert Prices().of("openai/no-such-model") is None
    assert Prices().of("scripted") is None


def test_the_cost_is_unknown_if_a_call_has_no_price() -> None:
    """Usage with and without a price adds up to an unknown cost."""
    priced = Usage(1, 10, 2, priced=1, usd=2)
    assert priced.cost == 2
    assert (priced + Usage(1, 10, 2)).cost is None
    assert Usage().cost == 0
