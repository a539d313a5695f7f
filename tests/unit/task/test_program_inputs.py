from __future__ import annotations

from typing import Any

import dspy
import pytest
from row_sources import rows

from pytest_mipro.errors import DeclarationError
from pytest_mipro.task import Dataset, check_inputs

SPLITS = {"train": 0, "val": 5, "test": 9}


def splits(**fields: str) -> dict[str, tuple[dspy.Example, ...]]:
    """Return splits of examples with the input ``question`` and further ones."""
    source = {name: [{**row, **fields} for row in rows(2, start)] for name, start in SPLITS.items()}
    return Dataset.load(source, inputs=["question", *fields]).splits


class Program(dspy.Module):
    """A program whose arguments a test chooses."""

    def forward(self, question: str, hint: str = "") -> str:
        return question + hint


class Renamed(dspy.Module):
    def forward(self, query: str) -> str:
        return query


class Async(dspy.Module):
    async def aforward(self, question: str) -> str:
        return question


class AsyncRenamed(dspy.Module):
    async def aforward(self, query: str) -> str:
        return query


class Methodless(dspy.Module):
    pass


class Calling(dspy.Module):
    def __call__(self, question: str) -> str:
        return question


class Anything(dspy.Module):
    def forward(self, **inputs: str) -> object:
        return inputs


class AsksForUnits(dspy.Signature):
    """Answer."""

    question: str = dspy.InputField()
    unit: str = dspy.InputField(default="m")
    answer: str = dspy.OutputField()


REACT: Any = dspy.ReAct  # Its type does not allow the text that it takes.
TAKEN = [
    Program(),
    Async(),
    Calling(),
    Anything(),
    dspy.Predict("question -> answer"),
    dspy.Predict("question, history -> answer"),
    dspy.Predict(AsksForUnits),
    dspy.ChainOfThought("question -> answer"),
    REACT("question -> answer", tools=[]),
]


@pytest.mark.parametrize("program", TAKEN, ids=lambda program: type(program).__name__)
def test_inputs_that_a_program_takes_are_accepted(program: dspy.Module) -> None:
    """Arguments may have defaults, and DSPy's modules may lack an optional one."""
    check_inputs(program, splits())


REFUSED: list[tuple[Any, str]] = [
    (
        Renamed(),
        r"forward cannot be called with them: it takes \(self, query: .*missing a required",
    ),
    (AsyncRenamed(), r"aforward cannot be called with them: .*'query'"),
    (Methodless(), "it has neither forward nor aforward"),
    (dspy.Predict("query -> answer"), "its signature has the inputs query"),
    (dspy.ChainOfThought("query, hint -> answer"), "its signature has the inputs query, hint"),
    (REACT("query -> answer", tools=[]), "its signature has the inputs query"),
]


@pytest.mark.parametrize("program, reason", REFUSED, ids=lambda value: type(value).__name__)
def test_inputs_that_a_program_does_not_take_are_refused(program: Any, reason: str) -> None:
    """The error names the program, the first example, its inputs, the reason and the next step."""
    name = type(program).__name__
    message = rf"^teacher {name} does not take the inputs of train\[0\], question: {reason}"
    with pytest.raises(DeclarationError, match=message) as caught:
        check_inputs(program, splits(), "teacher")
    assert str(caught.value).endswith("by inputs=[...] or in the program")


def test_each_set_of_inputs_is_checked() -> None:
    """An example with an input more than the others is found wherever it is."""
    mixed = {**splits(hint="a"), "test": splits(hint="b", unit="m")["test"]}
    check_inputs(Program(), splits(hint="a"))
    with pytest.raises(DeclarationError, match=r"test\[0\], question, hint, unit: .*'unit'"):
        check_inputs(Program(), mixed)
