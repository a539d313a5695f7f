from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import dspy
import pytest
from sessions import Adder, Checkout, outcome_of, scorecard

from pytest_mipro.spending import Account, Limit

if TYPE_CHECKING:
    from pathlib import Path

SCORES = (1.0,) * 6


def answer(program: dspy.Module) -> int:
    """Call a program of a task as a test does."""
    value: int = program(question="What is 1 + 4?").answer
    return value


def test_a_call_asks_the_tasks_model_and_is_counted(compiled: Checkout) -> None:
    """Of both programs, of their predictors, and of whatever else the test asks."""
    account = Account()
    outcome = compiled.outcome(account=account)
    settings = dspy.settings.lm
    with outcome.counted_calls():
        assert answer(outcome.compiled.program) == 5
        outcome.baseline.program.add(question="What is 1 + 4?")
        assert dspy.settings.lm is outcome.task.lm
    assert dspy.settings.lm is settings
    assert (compiled.calls, outcome.report().usage.calls, account.usage.calls) == (2, 2, 2)
    assert account.spent.keys() == {"test"}


def test_the_tasks_adapter_is_used(tmp_path: Path) -> None:
    """A program is called as it was judged."""
    outcome = outcome_of(tmp_path, scorecard(SCORES), scorecard(SCORES))
    adapter = dspy.JSONAdapter()
    outcome.task = replace(outcome.task, adapter=adapter)
    with outcome.counted_calls():
        assert dspy.settings.adapter is adapter


def test_a_test_without_a_call_needs_no_budget(compiled: Checkout) -> None:
    """A session that has spent its limit exactly is no error."""
    account = Account([Limit("calls", 1, "--mipro-max-calls")])
    outcome = compiled.outcome(account=account)
    with outcome.counted_calls():
        answer(outcome.compiled.program)
    with outcome.counted_calls():
        pass
    assert account.usage.calls == 1


def test_another_model_of_the_test_wins(compiled: Checkout) -> None:
    """A test can ask any model in a context of its own."""
    outcome = compiled.outcome()
    lm = compiled.task().prompt_lm
    with outcome.counted_calls(), dspy.context(lm=lm):
        answer(Adder())
    assert (compiled.model.calls, compiled.writer.calls) == (0, 1)


def test_the_calls_of_a_failing_test_are_counted(compiled: Checkout) -> None:
    """The settings are restored, too."""
    outcome = compiled.outcome()

    def test_body() -> None:
        with outcome.counted_calls():
            raise LookupError(answer(outcome.compiled.program))

    with pytest.raises(LookupError, match="5"):
        test_body()
    assert outcome.report().usage.calls == 1
    assert dspy.settings.lm is not outcome.task.lm
