"""A program's state as JSON, and back into the code as far as it fits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import dspy
import pytest
from sessions import COMMAND, TRAIN, Adder, Renamed, instructed

from pytest_mipro.canonical import digest
from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.fingerprint import prompts
from pytest_mipro.records import Usage
from pytest_mipro.reference import Reference
from pytest_mipro.session.program_state import (
    dump_state,
    field_names,
    restore_accepted,
    restore_state,
)

if TYPE_CHECKING:
    from sessions import Checkout

SECRET = "sk-very-secret"


class Hinted(dspy.Module):
    """Has two predictors."""

    def __init__(self) -> None:
        super().__init__()
        self.hint = dspy.ChainOfThought("question -> hint")
        self.add = dspy.Predict("question, hint -> answer: int")


class Wider(Adder):
    """Asks for one field more."""

    def __init__(self) -> None:
        super().__init__()
        self.add = dspy.Predict("question -> answer: int, unit")


def taught() -> Adder:
    """Return a program with an instruction, a demo and a model of its own."""
    program = instructed(Adder(), "Add well.")
    program.add.demos = [TRAIN[0]]
    program.add.lm = dspy.LM("openai/own", api_key=SECRET)
    return program


def reference_of(program: dspy.Module) -> Reference:
    """Return ``program`` as it is accepted."""
    spent = Usage()
    return Reference(
        test="test_adder",
        key=digest({}),
        parts={},
        where={},
        metric="12",
        baseline={"a": 0.0},
        compiled={"a": 1.0},
        usage={"compile": spent, "baseline": spent, "compiled": spent},
        versions={},
        state=dump_state(program),
    )


class TestState:
    def test_it_is_json_without_models(self) -> None:
        """Demos and instruction are in it, a model and its key are not; the program keeps it."""
        program = taught()
        state = dump_state(program)
        assert json.loads(json.dumps(state)) == state
        assert SECRET not in json.dumps(state)
        assert state["add"]["lm"] is None
        assert state["add"]["demos"] == [dict(TRAIN[0])]
        assert state["add"]["signature"]["instructions"] == "Add well."
        assert program.add.lm is not None

    def test_there_and_back(self) -> None:
        """The copy has the state, and the model of the program it is a copy of."""
        plain = Adder()
        plain.add.lm = own = dspy.LM("openai/own")
        restored = restore_state(plain, dump_state(taught()))
        assert isinstance(restored, Adder)
        assert [dict(demo) for demo in restored.add.demos] == [dict(TRAIN[0])]
        assert prompts(restored)[0].instruction == "Add well."
        assert restored.add.lm is own
        assert plain.add.demos == []

    def test_a_value_without_a_json_form_is_text(self) -> None:
        """A demo may hold anything; the state can be kept all the same."""
        program = Adder()
        program.add.demos = [dspy.Example(question=1j, answer=2)]
        assert dump_state(program)["add"]["demos"] == [{"question": "1j", "answer": 2}]

    def test_a_predictor_is_a_program(self) -> None:
        """Its state has no names of predictors."""
        program = dspy.Predict("question -> answer")
        program.demos = [dspy.Example(question="a", answer="b")]
        restored = restore_state(dspy.Predict("question -> answer"), dump_state(program))
        assert [dict(demo) for demo in restored.demos] == [{"question": "a", "answer": "b"}]


class TestFit:
    def test_an_accepted_program_fits_the_same_code(self, checkout: Checkout) -> None:
        """It comes with the accepted demos."""
        fitting = restore_accepted(reference_of(taught()), Adder(), checkout.place())
        assert len(fitting.add.demos) == 1

    @pytest.mark.parametrize(
        "program, names",
        [(Renamed(), "add, sum"), (Wider(), "add"), (Hinted(), "add, hint.predict")],
        ids=["renamed", "another field", "another predictor"],
    )
    def test_it_does_not_fit_other_predictors(
        self, checkout: Checkout, program: dspy.Module, names: str
    ) -> None:
        """The error names the file, the predictors and the command."""
        with pytest.raises(ReferenceFileError) as caught:
            restore_accepted(reference_of(taught()), program, checkout.place())
        assert str(caught.value) == (
            "the accepted program __mipro__/test_sums/test_adder.program.json does not fit the "
            f"code any more: {names} came, went or has other fields; accept anew with: {COMMAND}"
        )

    def test_another_instruction_in_the_code_is_no_matter(self, checkout: Checkout) -> None:
        """The accepted one takes its place."""
        program = instructed(Adder(), "Add badly.")
        fitting = restore_accepted(reference_of(taught()), program, checkout.place())
        assert prompts(fitting)[0].instruction == "Add well."


def test_fields_are_in_the_order_people_read_them_in() -> None:
    """Inputs first, and what DSPy adds where it adds it."""
    assert field_names(Hinted()) == {
        "hint.predict": ("question", "reasoning", "hint"),
        "add": ("question", "hint", "answer"),
    }
