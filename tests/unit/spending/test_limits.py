from __future__ import annotations

from pytest_mipro.spending.limits import limits_of
from pytest_mipro.task import Budget


def test_limits_have_the_names_of_the_budget() -> None:
    """A limit is printed as the user set it; an amount of dollars may be a fraction."""
    limits = limits_of(Budget(lm_calls=5, cost_usd=0.5))
    assert [str(limit) for limit in limits] == ["lm_calls=5", "cost_usd=0.5"]
