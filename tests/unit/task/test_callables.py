from __future__ import annotations

import functools
import inspect
import json
from typing import Any

import dspy
import pytest

from pytest_mipro.errors import DatasetError, DeclarationError
from pytest_mipro.task import (
    Dataset,
    build_program,
    check_adapter,
    check_metric,
    check_metrics,
    check_program,
)
from pytest_mipro.task.callables import mismatch


class Router(dspy.Module):
    def __init__(self, hint: str = "") -> None:
        super().__init__()
        self.route = dspy.Predict("ticket -> queue")
        self.hint = hint

    def forward(self, ticket: str) -> dspy.Prediction:
        return self.route(ticket=ticket)


class Hinted(Router):
    def __init__(self, required: str) -> None:
        super().__init__(required)


class Empty(dspy.Module):
    steps: tuple[dspy.Module, ...] = ()

    def forward(self, ticket: str) -> str:
        return ticket


class Failing(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        raise RuntimeError("no vocabulary file")


@pytest.mark.parametrize(
    "value", [Router, Router(), lambda: Router("x"), functools.partial(Router)]
)
def test_program_is_built(value: object) -> None:
    """A program is declared as an instance, a class or a function."""
    check_program(value)

    assert isinstance(build_program(value), Router)


def test_instance_is_not_copied() -> None:
    """The declared instance is itself the program."""
    program = Router("mine")

    assert build_program(program) is program


def test_checking_builds_nothing() -> None:
    """The check of a class does not build an instance."""
    check_program(Failing)
    check_program(Hinted)


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
def test_values_that_are_no_program_are_refused(check: Any, value: object, name: str) -> None:
    """The error names the value and the ways to declare a program."""
    with pytest.raises(DeclarationError, match=f"program=.*{name}.* is not a dspy.Module; .*class"):
        check(value)


@pytest.mark.parametrize(
    "value, message",
    [
        (Hinted, r"program=Hinted cannot be built without arguments: .*'required'; pass an"),
        (dspy.Predict, r"program=Predict cannot be built without arguments: .*'signature'"),
        (
            lambda required: Router(f"{required}"),
            "built without arguments: .*mipro_program",
        ),
        (lambda: None, "returned None, expected a dspy.Module"),
        (lambda: Router, "returned <class .*Router'>, expected a dspy.Module"),
        (Empty, "program Empty has no predictor to optimize"),
        (Empty(), "program Empty has no predictor to optimize"),
    ],
)
def test_program_that_cannot_be_built_is_refused(value: object, message: str) -> None:
    """The error names the program, the reason and the next step."""
    with pytest.raises(DeclarationError, match=message):
        build_program(value)


def test_frozen_program_has_no_predictor() -> None:
    """The error for a program whose only module is frozen says so."""
    program = Router()
    program._compiled = True
    parent = Empty()
    parent.steps = (program,)

    with pytest.raises(DeclarationError, match=r"all of them are frozen \(_compiled\)"):
        build_program(parent)


ROUTER: Any = Router
HINTED: Any = Hinted


def subtracting() -> dspy.Module:
    """Raise a TypeError that is none of the call."""
    return Router("a" - len("a"))  # type: ignore[operator, arg-type]


def decoding() -> dspy.Module:
    """Raise an error in another file."""
    return Router(json.loads("{"))


@pytest.mark.parametrize(
    "value, message, places",
    [
        (Failing, "Failing .*: it raised RuntimeError: no vocabulary file", ["in __init__: raise"]),
        (
            subtracting,
            "subtracting .*: it raised TypeError: unsup",
            ['return Router("a" - len("a"))'],
        ),
        (decoding, "decoding .*: it raised JSONDecodeError: ", ["json.loads", "json/decoder.py"]),
        (functools.partial(ROUTER, wrong=1), "it raised TypeError: .*'wrong'", []),
        (lambda: [HINTED()], r"it raised TypeError: .*'required'", ["lambda: [HINTED()]"]),
    ],
    ids=["constructor", "TypeError", "another file", "partial", "constructor without an argument"],
)
def test_error_of_a_users_builder_has_its_place(
    value: object, message: str, places: list[str]
) -> None:
    """The error names the program, the exception, and the lines that raised it."""
    with pytest.raises(DeclarationError, match=f"program=.*{message}") as caught:
        build_program(value)
    _, *lines = str(caught.value).splitlines()
    assert len(lines) == len(places)
    assert all(place in line for place, line in zip(places, lines, strict=True))
    assert all("at " in line for line in lines)
    assert not places or f"{__name__.rpartition('.')[2]}.py:" in lines[0]


def test_an_error_of_ours_in_a_users_builder_is_raised_unchanged() -> None:
    """A builder may load a dataset, whose error says everything."""

    def build() -> dspy.Module:
        return Router(str(Dataset.load([])))

    with pytest.raises(DatasetError, match="split is empty"):
        build_program(build)


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
    """Functions, methods, partials, callable objects and judge modules are metrics."""
    check_metric(value)


@pytest.mark.parametrize(
    "value, name",
    [(None, "None"), ("exact_match", "'exact_match'"), (0.5, "0.5"), (Judge, "Judge")],
)
def test_values_that_are_no_metric_are_refused(value: object, name: str) -> None:
    """The error names the value and the signature of a metric."""
    with pytest.raises(
        DeclarationError,
        match=rf"metric=.*{name} is not callable; .*metric\(example, prediction, trace=None\)",
    ):
        check_metric(value)


@pytest.mark.parametrize(
    "value, message",
    [
        ({}, r"metrics=\{\}: expected at least one metric by name"),
        ([Judge()], r"metrics=\[.*\]: expected at least one metric by name"),
        ({"exact": "f"}, r"metrics\['exact'\]='f' is not callable"),
        ({3: Judge()}, r"metrics has the name 3: expected printable text"),
        ({"": Judge()}, r"metrics has the name '': expected printable text"),
        ({"a ": Judge()}, r"metrics has the name 'a ': expected printable text"),
        ({"a\nb": Judge()}, r"metrics has the name 'a\\nb': expected printable text"),
        ({"all": Judge()}, r"metrics has the name 'all': .* stands for all metrics"),
    ],
)
def test_metrics_that_cannot_be_used_are_refused(value: object, message: str) -> None:
    """The error has the name or the value, and what was expected."""
    with pytest.raises(DeclarationError, match=message):
        check_metrics(value)
    check_metrics({"exact match": Judge()})


def test_metric_with_wrong_parameters_is_refused() -> None:
    """The error has the metric's signature and the signature of a metric."""
    with pytest.raises(
        DeclarationError,
        match=r"metric=_word_count cannot be called .*: it takes \(text: 'str'\).*; expected",
    ):
        check_metric(_word_count)


def _word_count(text: str) -> int:
    return len(text.split())


def test_function_without_a_signature_is_not_refused() -> None:
    """A callable that hides its parameters may be right."""
    with pytest.raises(ValueError, match="no signature"):
        inspect.signature(max)

    assert not mismatch(max)


@pytest.mark.parametrize("value", ["JSONAdapter", dspy.JSONAdapter, 3])
def test_values_that_are_no_adapter_are_refused(value: object) -> None:
    """The error names the value and gives an example of an adapter."""
    with pytest.raises(DeclarationError, match=r"adapter=.* is not a dspy.Adapter; .*Adapter\(\)"):
        check_adapter(value)
    check_adapter(dspy.JSONAdapter())
    check_adapter(None)
