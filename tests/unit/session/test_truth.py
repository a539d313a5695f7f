from __future__ import annotations

import inspect
import operator
from typing import TYPE_CHECKING, Any

import pytest
from sessions import outcome_of, scorecard

from pytest_mipro.errors import DeclarationError
from pytest_mipro.session import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METHODS = [
    name for name, _ in inspect.getmembers(Outcome, inspect.isfunction) if not name.startswith("_")
]
WRONG: dict[str, Callable[[Any], object]] = {
    "not": operator.not_,
    "and": lambda value: value and True,
    "bool": bool,
    "all": lambda value: all([value]),
}


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    """Return an outcome whose compiled program is better."""
    return outcome_of(tmp_path, scorecard((0.0,) * 6), scorecard((1.0,) * 6))


def test_there_are_methods() -> None:
    """The verdicts are among the methods below."""
    assert {"beats_baseline", "no_regression", "costs_no_more", "report"} <= set(METHODS)


@pytest.mark.parametrize("use", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_is_not_called_has_no_truth_value(
    outcome: Outcome, name: str, use: Callable[[object], object]
) -> None:
    """The error names the method, and shows the call."""
    with pytest.raises(
        DeclarationError, match=rf"the method {name} is .* as in `mipro.{name}\(\)`"
    ):
        use(getattr(outcome, name))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_stays_what_it_is(outcome: Outcome, name: str) -> None:
    """It has the name, the documentation and the parameters that its class gives it."""
    method, function = getattr(outcome, name), getattr(Outcome, name)
    assert (method.__name__, method.__doc__) == (function.__name__, function.__doc__)
    parameters = list(inspect.signature(function).parameters.values())
    assert list(inspect.signature(method).parameters.values()) == parameters[1:]
    assert repr(method) == f"<method Outcome.{name}>"


def test_objects_without_a_truth_value(outcome: Outcome) -> None:
    """Neither an outcome nor one of its programs can be asserted."""
    with pytest.raises(DeclarationError, match="the outcome of a task is neither true nor false"):
        assert outcome
    for program in (outcome.baseline, outcome.compiled):
        with pytest.raises(DeclarationError, match=r"assert its score, as in `mipro\.compiled"):
            assert program
