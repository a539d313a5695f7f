from __future__ import annotations

import pytest

from pytest_mipro.errors import DeclarationError
from pytest_mipro.task import Budget, check_budget


@pytest.mark.parametrize("name", ["lm_calls", "tokens", "cost_usd", "seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "5"])
def test_wrong_limit_is_refused(name: str, value: object) -> None:
    """The error names the limit and its value."""
    with pytest.raises(DeclarationError, match=rf"{name}=.*expected a"):
        Budget(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["lm_calls", "tokens"])
def test_fraction_of_a_count_is_refused(name: str) -> None:
    """Calls and tokens are whole numbers; dollars and seconds need not be."""
    with pytest.raises(DeclarationError, match=rf"Budget\({name}=1.5\): .* whole number"):
        Budget(**{name: 1.5})  # type: ignore[arg-type]
    assert Budget(cost_usd=0.5, seconds=0.5) == Budget(cost_usd=0.5, seconds=0.5)


def test_budget_without_a_limit_is_refused() -> None:
    """The error names the limits that a budget may have."""
    with pytest.raises(
        DeclarationError, match=r"limits nothing; .* lm_calls, tokens, cost_usd, seconds"
    ):
        Budget()


@pytest.mark.parametrize("value", [5, None, {"lm_calls": 5}])
def test_values_that_are_no_budget_are_refused(value: object) -> None:
    """The error names the value and gives an example of a budget."""
    with pytest.raises(DeclarationError, match=r"budget=.*: expected pytest_mipro.Budget\("):
        check_budget(value)
    check_budget(Budget(lm_calls=1))
