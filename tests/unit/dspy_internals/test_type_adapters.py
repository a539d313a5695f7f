from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dspy
import pytest
from dspy.adapters import utils
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError

from pytest_mipro.dspy_internals import quick_calls
from pytest_mipro.dspy_internals.type_adapters import type_adapter


@dataclass
class Point:
    """A value that Pydantic writes by its fields."""

    x: int
    label: str = "p"


class Named(BaseModel):
    """A value of Pydantic's own."""

    name: str


VALUES: list[Any] = [
    *("text", "ünï \ud800", 1, 10**30, 0.1, float("nan"), True, None),
    *(["a", 1], {"a": Point(1)}, ("a", 2), {3}, b"bytes", Point(2), Named(name="n"), object),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_prompts_are_the_same(value: object) -> None:
    """A prompt with any value, and with demos, has the same text in a block."""
    fields = {"value": (Any, dspy.InputField()), "answer": (str, dspy.OutputField())}
    signature: Any = dspy.Signature(fields)  # type: ignore[call-arg]  # DSPy's metaclass takes them
    adapter = dspy.ChatAdapter()

    def rendered() -> object:
        return adapter.format(signature, [{"value": value, "answer": "4"}], {"value": value})

    outside = rendered()
    with quick_calls():
        assert [rendered(), rendered()] == [outside, outside]


@pytest.mark.parametrize("annotation, text", [(int, "4"), (bool, "true"), (list[int], "[1]")])
def test_answers_are_the_same(annotation: Any, text: str) -> None:
    """And so is what DSPy reads from a reply, or refuses."""
    outside = utils.parse_value(text, annotation)
    with quick_calls():
        assert utils.parse_value(text, annotation) == outside
        with pytest.raises(ValueError, match="input"):
            utils.parse_value("no number", annotation)


def test_an_adapter_of_a_simple_type_is_prepared_once() -> None:
    """And one of any other type is new each time."""
    assert type_adapter(str) is type_adapter(str)
    assert type_adapter(str) is not type_adapter(int)
    assert type_adapter(Point) is not type_adapter(Point)
    assert type_adapter(list[str]).validate_python(["a"]) == ["a"]


def test_options_are_passed_on() -> None:
    """With their errors."""
    assert type_adapter(str, config={"str_to_upper": True}).validate_python("a") == "A"
    with pytest.raises(PydanticUserError):
        type_adapter(Named, config={"str_to_upper": True})


def test_names_are_those_of_the_caller() -> None:
    """A type may refer to a name by its text."""

    class Local(BaseModel):
        value: int

    assert type_adapter("Local").validate_python({"value": 1}) == Local(value=1)


def test_dspy_has_the_class_of_pydantic_outside_of_a_block() -> None:
    """And a function in a block. Where this fails, DSPy makes adapters elsewhere."""
    assert vars(utils)["TypeAdapter"] is TypeAdapter
    with quick_calls():
        assert vars(utils)["TypeAdapter"] is type_adapter
    assert vars(utils)["TypeAdapter"] is TypeAdapter
