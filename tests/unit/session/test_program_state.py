from __future__ import annotations

import json
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.predict.parameter import Parameter
from sessions import COMMAND, TRAIN, Adder, Renamed, instructed

from pytest_mipro.canonical import digest
from pytest_mipro.errors import DeclarationError, ReferenceFileError, StoreError
from pytest_mipro.fingerprint import prompts
from pytest_mipro.records import Artifact, Usage
from pytest_mipro.reference import Reference, SinceAnchor
from pytest_mipro.session.program_state import (
    check_state,
    dump_state,
    field_names,
    restore_accepted,
    restore_artifact,
    restore_state,
)
from pytest_mipro.store import Store

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
    """Has one more output field."""

    def __init__(self) -> None:
        super().__init__()
        self.add = dspy.Predict("question -> answer: int, unit")


def taught() -> Adder:
    """Return a program with an instruction, a demo and a model of its own."""
    program = instructed(Adder(), "Add well.")
    program.add.demos = [TRAIN[0]]
    program.add.lm = dspy.LM("openai/own", api_key=SECRET)
    return program


def restored_into(program: dspy.Module, checkout: Checkout) -> dspy.Module:
    """Return a copy of ``program`` in the accepted state of ``taught()``."""
    usage = Usage()
    reference = Reference(
        test="test_adder",
        key=digest({}),
        parts={},
        metric="12",
        baseline={"a": 0.0},
        compiled={"a": 1.0},
        usage={"compile": usage, "baseline": usage, "compiled": usage},
        model="scripted",
        adapter="ChatAdapter",
        rendering="",
        versions={},
        state=dump_state(taught()),
        since_anchor=SinceAnchor("", ()),
    )
    return restore_accepted(reference, checkout.task(program=program), checkout.location())


class Configured(dspy.Predict):
    """A predictor whose state has more than a prompt."""

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """Return the state with the predictor's configuration."""
        return {**super().dump_state(json_mode), "config": {"temperature": 1.0}}


class Retrieving(Adder):
    """Has a retriever, which DSPy counts among the parameters of a program."""

    def __init__(self) -> None:
        super().__init__()
        self.retrieve = dspy.Retrieve(k=3)


def test_a_predictor_with_more_than_a_prompt() -> None:
    """It is refused, because the rest could not be restored."""
    program = Adder()
    program.add = Configured("question -> answer: int")
    with pytest.raises(DeclarationError, match=r"Adder cannot be compiled: .* add\.config = "):
        dump_state(program)


def test_a_retriever_keeps_the_state_of_the_code() -> None:
    """The state has predictors alone, and can be restored."""
    state = dump_state(Retrieving())
    assert [*state] == ["add"]
    assert restore_state(Retrieving(), state).retrieve.k == 3


class Weighted(Adder):
    """Has a parameter of the user's, whose state is no JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = Weight()


class Weight(Parameter):
    """A parameter with a state of its own."""

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """Return what no JSON holds."""
        return {"weight": object()}


def test_a_parameter_of_the_user_keeps_the_state_of_the_code() -> None:
    """It is no predictor either, and what it holds stands in no file."""
    state = dump_state(Weighted())
    assert [*state] == ["add"]
    assert isinstance(restore_state(Weighted(), state).weight, Weight)


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"add": {"config": {"api_base": "http://other"}}}, "holds add.config = {'api_base'"),
        ({"add": {"lm": {"model": "openai/x"}}}, "holds add.lm"),
        ({"add": {"signature": {"fields": [], "instructions": "x"}}}, "other predictors or fields"),
        ({"new": {}}, "holds new = {}"),
        (
            {"add": {"demos": [{"question": "\ud83d"}]}},
            "(a lone surrogate) in add.demos",
        ),
    ],
)
def test_a_state_that_somebody_changed(change: dict[str, Any], problem: str) -> None:
    """It is an error, and the program has none of it."""
    state = dump_state(Adder())
    for name, entries in change.items():
        state[name] = {**state.get(name, {}), **entries}
    with pytest.raises(StoreError, match=re.escape(problem)):
        restore_state(Adder(), state)


def test_a_program_that_no_model_can_be_sent() -> None:
    """It is an error of the code, before any model is asked."""
    program = Adder()
    program.add.demos = [dspy.Example(question="\ud83d", answer="1")]
    with pytest.raises(DeclarationError, match=r"Adder has one half .* in add\.demos"):
        check_state(program)


def test_an_artifact_that_redirects_calls(compiled: Checkout) -> None:
    """The run names the store and the key before it asks a model."""
    with closing(Store.open(compiled.store_url)) as store:
        (artifact,) = store.artifacts.recent(compiled.task().test)
        artifact.state["add"]["config"] = {"api_base": "http://other"}
        store.artifacts.replace(artifact)
    with pytest.raises(StoreError, match=r"holds add\.config = .*store\.db, move it aside"):
        compiled.outcome()
    assert compiled.calls == 0


def test_a_state_is_json_without_models() -> None:
    """It has demos and instruction, but neither model nor key; the program keeps its model."""
    program = taught()
    state = dump_state(program)
    assert json.loads(json.dumps(state)) == state
    assert SECRET not in json.dumps(state)
    assert state["add"]["lm"] is None
    assert state["add"]["demos"] == [dict(TRAIN[0])]
    assert state["add"]["signature"]["instructions"] == "Add well."
    assert program.add.lm is not None


def test_a_state_is_restored_into_a_copy() -> None:
    """The copy has the state, and the model of the original, which stays as it is."""
    original = Adder()
    original.add.lm = lm = dspy.LM("openai/own")
    restored = restore_state(original, dump_state(taught()))
    assert isinstance(restored, Adder)
    assert [dict(demo) for demo in restored.add.demos] == [dict(TRAIN[0])]
    assert prompts(restored)[0].instruction == "Add well."
    assert restored.add.lm is lm
    assert original.add.demos == []


def test_a_value_without_a_json_form_becomes_text() -> None:
    """The state of a program with any demo can be stored."""
    program = Adder()
    program.add.demos = [dspy.Example(question=1j, answer=2)]
    assert dump_state(program)["add"]["demos"] == [{"question": "1j", "answer": 2}]


def test_a_predictor_is_a_program() -> None:
    """Its state has no names of predictors."""
    program = dspy.Predict("question -> answer")
    program.demos = [dspy.Example(question="a", answer="b")]
    restored = restore_state(dspy.Predict("question -> answer"), dump_state(program))
    assert [dict(demo) for demo in restored.demos] == [{"question": "a", "answer": "b"}]


def test_an_accepted_program_fits_the_same_predictors(checkout: Checkout) -> None:
    """It has the accepted demos, and the accepted instruction instead of the code's."""
    program = restored_into(instructed(Adder(), "Add badly."), checkout)
    assert len(program.add.demos) == 1
    assert prompts(program)[0].instruction == "Add well."


@pytest.mark.parametrize(
    "program, names",
    [(Renamed(), "add, sum"), (Wider(), "add"), (Hinted(), "add, hint.predict")],
    ids=["renamed", "another field", "another predictor"],
)
def test_an_accepted_program_does_not_fit_other_predictors(
    checkout: Checkout, program: dspy.Module, names: str
) -> None:
    """The error names the file, the predictors and the command."""
    with pytest.raises(ReferenceFileError) as caught:
        restored_into(program, checkout)
    assert str(caught.value) == (
        "the accepted program __mipro__/test_sums/test_adder.program.json does not fit the "
        f"code any more: predictors added, removed or with other fields: {names}; "
        f"accept anew with: {COMMAND}"
    )


ODD_STATES: list[dict[str, Any]] = [
    {},
    {"add": None},
    {"sum": {"signature": {"fields": []}}},
    {"add": {"signature": {"fields": 5}}},
    {"add": {"signature": {"fields": [1, 2]}}},
    {"add": {"signature": {"instructions": "", "fields": [{}, {}]}, "demos": []}},
]


@pytest.mark.parametrize("state", ODD_STATES)
def test_an_artifact_with_an_odd_state_is_an_error(
    checkout: Checkout, state: dict[str, Any]
) -> None:
    """It names the task, what is wrong and the next step."""
    artifact = Artifact("key", "test", {}, state, Usage(), 1.0, "")
    with pytest.raises(StoreError, match="the compiled program of test_adder") as caught:
        restore_artifact(checkout.task(), artifact)
    assert str(caught.value).endswith("and --mipro-refresh compiles it again")


def test_fields_are_in_the_order_of_the_signature() -> None:
    """Inputs come first, and fields that DSPy adds stand where DSPy puts them."""
    assert field_names(Hinted()) == {
        "hint.predict": ("question", "reasoning", "hint"),
        "add": ("question", "hint", "answer"),
    }
