"""The bound of a compile holds, whatever its sizes."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from scripted import scripted_lm

from pytest_mipro import MIPROv2
from pytest_mipro.optimize.mipro.estimate import (
    CallProfile,
    Tokens,
    bounds_of_compile,
    loops,
    tokens_per_call,
)
from pytest_mipro.records import Row, Usage
from pytest_mipro.spending import Account
from pytest_mipro.task import Options

ROWS = [
    dspy.Example(question=f"What is {i} + {i + 3}?", answer=str(2 * i + 3)).with_inputs("question")
    for i in range(60)
]


class Ask(dspy.Signature):
    """Answer the question."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


ASKED = CallProfile(1, "m", "t", "p")


def exact(example: dspy.Example, prediction: dspy.Prediction, _trace: object = None) -> bool:
    """Tell whether the answer is right."""
    return bool(example.answer == prediction.answer)


@pytest.mark.parametrize(
    "sizes",
    [
        {"auto": "light"},
        {"auto": None, "num_candidates": 3, "num_trials": 2},
        {"auto": "light", "max_bootstrapped_demos": 0, "max_labeled_demos": 0},
        {"auto": None, "num_candidates": 1, "num_trials": 9, "max_labeled_demos": 0},
    ],
)
@pytest.mark.parametrize("rows", [3, 30])
def test_no_phase_asks_more_than_its_bound(sizes: dict[str, Any], rows: int) -> None:
    """Bootstrap and proposals each stay within theirs, search and final within theirs together."""
    options = Options.declare(**sizes, minibatch=False)
    student = dspy.Predict("question -> answer")
    bounds = bounds_of_compile(student, options, ROWS[:15], ROWS[20 : 20 + rows], ASKED)
    most = {bound.phase: bound.calls for bound in bounds}
    account = Account()
    trials = {"num_trials": sizes["num_trials"]} if "num_trials" in sizes else {}
    made = {name: value for name, value in sizes.items() if name != "num_trials"}
    with dspy.context(lm=scripted_lm()), account.current():
        MIPROv2(exact, num_threads=8, **made).compile(
            student, trainset=ROWS[:15], valset=ROWS[20 : 20 + rows], minibatch=False, **trials
        )
    spent = {purpose: usage.calls for purpose, usage in account.spent.items()}
    assert spent.get("bootstrap", 0) <= most["bootstrap"] <= 15
    assert spent.get("propose", 0) <= most["propose"]
    assert spent["search"] <= most["search"] + most["final"]


def test_tokens_come_from_stored_rows_or_the_prompt() -> None:
    """A row of two calls with 60 and 4 tokens makes 30 and 2 per call; demos are added."""
    bare = Options.declare(max_bootstrapped_demos=0, max_labeled_demos=0)
    student = dspy.Predict("question -> answer")
    row = Row("key", 1.0, usage=Usage(2, 60, 4))
    assert tokens_per_call(student, ROWS, bare, [row]) == Tokens(30, 2, 1)
    assert tokens_per_call(student, ROWS, Options(), [row]).asked > 30
    guessed = tokens_per_call(student, ROWS, bare, [])
    assert guessed.rows == 0
    assert 50 < guessed.asked < 500


def test_a_loop_is_told_apart() -> None:
    """An agent may call more often than it has predictors."""

    def tool(name: str) -> str:
        """Return ``name``."""
        return name

    assert not loops(dspy.Predict("question -> answer"), 1)
    assert loops(dspy.Predict("question -> answer"), 2)
    assert loops(dspy.ReAct(Ask, tools=[tool]), 2)
