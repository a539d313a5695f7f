from __future__ import annotations

from typing import Any

import dspy
import pytest
from compiles import ANSWER, exact, sums
from scripted import scripted_lm

from pytest_mipro import MIPROv2
from pytest_mipro.optimize import CallProfile
from pytest_mipro.optimize.mipro.estimate import (
    Tokens,
    bounds_of_compile,
    may_loop,
    tokens_per_call,
)
from pytest_mipro.records import Row, Usage
from pytest_mipro.spending import Account
from pytest_mipro.task import Options

EXAMPLES = sums(60)


class Ask(dspy.Signature):
    """Answer the question."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


PROFILE = CallProfile(1, "m", "t", "p")


@pytest.mark.parametrize(
    "rows, sizes",
    [
        (3, {"auto": "light"}),
        (9, {"auto": "light"}),
        (3, {"auto": None, "num_candidates": 3, "num_trials": 2}),
        (9, {"auto": None, "num_candidates": 3, "num_trials": 2}),
        (3, {"auto": "light", "max_bootstrapped_demos": 0, "max_labeled_demos": 0}),
        (3, {"auto": None, "num_candidates": 1, "num_trials": 9, "max_labeled_demos": 0}),
        (9, {"auto": None, "num_candidates": 1, "num_trials": 9, "max_labeled_demos": 0}),
    ],
)
def test_each_phase_stays_within_its_bound(rows: int, sizes: dict[str, Any]) -> None:
    """Bootstrap and proposals stay within their bounds, search and final within their sum."""
    options = Options.checked(**sizes, minibatch=False)
    student = dspy.Predict(ANSWER)
    bounds = bounds_of_compile(student, options, EXAMPLES[:5], EXAMPLES[20 : 20 + rows], PROFILE)
    most = {bound.phase: bound.calls or 0 for bound in bounds}
    account = Account()
    trials = {"num_trials": sizes["num_trials"]} if "num_trials" in sizes else {}
    constructor = {name: size for name, size in sizes.items() if name != "num_trials"}
    with dspy.context(lm=scripted_lm()), account.current():
        MIPROv2(exact, num_threads=8, **constructor).compile(
            student,
            trainset=EXAMPLES[:5],
            valset=EXAMPLES[20 : 20 + rows],
            minibatch=False,
            **trials,
        )
    spent = {purpose: usage.calls for purpose, usage in account.spent.items()}
    assert spent.get("bootstrap", 0) <= most["bootstrap"] <= 5
    assert spent.get("propose", 0) <= most["propose"]
    assert spent["search"] <= most["search"] + most.get("rounds", 0) + most["final"]


def test_tokens_come_from_stored_rows_or_the_prompt() -> None:
    """A stored row of 2 calls with 60 and 4 tokens means 30 and 2 per call, and demos add to it."""
    bare = Options.checked(max_bootstrapped_demos=0, max_labeled_demos=0)
    student = dspy.Predict(ANSWER)
    row = Row("key", 1.0, usage=Usage(2, 60, 4))
    assert tokens_per_call(student, EXAMPLES, bare, [row]) == Tokens(30, 2, 1)
    assert tokens_per_call(student, EXAMPLES, Options(), [row]).prompt > 30
    from_prompt = tokens_per_call(student, EXAMPLES, bare, [])
    assert from_prompt.rows == 0
    assert 50 < from_prompt.prompt < 500


def test_an_agent_loops() -> None:
    """A program loops if it is an agent, or if its rows took more calls than it has predictors."""

    def tool(name: str) -> str:
        """Return ``name``."""
        return name

    assert not may_loop(dspy.Predict(ANSWER), 1)
    assert may_loop(dspy.Predict(ANSWER), 2)
    assert may_loop(dspy.ReAct(Ask, tools=[tool]), 2)
