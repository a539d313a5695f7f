from __future__ import annotations

import json
from typing import TYPE_CHECKING

import dspy
import pytest
from sessions import HELD_OUT, Renamed, adding, unchanged

from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.fingerprint import task_fingerprint
from pytest_mipro.session import Policy
from pytest_mipro.session.context import read_context
from pytest_mipro.session.moves import moves_in_words

if TYPE_CHECKING:
    from sessions import Checkout

    from pytest_mipro.task import Task

DSPY = "3.4.0"
"""A version of DSPy that is not the installed one."""


def moves(checkout: Checkout, task: Task) -> str:
    """Return what moved since the acceptance."""
    fingerprint = task_fingerprint(task)
    return moves_in_words(read_context(task, fingerprint, checkout.location(), Policy()))


def other_model(checkout: Checkout) -> Task:
    """Return the task with a model of another name, which is always right."""
    return checkout.task(lm=dspy.LM("newer", engine=adding(100), cache=False))


def accept_under(checkout: Checkout, **values: object) -> None:
    """Let the reference say that it was accepted under other circumstances."""
    path = checkout.location().scores
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, **values}), encoding="utf-8")


def test_nothing_moved(accepted: Checkout) -> None:
    """Under the model, the adapter and the DSPy of the acceptance, there is nothing to say."""
    assert not moves(accepted, accepted.task())


def test_another_model_is_named(accepted: Checkout) -> None:
    """With the accepted one."""
    assert moves(accepted, other_model(accepted)) == "model scripted -> newer"


def test_another_adapter_renders_differently(accepted: Checkout) -> None:
    """The names of both, and that their prompts are not the same."""
    text = moves(accepted, accepted.task(adapter=dspy.JSONAdapter()))
    assert text == "adapter ChatAdapter -> JSONAdapter renders prompts differently"


@pytest.mark.parametrize(
    "rendering, clause",
    [
        (None, "renders the accepted prompts as before"),
        ("", "may render prompts differently"),
        ("another", "renders prompts differently"),
    ],
)
def test_another_dspy_is_named(accepted: Checkout, rendering: str | None, clause: str) -> None:
    """It may render the same prompts, which the digest of the accepted ones shows."""
    versions = {"dspy": DSPY, "pytest-mipro": "0.1.0"}
    accept_under(accepted, versions=versions)
    if rendering is not None:
        accept_under(accepted, rendering=rendering)
    assert moves(accepted, accepted.task()) == f"DSPy {DSPY} -> {dspy.__version__} {clause}"


def test_a_program_that_does_not_fit_may_be_rendered_differently(accepted: Checkout) -> None:
    """Its accepted prompts cannot be rendered any more."""
    accept_under(accepted, versions={"dspy": DSPY}, adapter="XMLAdapter")
    text = moves(accepted, accepted.task(program=Renamed()))
    assert text == (
        f"DSPy {DSPY} -> {dspy.__version__} and adapter XMLAdapter -> ChatAdapter "
        "may render prompts differently"
    )


def test_a_verdict_says_it_first(accepted: Checkout) -> None:
    """Before the looks and the figures, where the reference is what is compared with."""
    accepted.recorder.optimizer = unchanged
    outcome = accepted.outcome(other_model(accepted))
    first = "model scripted -> newer; this is "
    assert outcome.no_regression().sentence.startswith(first)
    assert outcome.costs_no_more(than="reference").sentence.startswith(first)
    assert "newer" not in outcome.costs_no_more().sentence
    assert "newer" not in outcome.beats_baseline().sentence


def test_the_accepted_program_is_scored_under_another_model(accepted: Checkout) -> None:
    """A frozen run that rescores takes the program as it was accepted, with new scores."""
    task = other_model(accepted)
    with pytest.raises(ReferenceFileError, match=r"model changed.* add --mipro-rescore$"):
        accepted.outcome(task, frozen=True)
    outcome = accepted.outcome(task, frozen=True, rescore=True)
    assert outcome.compiled.scores == (1.0,) * len(HELD_OUT)
    assert outcome.report().origin == "accepted"
    assert "the same program and model" not in outcome.no_regression().sentence


def test_another_task_is_not_scored_by_a_frozen_run(accepted: Checkout) -> None:
    """Code that nobody accepted is no move."""
    task = accepted.task(program=Renamed(), lm=other_model(accepted).lm)
    with pytest.raises(ReferenceFileError, match=r"out of date: .*model changed"):
        accepted.outcome(task, frozen=True, rescore=True)
