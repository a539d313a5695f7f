from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import dspy
import pytest

from pytest_mipro.reference.state import labels_of, missing_part, predictors_of, refused_key

if TYPE_CHECKING:
    from collections.abc import Callable

FOREIGN = {"api_base": "http://other"}


def state_of(*names: str) -> dict[str, Any]:
    """Return the state of a program with these predictors, as DSPy has it."""
    return {name: dspy.Predict("question -> answer").dump_state() for name in names}


def nested(levels: int) -> list[Any]:
    """Return lists in lists."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "config": (lambda state: state["add"].update(config=FOREIGN), "add.config = {'api_base'"),
    "lm": (lambda state: state["add"].update(lm=FOREIGN), "add.lm = {'api_base'"),
    "attribute": (lambda state: state["add"].update(forward="x"), "add.forward = 'x'"),
    "demos": (lambda state: state["add"].update(demos=["x"]), "add.demos = ['x']"),
    "depth": (lambda state: state["add"].update(demos=[{"a": nested(200)}]), "add.demos = [{'a'"),
    "train": (lambda state: state["add"].update(train={}), "add.train = {}"),
    "signature": (
        lambda state: state["add"]["signature"].update(name="x"),
        "add.signature.name = 'x'",
    ),
    "instruction": (
        lambda state: state["add"]["signature"].update(instructions=1),
        "add.signature.instructions = 1",
    ),
    "fields": (
        lambda state: state["add"]["signature"].update(fields="x"),
        "add.signature.fields = 'x'",
    ),
    "field": (
        lambda state: state["add"]["signature"]["fields"][1].update(type="x"),
        "add.signature.fields[1].type = 'x'",
    ),
    "other": (lambda state: state.update(retrieve={"k": 3}), "retrieve = {'k': 3}"),
    "text": (lambda state: state.update(add="x"), "add = 'x'"),
}


@pytest.mark.parametrize("change, key", CHANGES.values(), ids=CHANGES)
def test_what_a_state_must_not_have(change: Callable[[dict[str, Any]], object], key: str) -> None:
    """The first entry that is no part of a prompt is named."""
    state = state_of("add", "multiply")
    change(state)
    assert refused_key(state).startswith(key)


def test_a_state_of_prompts() -> None:
    """What DSPy writes for predictors is accepted."""
    state = state_of("add", "multiply")
    state["add"]["demos"] = [{"question": "1", "nested": {"config": FOREIGN}}]
    assert not refused_key(state)
    assert [*predictors_of(state)] == ["add", "multiply"]


@pytest.mark.parametrize("part", ["instructions", "fields[1].prefix", "fields[0].description"])
def test_what_a_state_must_have(part: str) -> None:
    """DSPy raises a KeyError without it."""
    state = state_of("add", "multiply")
    assert not missing_part(state)
    signature = state["multiply"]["signature"]
    if part in signature:
        del signature[part]
    else:
        del signature["fields"][int(part[7])][part.partition(".")[2]]
    assert missing_part(state) == f"multiply.signature.{part}"


def test_a_program_that_is_a_predictor() -> None:
    """Its state has no names of predictors."""
    state = state_of("self")["self"]
    assert [*predictors_of(state)] == ["self"]
    assert not refused_key(state)
    assert refused_key({**deepcopy(state), "config": FOREIGN}).startswith("self.config")


def test_labels_of_fields() -> None:
    """They are what the prompt says of each field."""
    assert labels_of(state_of("add")["add"]) == ("Question: ${question}", "Answer: ${answer}")
