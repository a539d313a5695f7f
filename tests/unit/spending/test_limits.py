from __future__ import annotations

import pytest

from pytest_mipro.errors import DeclarationError
from pytest_mipro.spending.limits import limits_of
from pytest_mipro.task import Budget


@pytest.mark.parametrize("name", ["lm_calls", "tokens", "cost_usd", "seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_budget_has_positive_numbers(name: str, value: object) -> None:
    """The error has the name and the value of the limit."""
    with pytest.raises(DeclarationError, match=rf"{name}=.*expected a"):
        Budget(**{name: value})  # type: ignore[arg-type]


def test_a_budget_limits_something() -> None:
    """A budget without limits is an error, and so is half a call."""
    with pytest.raises(DeclarationError, match="limits nothing"):
        Budget()
    with pytest.raises(DeclarationError, match="whole number"):
        Budget(lm_calls=1.5)  # type: ignore[arg-type]


def test_limits_have_the_names_of_the_budget() -> None:
    """A limit is printed as the user set it; an amount of dollars may be a fraction."""
    limits = limits_of(Budget(lm_calls=5, cost_usd=0.5))
    assert [str(limit) for limit in limits] == ["lm_calls=5", "cost_usd=0.5"]
