from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import dspy
import pytest

from pytest_mipro.errors import DeclarationError
from pytest_mipro.task import OPTION_NAMES, Options


def test_defaults_are_those_of_dspy() -> None:
    """Each option has the default of DSPy's MIPROv2."""
    dspy_defaults = {
        name: parameter.default
        for function in (dspy.MIPROv2.compile, dspy.MIPROv2.__init__)
        for name, parameter in inspect.signature(function).parameters.items()
        if name in OPTION_NAMES
    }
    defaults = dataclasses.asdict(Options())
    # In these signatures None stands for the defaults that follow.
    explicit = {"seed": 9, "max_bootstrapped_demos": 4, "max_labeled_demos": 4}

    assert {name: defaults[name] for name in dspy_defaults} == {**dspy_defaults, **explicit}


def test_declared_options_replace_defaults() -> None:
    """Declared values are in the options, and all other options have their defaults."""
    options = Options.checked(auto=None, num_candidates=3, num_trials=5, seed=0, minibatch=False)

    assert options == Options(auto=None, num_candidates=3, num_trials=5, seed=0, minibatch=False)
    assert options.max_labeled_demos == Options().max_labeled_demos


@pytest.mark.parametrize(
    "values, words",
    [
        ({"auto": "lite"}, ["auto='lite'", "'light'", "'medium'", "'heavy'"]),
        ({"auto": True}, ["auto=True", "'light'"]),
        ({"seed": "7"}, ["seed='7'", "integer"]),
        ({"seed": True}, ["seed=True", "integer"]),
        ({"seed": None}, ["seed=None", "integer"]),
        ({"seed": 1.5}, ["seed=1.5", "integer"]),
        ({"num_candidates": 0}, ["num_candidates=0", "greater than or equal to 1"]),
        ({"num_trials": 0}, ["num_trials=0", "greater than or equal to 1"]),
        ({"max_bootstrapped_demos": -1}, ["max_bootstrapped_demos=-1", "0"]),
        ({"max_labeled_demos": -1}, ["max_labeled_demos=-1", "0"]),
        ({"minibatch": 1}, ["minibatch=1", "boolean"]),
        ({"minibatch_size": 0}, ["minibatch_size=0", "1"]),
        ({"view_data_batch_size": 0}, ["view_data_batch_size=0", "1"]),
        ({"init_temperature": -0.1}, ["init_temperature=-0.1", "0"]),
        ({"init_temperature": float("nan")}, ["init_temperature=nan"]),
        ({"init_temperature": float("inf")}, ["init_temperature=inf", "finite"]),
        ({"metric_threshold": float("nan")}, ["metric_threshold=nan", "finite"]),
        ({"metric_threshold": "0.5"}, ["metric_threshold='0.5'", "number"]),
        ({"program_aware_proposer": "yes"}, ["program_aware_proposer='yes'", "boolean"]),
        ({"sead": 3}, ["sead=3"]),
    ],
)
def test_wrong_option_is_refused(values: dict[str, Any], words: list[str]) -> None:
    """The error names the option, its value and the expected values, in one line."""
    with pytest.raises(DeclarationError) as error:
        Options.checked(**values)

    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


def test_long_value_is_shortened() -> None:
    """The message for a wrong value of any length is short."""
    with pytest.raises(DeclarationError) as error:
        Options.checked(auto="x" * 10_000)

    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    "values",
    [
        {"metric_threshold": 1},
        {"metric_threshold": 0.0},
        {"init_temperature": 0},
        {"seed": -1},
        {"max_bootstrapped_demos": 0, "max_labeled_demos": 0},
    ],
)
def test_limits_of_an_option_are_allowed(values: dict[str, Any]) -> None:
    """Zero, whole numbers for fractions, and negative seeds are allowed."""
    options = Options.checked(**values)

    assert {name: getattr(options, name) for name in values} == values


@pytest.mark.parametrize(
    "bootstrapped, labeled, zero_shot",
    [(0, 0, True), (1, 0, False), (0, 1, False), (4, 4, False)],
)
def test_zero_shot(bootstrapped: int, labeled: int, zero_shot: bool) -> None:
    """Options without bootstrapped and labeled demos are zero-shot."""
    options = Options(max_bootstrapped_demos=bootstrapped, max_labeled_demos=labeled)

    assert options.zero_shot is zero_shot


@pytest.mark.parametrize(
    "values, message",
    [
        ({"num_candidates": 3}, "auto='light' sets num_candidates and num_trials itself"),
        ({"num_trials": 3}, "or set auto=None"),
        ({"auto": "heavy", "num_candidates": 3, "num_trials": 3}, "auto='heavy' sets"),
        ({"auto": None}, "auto=None needs num_candidates and num_trials"),
        ({"auto": None, "num_trials": 3}, "auto=None needs num_candidates"),
    ],
)
def test_contradiction_is_refused(values: dict[str, Any], message: str) -> None:
    """The error for an ignored or a missing size has the next step."""
    with pytest.raises(DeclarationError, match=message):
        Options.checked(**values).refuse_contradictions()


@pytest.mark.parametrize(
    "values", [{}, {"auto": "heavy"}, {"auto": None, "num_candidates": 1, "num_trials": 1}]
)
def test_consistent_sizes_are_accepted(values: dict[str, Any]) -> None:
    """Options have either auto or both sizes."""
    Options.checked(**values).refuse_contradictions()


def test_options_are_frozen() -> None:
    """Options cannot be changed after the check."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().seed = 3  # type: ignore[misc]  # the test assigns to a frozen field
