from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any

import dspy
import pytest

from pytest_mipro.errors import DeclarationError
from pytest_mipro.task import (
    OPTION_NAMES,
    Options,
    build_program,
    check_cluster,
    check_metric,
    check_program,
    check_repeat,
    is_sampled,
)


class Router(dspy.Module):
    def __init__(self, hint: str = "") -> None:
        super().__init__()
        self.route = dspy.Predict("ticket -> queue")
        self.hint = hint

    def forward(self, ticket: str) -> dspy.Prediction:
        return self.route(ticket=ticket)


class Demanding(Router):
    def __init__(self, needed: str) -> None:
        super().__init__(needed)


class Empty(dspy.Module):
    steps: tuple[dspy.Module, ...] = ()

    def forward(self, ticket: str) -> str:
        return ticket


class Failing(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        raise RuntimeError("no vocabulary file")


# --- Options -------------------------------------------------------------------------------


def test_defaults_are_those_of_dspy() -> None:
    """What MIPROv2 of DSPy does by default, we do by default."""
    theirs = {
        name: parameter.default
        for function in (dspy.MIPROv2.compile, dspy.MIPROv2.__init__)
        for name, parameter in inspect.signature(function).parameters.items()
        if name in OPTION_NAMES
    }
    ours = dataclasses.asdict(Options())
    del theirs["seed"], theirs["max_bootstrapped_demos"], theirs["max_labeled_demos"]

    assert {name: ours[name] for name in theirs} == theirs
    assert (ours["seed"], ours["max_bootstrapped_demos"], ours["max_labeled_demos"]) == (9, 4, 4)


def test_declared_options_are_kept() -> None:
    """What the user wrote is what the options say; the rest is default."""
    options = Options.declare(auto=None, num_candidates=3, num_trials=5, seed=0, minibatch=False)

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
    """The error names the option, the value and what it takes, in one line."""
    with pytest.raises(DeclarationError) as caught:
        Options.declare(**values)

    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_long_value_is_shortened() -> None:
    """A wrong value of any length makes a message of one screen."""
    with pytest.raises(DeclarationError) as caught:
        Options.declare(auto="x" * 10_000)

    assert len(str(caught.value)) < 200


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
def test_edge_of_an_option_is_allowed(values: dict[str, Any]) -> None:
    """Zero, whole numbers and negative seeds are values like others."""
    options = Options.declare(**values)

    assert {name: getattr(options, name) for name in values} == values


@pytest.mark.parametrize(
    "bootstrapped, labeled, zero_shot",
    [(0, 0, True), (1, 0, False), (0, 1, False), (4, 4, False)],
)
def test_zero_shot(bootstrapped: int, labeled: int, zero_shot: bool) -> None:
    """Without demos of either kind only instructions are searched."""
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
    """A size that would be ignored, or is missing, is an error that says what to do."""
    with pytest.raises(DeclarationError, match=message):
        Options.declare(**values).refuse_contradictions()


@pytest.mark.parametrize(
    "values", [{}, {"auto": "heavy"}, {"auto": None, "num_candidates": 1, "num_trials": 1}]
)
def test_consistent_sizes_are_accepted(values: dict[str, Any]) -> None:
    """Either auto or both sizes."""
    Options.declare(**values).refuse_contradictions()


def test_options_are_frozen() -> None:
    """Options do not change after they were checked."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().seed = 3  # type: ignore[misc]  # that is what is tested


# --- The program ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [Router, Router(), lambda: Router("x"), functools.partial(Router)]
)
def test_program_is_built(value: object) -> None:
    """An instance, a class and a function are all a program."""
    check_program(value)

    assert isinstance(build_program(value), Router)


def test_instance_is_taken_as_it_is() -> None:
    """The user's own instance is the program, not a copy of it."""
    program = Router("mine")

    assert build_program(program) is program


def test_checking_builds_nothing() -> None:
    """A program that is expensive or impossible to build is not built to check it."""
    check_program(Failing)
    check_program(Demanding)


@pytest.mark.parametrize(
    "value, name",
    [
        (None, "None"),
        ("Router", "'Router'"),
        (3, "3"),
        (int, "int"),
        (dspy.Signature, "Signature"),
        (dspy.Example(a=1), r"Example\(\{'a': 1\}\)"),
        (dspy.LM, "LM"),
    ],
)
@pytest.mark.parametrize("check", [check_program, build_program])
def test_what_is_no_program_is_refused(check: Any, value: object, name: str) -> None:
    """The error names the value and what a program may be."""
    with pytest.raises(DeclarationError, match=f"program=.*{name}.* is not a dspy.Module; .*class"):
        check(value)


@pytest.mark.parametrize(
    "value, message",
    [
        (Demanding, r"program=Demanding cannot be built without arguments: .*'needed'; pass an"),
        (dspy.Predict, r"program=Predict cannot be built without arguments: .*'signature'"),
        (lambda needed: Router(f"{needed}"), "cannot be built without arguments: .*mipro_program"),
        (lambda: None, "returned None, expected a dspy.Module"),
        (lambda: Router, "returned <class .*Router'>, expected a dspy.Module"),
        (Empty, "program Empty has no predictor to optimize"),
        (Empty(), "program Empty has no predictor to optimize"),
    ],
)
def test_program_that_cannot_be_built_is_refused(value: object, message: str) -> None:
    """The error says what was tried, why it failed, and what to do instead."""
    with pytest.raises(DeclarationError, match=message):
        build_program(value)


def test_frozen_program_has_no_predictor() -> None:
    """A program whose only module is frozen is refused with the reason."""
    program = Router()
    program._compiled = True
    holder = Empty()
    holder.steps = (program,)

    with pytest.raises(DeclarationError, match=r"all of them are frozen \(_compiled\)"):
        build_program(holder)


def test_error_of_the_users_constructor_is_theirs() -> None:
    """What the user's own code raises is shown as it is."""
    with pytest.raises(RuntimeError, match="no vocabulary file"):
        build_program(Failing)


# --- The metric ----------------------------------------------------------------------------


class Judge:
    def __call__(self, example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        return True

    def score(self, example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        return True


@pytest.mark.parametrize(
    "value",
    [
        lambda example, prediction, trace=None: True,
        Judge(),
        Judge().score,
        functools.partial(Judge.score, Judge()),
        dspy.evaluate.answer_exact_match,
        dspy.evaluate.SemanticF1(),
    ],
)
def test_callable_is_a_metric(value: object) -> None:
    """Functions, methods, partials, callable objects and judge modules will do."""
    check_metric(value)


@pytest.mark.parametrize(
    "value, name",
    [(None, "None"), ("exact_match", "'exact_match'"), (0.5, "0.5"), (Judge, "Judge")],
)
def test_what_is_no_metric_is_refused(value: object, name: str) -> None:
    """The error names the value and the signature of a metric."""
    with pytest.raises(
        DeclarationError,
        match=rf"metric=.*{name} is not callable; .*metric\(example, prediction, trace=None\)",
    ):
        check_metric(value)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "3", None])
def test_a_number_of_rollouts_that_is_none(value: object) -> None:
    """An example is answered once or several times, and nothing else."""
    with pytest.raises(DeclarationError, match=r"repeat=.*whole number of at least 1"):
        check_repeat(value)
    check_repeat(1)


@pytest.mark.parametrize("value", ["", 3, None, ["document"]])
def test_a_cluster_that_is_no_field(value: object) -> None:
    """A cluster is the name of a field."""
    with pytest.raises(DeclarationError, match=r"cluster=.*name of a field"):
        check_cluster(value)
    check_cluster("document")


@pytest.mark.parametrize(
    "temperature, own, config, sampled",
    [
        (None, None, {}, True),
        (0.7, None, {}, True),
        (0, None, {}, False),
        (0.0, 0.5, {}, True),
        (0.7, 0.0, {}, False),
        (0.0, None, {"temperature": 1.0}, True),
        (1.0, None, {"temperature": 0}, False),
    ],
)
def test_what_is_sampled(
    temperature: float | None, own: float | None, config: dict[str, Any], sampled: bool
) -> None:
    """The temperature is the predictor's, else that of its model, else the task's model's."""
    lm = dspy.LM("openai/none", temperature=temperature)
    program = dspy.Predict("question -> answer", **config)
    if own is not None:
        program.lm = dspy.LM("openai/none", temperature=own)
    assert is_sampled(program, lm) is sampled
