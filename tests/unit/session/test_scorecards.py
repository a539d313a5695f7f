from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from sessions import HELD_OUT, NAMES, held_out, result_of, scorecard, with_demos

from pytest_mipro.fingerprint import Fingerprint
from pytest_mipro.fingerprint.parts import METRIC
from pytest_mipro.records import (
    Artifact,
    ExampleCost,
    ExampleResult,
    Failure,
    Row,
    Scorecard,
    Usage,
)
from pytest_mipro.reference import Reference
from pytest_mipro.session.scorecards import (
    accepted_card,
    artifact_of,
    card_of,
    completed_program,
    reference_of,
    scored_program,
)

if TYPE_CHECKING:
    from sessions import Checkout

    from pytest_mipro.evaluate import ExampleRows
    from pytest_mipro.task import Task

FAILED = Failure("KeyError", "rates", "Traceback ...")
FIRST, SECOND, THIRD, *_ = NAMES
PRICED = Usage(1, 10, 2, priced=1, usd=0.5)


def row(score: float, **values: Any) -> Row:
    """Return a row whose prediction is its score."""
    return replace(Row("key", score, {"answer": score}, Usage(1, 10, 2)), **values)


def two(checkout: Checkout, **values: Any) -> Task:
    """Return a task with two held-out examples."""
    return checkout.task(dataset=held_out(*HELD_OUT[:2]), **values)


def card(checkout: Checkout, first: ExampleRows, second: ExampleRows, **values: Any) -> Scorecard:
    """Return the scorecard of the rows of two examples."""
    return card_of(two(checkout, repeat=len(first), **values), [first, second], Usage(2))


def reference(**values: Any) -> Reference:
    """Return a reference with scores of the two examples, and of one that the split lost."""
    default = Reference(
        test="test_adder",
        key="key",
        parts={"metric": "12"},
        metric="12",
        baseline={SECOND: 0.0, FIRST: 0.25, "0 gone": 0.5},
        compiled={SECOND: 1.0, FIRST: 0.75, "0 gone": 0.5},
        usage={"compile": Usage(9), "baseline": Usage(3), "compiled": Usage(3, 30, 6)},
        model="scripted",
        adapter="ChatAdapter",
        rendering="",
        versions={},
        state={"add": {}},
    )
    return replace(default, **values)


def test_a_card_has_the_mean_scores_of_the_split(checkout: Checkout) -> None:
    """A failed row scores 0, with its failure; a cluster that is no text is written as JSON."""
    failed = row(0.0, failure=FAILED)
    scores = card(checkout, (failed, row(1.0)), (failed, failed), cluster="answer")
    assert scores == Scorecard(
        (FIRST, SECOND), (0.5, 0.0), Usage(2), (FAILED,) * 3, 2, ("43", "45")
    )


@pytest.mark.parametrize(
    "seconds, latency", [((0.25, 0.75), 0.5), ((None, 0.75), 0.75), ((None, None), None)]
)
def test_latency_is_the_mean_of_the_measured_rows(
    checkout: Checkout, seconds: tuple[float | None, ...], latency: float | None
) -> None:
    """A row without a measurement does not count."""
    first, second = ((row(1.0, seconds=value),) for value in seconds)
    assert card(checkout, first, second).latency == latency


def test_a_cost_is_the_mean_of_the_rollouts(checkout: Checkout) -> None:
    """Dollars are known if every call has a price, and a cost if every rollout has one."""
    unknown, unpriced = row(1.0), row(1.0, spent=Usage(1, 10, 2))
    priced, twice = row(1.0, spent=PRICED), row(1.0, spent=PRICED + PRICED)
    first = card(checkout, (priced, twice), (unpriced, unpriced)).costs
    assert first == (ExampleCost(18.0, 0.75), ExampleCost(12.0))
    second = card(checkout, (priced, unknown), (priced, priced)).costs
    assert second == (None, ExampleCost(12.0, 0.5))
    assert card(checkout, (unknown,), (unknown,)).costs == ()


def test_a_program_has_its_results_by_example(checkout: Checkout) -> None:
    """Each rollout has its prediction, and a failed one has None."""
    task, failed = two(checkout, repeat=2), row(0.0, prediction=None, failure=FAILED)
    rows = [(row(1.0), failed), (row(1.0),) * 2]
    program = scored_program(task.program, card_of(task, rows, Usage(4)), rows)
    assert program.program is task.program
    assert program.answers == (
        ExampleResult(0.5, ({"answer": 1.0}, None), (FAILED,)),
        ExampleResult(1.0, ({"answer": 1.0}, {"answer": 1.0})),
    )


def test_accepted_scores_are_taken_without_rows(checkout: Checkout) -> None:
    """Their results have no predictions, and the clusters are those of the present examples."""
    task = two(checkout, repeat=3, cluster="answer")
    program = completed_program(task.program, reference(), "baseline", task, {})
    expected = Scorecard((FIRST, SECOND), (0.25, 0.0), Usage(3), clusters=("43", "45"))
    assert program.card == expected
    assert program.answers == (ExampleResult(0.25), ExampleResult(0.0))


def test_rows_complete_accepted_scores(checkout: Checkout) -> None:
    """The usage is that of accepted and new answers together."""
    task = two(checkout)
    accepted = reference(compiled={SECOND: 1.0}, baseline={SECOND: 0.0})
    rows = {FIRST: (row(0.5, failure=FAILED, seconds=1.0),)}
    program = completed_program(task.program, accepted, "compiled", task, rows)
    assert (program.scores, program.usage) == ((0.5, 1.0), Usage(4, 40, 8))
    assert (program.card.failures, program.card.latency) == ((FAILED,), None)
    assert program.answers[0].predictions == ({"answer": 0.5},)
    assert program.answers[1] == ExampleResult(1.0)


def test_rows_replace_accepted_scores(checkout: Checkout) -> None:
    """A card whose examples all have rows has nothing from the reference."""
    task = two(checkout, repeat=2)
    rows = {name: (row(0.0, seconds=0.5),) * 2 for name in (FIRST, SECOND)}
    scores = completed_program(task.program, reference(), "compiled", task, rows).card
    assert scores == Scorecard((FIRST, SECOND), (0.0, 0.0), Usage(4, 40, 8), rollouts=2)
    assert scores.latency == pytest.approx(0.5)


def test_costs_come_from_the_reference_and_from_rows(checkout: Checkout) -> None:
    """A cost that neither has is unknown."""
    task = checkout.task(dataset=held_out(*HELD_OUT[:3]))
    accepted = reference(compiled={FIRST: 1.0, SECOND: 1.0}, tokens={"compiled": {FIRST: 40.0}})
    rows = {THIRD: (row(1.0, spent=PRICED),)}
    scores = completed_program(task.program, accepted, "compiled", task, rows).card
    assert scores.costs == (ExampleCost(40.0), None, ExampleCost(12.0, 0.5))


def test_present_examples_come_first_in_an_accepted_card() -> None:
    """Examples that the split lost follow in the order of their names; new ones are not in it."""
    gone = {"0 gone": 0.5, "z gone": 0.0, "a gone": 1.0}
    accepted = reference(compiled={SECOND: 1.0, FIRST: 0.75, **gone})
    scores = accepted_card(accepted, HELD_OUT)
    assert scores.examples == (FIRST, SECOND, "0 gone", "a gone", "z gone")
    assert scores.scores == (0.75, 1.0, 0.5, 1.0, 0.0)
    assert (scores.usage, scores.costs) == (Usage(3, 30, 6), ())


def test_an_accepted_card_has_the_known_costs() -> None:
    """An example without a cost has None."""
    tokens, usd = {SECOND: 20.0, "0 gone": 30.0}, {SECOND: 0.5}
    accepted = reference(tokens={"compiled": tokens}, usd={"compiled": usd})
    costs = accepted_card(accepted, HELD_OUT[:2]).costs
    assert costs == (None, ExampleCost(20.0, 0.5), ExampleCost(30.0))


def test_a_result_becomes_a_reference(checkout: Checkout) -> None:
    """It has scores by example, usage by purpose, and the known costs."""
    task, fingerprint = two(checkout), Fingerprint({METRIC: "12"})
    compiled = scorecard((1.0, 0.5), [ExampleCost(12.0, 0.25), None])
    result = result_of(task, with_demos(task), scorecard((0.0, 0.5)), compiled)
    accepted = reference_of(task, fingerprint, "test_adder", result)
    assert (accepted.test, accepted.key) == ("test_adder", fingerprint.key)
    assert accepted.parts == {"metric": "12"}
    assert accepted.baseline == {FIRST: 0.0, SECOND: 0.5}
    assert accepted.compiled == {FIRST: 1.0, SECOND: 0.5}
    assert accepted.usage == {"compile": Usage(9), "baseline": Usage(2), "compiled": Usage(2)}
    assert accepted.tokens == {"baseline": {}, "compiled": {FIRST: 12.0}}
    assert accepted.usd == {"baseline": {}, "compiled": {FIRST: 0.25}}
    assert accepted.versions["dspy"] == version("dspy")
    assert accepted.state == result.artifact.state


def test_a_reference_becomes_an_artifact(checkout: Checkout) -> None:
    """The time and the search of the compile are not in a reference."""
    artifact = artifact_of(reference(), checkout.task())
    expected = Artifact(
        "key", checkout.task().test, {"metric": "12"}, {"add": {}}, Usage(9), 0.0, ""
    )
    assert artifact == expected
