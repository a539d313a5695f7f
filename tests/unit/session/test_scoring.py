from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy import lm15
from scripted import ScriptedEngine
from sessions import (
    HELD_OUT,
    ROWS,
    SUFFIXES,
    Adder,
    grown,
    held_out,
    nearly_right,
    with_demos,
)

from pytest_mipro.errors import InfrastructureError, MetricError, ProgramError
from pytest_mipro.records import ExampleCost, Usage

if TYPE_CHECKING:
    from sessions import Checkout

WORSE = ScriptedEngine(base=0, per_demo=0)


class Wordy(ScriptedEngine):
    """Answers as before with more tokens."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer with another usage."""
        usage = lm15.Usage(input_tokens=20, output_tokens=4, total_tokens=24)
        return replace(super().complete(request), usage=usage)


class Garbled(ScriptedEngine):
    """Answers with a text that no adapter can parse."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer with one word."""
        return replace(super().complete(request), message=lm15.Message.assistant("nothing"))


class Swallowing(Adder):
    """Hides every error."""

    def forward(self, question: str) -> dspy.Prediction:
        """Answer 0 where there is no answer."""
        try:
            return super().forward(question)
        except Exception:  # ruff: ignore[blind-except] - as such programs do
            return dspy.Prediction(answer=0)


class Breaking(Adder):
    """Cannot add large numbers."""

    def forward(self, question: str) -> dspy.Prediction:
        """Raise for sums above 22."""
        if int(question.split()[2]) > 22:
            raise KeyError("rates")
        return super().forward(question)


def test_new_examples_alone_are_evaluated(compiled: Checkout) -> None:
    """Both programs answer them, the report has that usage, and the card that of all answers."""
    report = compiled.report(compiled.task(dataset=grown(2)))
    assert compiled.recorder.events == [
        "fingerprint",
        "mipro: test_adder: scoring 2 held-out examples that are not in the store",
        "evaluate",
    ]
    assert (report.origin, report.usage.calls, compiled.calls) == ("stored", 4, 4)
    assert len(report.compiled.scores) == report.compiled.usage.calls == len(HELD_OUT) + 2


def test_corrected_labels_cost_nothing(compiled: Checkout) -> None:
    """The metric scores the stored answers against the new labels."""
    corrected = HELD_OUT[0].copy(answer=HELD_OUT[0].answer + 1).with_inputs("question")
    outcome = compiled.outcome(compiled.task(dataset=held_out(corrected, *HELD_OUT[1:])))
    assert outcome.compiled.scores == (0, 1, 1, 1, 1, 1)
    assert (compiled.calls, compiled.recorder.reasons) == (0, [])


def test_scores_are_in_the_order_of_the_held_out_examples(compiled: Checkout) -> None:
    """Another order asks nothing and gives the same scores."""
    backward = compiled.report(compiled.task(dataset=held_out(*reversed(HELD_OUT)))).compiled
    assert backward.examples == compiled.report().compiled.examples[::-1]
    assert compiled.calls == 0


def test_stored_rows_have_usage_and_costs(compiled: Checkout) -> None:
    """A session judges them without a call, also under another metric."""
    outcome = compiled.outcome()
    assert outcome.baseline.card.costs == outcome.compiled.card.costs == (ExampleCost(12.0),) * 6
    assert outcome.costs_no_more(ratio=1.2)
    assert not outcome.costs_no_more(ratio=0.5)
    assert compiled.calls == 0
    compiled.recorder.optimizer = with_demos
    report = compiled.report(compiled.task(metric=nearly_right))
    assert report.baseline.usage == Usage(6, 60, 12)
    assert report.baseline.known_costs.keys() == set(report.baseline.examples)


def test_progress_counts_every_row(compiled: Checkout) -> None:
    """The total includes the rows that the store has."""
    compiled.outcome(compiled.task(repeat=2))
    progress = compiled.recorder.progress
    assert progress is not None
    assert (progress.phase, progress.done, progress.total) == ("evaluate", 2 * ROWS, 2 * ROWS)
    assert progress.usage.calls == ROWS


def test_stored_answers_are_the_first_rollout(compiled: Checkout) -> None:
    """A score is the mean of the rollouts, and later runs evaluate the same rows."""
    compiled.model.drift_to(WORSE)
    task = compiled.task(repeat=2)
    outcome = compiled.outcome(task)
    assert outcome.compiled.scores == (0.5,) * len(HELD_OUT)
    assert outcome.compiled.card.rollouts == outcome.comparison.rollouts == 2
    assert [len(answer.predictions) for answer in outcome.compiled.answers] == [2] * 6
    assert (compiled.calls, outcome.report().reasons) == (ROWS, ())
    assert compiled.outcome(compiled.task(repeat=1)).compiled.score == 1
    assert compiled.outcome(task).compiled.scores == (0.5,) * len(HELD_OUT)
    assert compiled.calls == ROWS


def test_a_sampled_reference_has_fresh_rollouts(checkout: Checkout) -> None:
    """Scores that a run has shown are not those that are accepted; a second acceptance adds none.

    The model answers wrongly after the first run, and the answers in the store are right.
    """
    checkout.recorder.optimizer = with_demos
    checkout.outcome()
    checkout.model.drift_to(WORSE)
    assert checkout.outcome().compiled.score == 1
    for _ in range(2):
        assert checkout.outcome(update=True).compiled.score == 0
        assert checkout.calls == 2 * ROWS
    for frozen in (False, True):
        outcome = checkout.outcome(frozen=frozen)
        assert outcome.compiled.score == 0
        assert "nothing changed" in outcome.no_regression().sentence
    assert checkout.calls == 2 * ROWS


def test_the_reference_of_a_model_at_temperature_0_has_the_scores_of_the_run(
    compiled: Checkout,
) -> None:
    """Every rollout would be the same."""
    lm = dspy.LM("scripted", engine=compiled.model, cache=False, temperature=0)
    task = compiled.task(lm=lm)
    compiled.recorder.optimizer = with_demos
    compiled.outcome(task)
    calls = compiled.calls
    compiled.outcome(task, update=True)
    assert compiled.calls == calls


def test_a_rescore_evaluates_the_held_out_examples_again(compiled: Checkout) -> None:
    """It compiles nothing."""
    report = compiled.report(rescore=True)
    assert compiled.recorder.events == ["fingerprint", "evaluate"]
    assert (report.origin, report.usage.calls, compiled.calls) == ("stored", ROWS, ROWS)
    assert report.baseline.usage.calls == len(HELD_OUT)


def test_a_rescore_has_the_usage_of_the_new_answers(compiled: Checkout) -> None:
    """The store keeps that of the first answers."""
    compiled.model.drift_to(Wordy(base=0, per_demo=100))
    assert compiled.outcome(rescore=True).compiled.usage == Usage(6, 120, 24)
    assert compiled.outcome().compiled.usage == Usage(6, 60, 12)


def test_a_rescore_detects_a_model_that_drifted(accepted: Checkout) -> None:
    """The new answers are compared with the accepted scores and not stored."""
    accepted.model.drift_to(WORSE)
    for frozen in (False, True):
        outcome = accepted.outcome(rescore=True, frozen=frozen)
        assert outcome.compiled.score == 0
        assert outcome.no_regression().word == "FAIL"
    assert accepted.outcome().compiled.score == 1
    assert accepted.calls == 2 * ROWS
    acceptance = accepted.acceptance(rescore=True)
    assert (acceptance.change, acceptance.changed) == ("changed", len(HELD_OUT))


def test_a_rescore_is_for_one_run(compiled: Checkout) -> None:
    """Two tests of a run share the new answers, and the next run asks again."""
    for run_number in (1, 2):
        with compiled.session(rescore=True) as run:
            run.outcome()
            assert run.report("test_other").origin == "shared"
        assert compiled.calls == run_number * ROWS


def test_a_model_whose_answers_cannot_be_parsed_gives_no_score(accepted: Checkout) -> None:
    """A program that fails on every example is an error; failures on new ones score 0."""
    accepted.model.drift_to(Garbled())
    with pytest.raises(ProgramError, match="baseline program failed on 6 of 6 held-out"):
        accepted.outcome(rescore=True, frozen=True)
    outcome = accepted.outcome(accepted.task(dataset=grown(2)), frozen=True)
    assert outcome.compiled.scores == (1, 1, 1, 1, 1, 1, 0, 0)
    assert len(outcome.compiled.card.failures) == 2


def test_an_outage_that_a_program_hides_is_an_error(checkout: Checkout) -> None:
    """The program gets no score for its answers to the error of a model."""
    checkout.recorder.optimizer = with_demos
    checkout.model.limit = 0
    with pytest.raises(InfrastructureError, match="the key was revoked"):
        checkout.outcome(checkout.task(program=Swallowing()))


@pytest.mark.parametrize(
    "metric, message",
    [
        (lambda *_: None, "the metric returned None"),
        (lambda *_: float("nan"), "the metric returned nan"),
        (lambda *_: "good", "the metric returned 'good'"),
        (lambda *_: 1 / 0, "the metric raised ZeroDivisionError"),
    ],
    ids=["None", "NaN", "text", "raises"],
)
def test_a_metric_without_a_score_is_an_error(
    checkout: Checkout, metric: Any, message: str
) -> None:
    """Nothing is accepted, and the session can still judge other tasks."""
    checkout.recorder.optimizer = with_demos
    with checkout.session(update=True) as run:
        with pytest.raises(MetricError, match=rf'{message}(.|\n)*on the example {{"answer":'):
            run.report("test_broken", metric=metric)
        run.outcome()
    assert list(checkout.references) == [f"test_adder{suffix}" for suffix in SUFFIXES]


def test_a_program_that_fails_on_most_examples_is_an_error(checkout: Checkout) -> None:
    """A second run from the store raises it again; half of the examples may fail."""
    checkout.recorder.optimizer = with_demos
    broken = checkout.task(program=Breaking(), dataset=held_out(*HELD_OUT[1:]))
    message = r"the baseline program failed on 3 of 5 held-out examples with KeyError(.|\n)*rates"
    for _ in range(2):
        with pytest.raises(ProgramError, match=message):
            checkout.outcome(broken)
    outcome = checkout.outcome(checkout.task(program=Breaking()))
    assert outcome.compiled.scores == (1, 1, 1, 0, 0, 0)
    assert [failure.type for failure in outcome.compiled.card.failures] == ["KeyError"] * 3
