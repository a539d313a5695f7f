"""Rows become scorecards, and scorecards references."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from sessions import HELD_OUT, artifact_of, held_out, judged_of, scorecard, sums, with_demos

from pytest_mipro.fingerprint import Fingerprint
from pytest_mipro.records import (
    ExampleCost,
    ExampleResult,
    Failure,
    Row,
    Scorecard,
    Usage,
)
from pytest_mipro.reference import Reference
from pytest_mipro.session import scorecards
from pytest_mipro.task import identity

if TYPE_CHECKING:
    from sessions import Checkout

    from pytest_mipro.task import Task

FAILED = Failure("KeyError", "rates", "Traceback ...")
TWO = tuple(map(identity, sums(20, 2)))
"""The first two held-out examples."""
PRICED = Usage(1, 10, 2, priced=1, usd=0.5)


def row(score: float, **values: Any) -> Row:
    """Return a row whose answer is its score."""
    return replace(Row("key", score, {"answer": score}, Usage(1, 10, 2)), **values)


def two(checkout: Checkout, **values: Any) -> Task:
    """Return a task with two held-out examples."""
    return checkout.task(dataset=held_out(*HELD_OUT[:2]), **values)


def reference(**values: Any) -> Reference:
    """Return a reference with scores for the two examples, and for one that is gone."""
    made = Reference(
        test="test_adder",
        key="key",
        parts={"metric": "12"},
        where={"metric": "a.py:3"},
        metric="12",
        baseline={TWO[1]: 0.0, TWO[0]: 0.25, "0 gone": 0.5},
        compiled={TWO[1]: 1.0, TWO[0]: 0.75, "0 gone": 0.5},
        usage={"compile": Usage(9), "baseline": Usage(3), "compiled": Usage(3, 30, 6)},
        versions={},
        state={"add": {}},
    )
    return replace(made, **values)


class TestCardOfRows:
    def test_scores_are_in_the_order_of_the_split(self, checkout: Checkout) -> None:
        """The examples are named by their content, and the usage is what is said."""
        card = scorecards.card_of(two(checkout), [(row(0.0),), (row(1.0),)], Usage(2))
        assert card == Scorecard(TWO, (0.0, 1.0), Usage(2))

    def test_a_score_is_the_mean_of_the_rollouts(self, checkout: Checkout) -> None:
        """All rollouts of an example count alike."""
        task = two(checkout, repeat=2)
        card = scorecards.card_of(task, [(row(0.0), row(1.0)), (row(0.5), row(0.5))], Usage())
        assert (card.scores, card.rollouts) == ((0.5, 0.5), 2)

    def test_failures_of_all_rollouts_are_kept(self, checkout: Checkout) -> None:
        """A failed row scores 0 like a wrong one, and is told apart."""
        failed = row(0.0, failure=FAILED)
        card = scorecards.card_of(
            two(checkout, repeat=2), [(failed, row(1.0)), (failed, failed)], Usage()
        )
        assert card.failures == (FAILED,) * 3
        assert card.scores == (0.5, 0.0)

    def test_clusters_are_those_of_the_examples(self, checkout: Checkout) -> None:
        """Values that are no text are written as JSON."""
        card = scorecards.card_of(two(checkout, cluster="answer"), [(row(1.0),)] * 2, Usage())
        assert card.clusters == ("43", "45")

    @pytest.mark.parametrize(
        "seconds, latency",
        [((0.25, 0.75), 0.5), ((None, 0.75), 0.75), ((None, None), None)],
    )
    def test_latency_is_the_mean_of_what_was_measured(
        self, checkout: Checkout, seconds: tuple[float | None, ...], latency: float | None
    ) -> None:
        """Rows without a measure say nothing."""
        rows = [(row(1.0, seconds=each),) for each in seconds]
        assert scorecards.card_of(two(checkout), rows, Usage()).latency == latency

    def test_a_bill_is_the_mean_of_the_rollouts(self, checkout: Checkout) -> None:
        """Dollars are known where every call has a price."""
        first = (row(1.0, spent=PRICED), row(1.0, spent=PRICED + PRICED))
        second = (row(1.0, spent=Usage(1, 10, 2)),)
        card = scorecards.card_of(two(checkout), [first, second], Usage())
        assert card.costs == (ExampleCost(18.0, 0.75), ExampleCost(12.0))

    def test_what_is_not_known_has_no_bill(self, checkout: Checkout) -> None:
        """One rollout that does not say is enough; without any bill there is no list."""
        known, unknown = row(1.0, spent=PRICED), row(1.0)
        card = scorecards.card_of(two(checkout), [(known, unknown), (known, known)], Usage())
        assert card.costs == (None, ExampleCost(12.0, 0.5))
        assert scorecards.card_of(two(checkout), [(unknown,)] * 2, Usage()).costs == ()

    def test_a_program_comes_with_its_answers(self, checkout: Checkout) -> None:
        """Each rollout has its prediction, and a failed one predicts nothing."""
        task = two(checkout, repeat=2)
        failed = row(0.0, prediction=None, failure=FAILED)
        scored = scorecards.scored(
            task.program, task, [(row(1.0), failed), (row(1.0),) * 2], Usage(4)
        )
        assert scored.program is task.program
        assert scored.answers == (
            ExampleResult(0.5, ({"answer": 1.0}, None), (FAILED,)),
            ExampleResult(1.0, ({"answer": 1.0}, {"answer": 1.0})),
        )
        assert (scored.score, scored.scores, scored.usage) == (0.75, (0.5, 1.0), Usage(4))
        assert repr(scored) == "<Scored: score 0.750 on 2 held-out examples>"


class TestCompleted:
    def test_accepted_scores_are_taken_as_they_are(self, checkout: Checkout) -> None:
        """Nothing is known of the answers but their scores."""
        task = two(checkout, repeat=3)
        scored = scorecards.completed(task.program, reference(), "baseline", task, {})
        assert scored.card == Scorecard(TWO, (0.25, 0.0), Usage(3))
        assert scored.answers == (ExampleResult(0.25), ExampleResult(0.0))

    def test_new_examples_have_their_rows(self, checkout: Checkout) -> None:
        """The usage is that of the accepted answers and of the new ones together."""
        task = two(checkout)
        lacking = reference(compiled={TWO[1]: 1.0}, baseline={TWO[1]: 0.0})
        rows = {TWO[0]: (row(0.5, failure=FAILED, seconds=1.0),)}
        scored = scorecards.completed(task.program, lacking, "compiled", task, rows)
        assert scored.scores == (0.5, 1.0)
        assert scored.usage == Usage(4, 40, 8)
        assert scored.card.failures == (FAILED,)
        assert scored.card.latency is None
        assert scored.answers[0].predictions == ({"answer": 0.5},)
        assert scored.answers[1] == ExampleResult(1.0)

    def test_rows_go_before_what_was_accepted(self, checkout: Checkout) -> None:
        """Where every example was asked again, nothing accepted is left in the card."""
        task = two(checkout, repeat=2)
        rows = {name: (row(0.0, seconds=0.5),) * 2 for name in TWO}
        card = scorecards.completed(task.program, reference(), "compiled", task, rows).card
        assert card == Scorecard(TWO, (0.0, 0.0), Usage(4, 40, 8), rollouts=2)
        assert card.latency == pytest.approx(0.5)

    def test_bills_are_from_both(self, checkout: Checkout) -> None:
        """What is in neither is not known."""
        task = checkout.task(dataset=held_out(*HELD_OUT[:3]))
        third = identity(HELD_OUT[2])
        accepted = reference(
            compiled={TWO[0]: 1.0, TWO[1]: 1.0}, tokens={"compiled": {TWO[0]: 40.0}}
        )
        rows = {third: (row(1.0, spent=PRICED),)}
        card = scorecards.completed(task.program, accepted, "compiled", task, rows).card
        assert card.costs == (ExampleCost(40.0), None, ExampleCost(12.0, 0.5))

    def test_clusters_are_those_of_the_present_examples(self, checkout: Checkout) -> None:
        """The reference does not say them."""
        task = two(checkout, cluster="answer")
        card = scorecards.completed(task.program, reference(), "compiled", task, {}).card
        assert card.clusters == ("43", "45")


class TestAcceptedCard:
    def test_present_examples_come_first(self) -> None:
        """In their order; those that are gone follow, in one that never changes."""
        gone = {"0 gone": 0.5, "z gone": 0.0, "a gone": 1.0}
        accepted = reference(compiled={TWO[1]: 1.0, TWO[0]: 0.75, **gone})
        card = scorecards.accepted_card(accepted, HELD_OUT[:2])
        assert card.examples == (*TWO, "0 gone", "a gone", "z gone")
        assert card.scores == (0.75, 1.0, 0.5, 1.0, 0.0)
        assert card.usage == Usage(3, 30, 6)
        assert card.costs == ()

    def test_new_examples_are_not_in_it(self) -> None:
        """The reference has no score for them."""
        card = scorecards.accepted_card(reference(), HELD_OUT)
        assert card.examples == (*TWO, "0 gone")

    def test_known_bills_are_in_it(self) -> None:
        """One for each example, None where it is not known."""
        accepted = reference(
            tokens={"compiled": {TWO[1]: 20.0, "0 gone": 30.0}}, usd={"compiled": {TWO[1]: 0.5}}
        )
        card = scorecards.accepted_card(accepted, HELD_OUT[:2])
        assert card.costs == (None, ExampleCost(20.0, 0.5), ExampleCost(30.0))


class TestReferences:
    def test_what_was_judged_becomes_a_reference(self, checkout: Checkout) -> None:
        """Scores by example, usage by what it was for, and of the amounts what is known."""
        task = two(checkout)
        fingerprint = Fingerprint({"metric": "12"}, {"metric": "a.py:3"})
        judged = judged_of(
            task,
            with_demos(task),
            scorecard((0.0, 0.5)),
            scorecard((1.0, 0.5), [ExampleCost(12.0, 0.25), None]),
        )
        accepted = scorecards.reference_of(task, fingerprint, "test_adder", judged)
        assert accepted.test == "test_adder"
        assert (accepted.key, accepted.parts) == (fingerprint.key, fingerprint.parts)
        assert accepted.where == {"metric": "a.py:3"}
        assert accepted.baseline == {TWO[0]: 0.0, TWO[1]: 0.5}
        assert accepted.compiled == {TWO[0]: 1.0, TWO[1]: 0.5}
        assert accepted.usage == {"compile": Usage(9), "baseline": Usage(2), "compiled": Usage(2)}
        assert accepted.tokens == {"baseline": {}, "compiled": {TWO[0]: 12.0}}
        assert accepted.usd == {"baseline": {}, "compiled": {TWO[0]: 0.25}}
        assert accepted.versions["dspy"] == version("dspy")
        assert accepted.state == judged.artifact.state

    def test_a_reference_is_an_artifact_again(self, checkout: Checkout) -> None:
        """How it came about is not known any more."""
        task = two(checkout)
        artifact = scorecards.artifact_of(reference(), task)
        assert artifact == replace(
            artifact_of(task, task.program),
            key="key",
            parts={"metric": "12"},
            where={"metric": "a.py:3"},
            state={"add": {}},
            usage=Usage(9),
            seconds=0.0,
            created="",
        )
