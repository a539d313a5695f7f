from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from scripted import ScriptedEngine
from sessions import (
    Adder,
    Checkout,
    adding,
    held_out,
    instructed,
    scorecard,
    sums,
    unchanged,
    with_demos,
)

from pytest_mipro.errors import BudgetExceeded, InfrastructureError
from pytest_mipro.task import Budget

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import dspy

    from pytest_mipro.session import Outcome
    from pytest_mipro.task import Task

N = 80
SURE, LIKELY, WORSE = (0, 100), (50, 12), (50, -10)
"""How often of a hundred a model is right, without a demo and more with one."""


def started(root: Path, model: tuple[int, int]) -> Checkout:
    """Return a checkout whose compiled program has one demo, which no model is asked for."""
    checkout = Checkout(root, model=adding(*model))
    checkout.recorder.optimizer = with_demos
    return checkout


def sequential(checkout: Checkout, **values: Any) -> Task:
    """Return a task whose examples are asked in four batches."""
    return checkout.task(dataset=held_out(*sums(100, N)), **{"sequential": True, **values})


def changed(checkout: Checkout, right: int, seed: int = 3) -> Task:
    """Return the task with another seed, by which its program is right so often."""

    def optimizer(task: Task) -> dspy.Module:
        program = with_demos(task)
        assert isinstance(program, Adder)
        return instructed(program, f"Add with seed {seed}.")

    checkout.model.drift_to(ScriptedEngine(base=0, per_demo=right))
    checkout.recorder.optimizer = optimizer
    return sequential(checkout, seed=seed)


@contextmanager
def running(checkout: Checkout, task: Task | None = None, **policy: Any) -> Generator[Outcome]:
    """Run the body of a test."""
    with checkout.session(**policy) as run:
        outcome = run.outcome(task or sequential(checkout))
        with outcome.counted_calls():
            yield outcome


@pytest.mark.parametrize(
    "model, word, count", [(SURE, "PASS", 20), (LIKELY, "PASS", 40), (WORSE, "INCONCLUSIVE", 60)]
)
def test_asking_stops_when_the_verdict_is_clear(
    tmp_path: Path, model: tuple[int, int], word: str, count: int
) -> None:
    """The sentence and the scorecard say how far it went, and each call is counted once."""
    checkout = started(tmp_path, model)
    with checkout.session() as run:
        outcome = run.outcome(sequential(checkout))
        assert checkout.calls == 2 * 20
        with outcome.counted_calls():
            verdict = outcome.beats_baseline()
        report = outcome.report()
        assert run.session.usage.calls == checkout.calls
    assert (verdict.word, checkout.calls) == (word, 2 * count)
    assert verdict.sentence.startswith(
        f"interim analysis {count // 20} of 4, at {count} of 80 held-out"
    )
    assert report.usage.calls == checkout.calls
    assert report.comparison.n == len(report.held_out) == count
    assert report.baseline.total == report.compiled.total == N
    assert repr(outcome.compiled).endswith(f"on {count} of 80 held-out examples>")


def test_a_verdict_does_not_depend_on_others(tmp_path: Path) -> None:
    """It has the analysis at which it is clear, also where more rows are there already."""
    checkout = started(tmp_path, LIKELY)
    with running(checkout) as outcome:
        alone = outcome.beats_baseline()
        strict = outcome.beats_baseline(margin=0.2)
        assert strict.sentence.startswith("interim analysis 3 of 4")
        assert len(outcome.compiled.scores) == 60
        assert outcome.beats_baseline() == alone
    with running(checkout) as outcome:
        assert outcome.beats_baseline() == alone
        assert len(outcome.compiled.scores) == 40
    assert checkout.calls == 2 * 60


def test_another_test_of_the_task_goes_on_from_there(tmp_path: Path) -> None:
    """Its rows are shared, and its report has the usage of what it asked for alone."""
    checkout = started(tmp_path, LIKELY)
    with checkout.session() as run:
        first, second = (run.outcome(sequential(checkout, test=test)) for test in ("a", "b"))
        assert first.beats_baseline().word == second.beats_baseline().word == "PASS"
        assert second.beats_baseline(margin=0.2).word == "INCONCLUSIVE"
        assert [outcome.report().usage.calls for outcome in (first, second)] == [80, 40]
        assert run.session.usage.calls == checkout.calls == 120


def test_scores_that_are_read_before_a_verdict_are_complete(tmp_path: Path) -> None:
    """Nothing says when they are enough; after the test nothing is asked."""
    checkout = started(tmp_path, SURE)
    with running(checkout) as outcome:
        assert outcome.compiled.score == 1
        assert checkout.calls == 2 * N
        assert outcome.compiled.card.total is None
        assert outcome.beats_baseline().sentence.startswith("interim analysis 1 of 4, at 20 of 80")
    with running(checkout, changed(checkout, 100)) as outcome:
        pass
    assert len(outcome.compiled.scores) == 20


def test_a_program_with_the_baselines_prompts_needs_one_batch(tmp_path: Path) -> None:
    """No number of examples makes it better."""
    checkout = started(tmp_path, WORSE)
    checkout.recorder.optimizer = unchanged
    with running(checkout) as outcome:
        assert outcome.beats_baseline().word == "FAIL"
        assert len(outcome.compiled.scores) == 20


def test_costs_are_judged_on_all_examples(tmp_path: Path) -> None:
    """Their verdict has no interim analyses."""
    checkout = started(tmp_path, SURE)
    with running(checkout) as outcome:
        verdict = outcome.costs_no_more(ratio=1.5)
        assert verdict.comparison is not None
        assert verdict.comparison.n == N


@pytest.mark.parametrize("policy", ["update", "rescore"])
def test_some_runs_ask_all_examples(tmp_path: Path, policy: str) -> None:
    """A reference has all scores; verdicts stop at the analysis that makes them clear."""
    checkout = started(tmp_path, SURE)
    with running(checkout, None, **{policy: True}) as outcome:
        assert checkout.calls == 2 * N
        assert outcome.beats_baseline().sentence.startswith("interim analysis 1 of 4, at 20 of 80")
        assert len(outcome.compiled.scores) == N


def test_a_frozen_run_has_the_verdicts_of_a_run_that_asks(tmp_path: Path) -> None:
    """Its scores are the accepted ones."""
    checkout = started(tmp_path, LIKELY)
    with running(checkout, update=True) as outcome:
        accepted = outcome.beats_baseline()
    with running(checkout, frozen=True) as outcome:
        assert outcome.beats_baseline() == accepted
        assert outcome.no_regression().word == "PASS"
    assert checkout.calls == 2 * N


@pytest.fixture(scope="module")
def first_accepted(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a checkout with an accepted program that is always right; for copies only."""
    checkout = started(tmp_path_factory.mktemp("accepted"), SURE)
    with running(checkout, update=True):
        return checkout


@pytest.fixture
def accepted(first_accepted: Checkout, tmp_path: Path) -> Checkout:
    """Return a checkout with an accepted program that is always right."""
    return first_accepted.copied_to(tmp_path / "accepted", ".mipro", "__mipro__")


class TestRegression:
    @pytest.mark.parametrize(
        "tolerant, right, word, count",
        [(True, 0, "FAIL", 20), (True, 95, "INCONCLUSIVE", 80), (False, 95, "INCONCLUSIVE", 40)],
    )
    def test_what_the_assert_depends_on_decides(
        self, accepted: Checkout, tolerant: bool, right: int, word: str, count: int
    ) -> None:
        """If INCONCLUSIVE passes, asking stops once a FAIL is unlikely; if not, once a PASS is."""
        task = changed(accepted, right)
        with running(accepted, task, tolerant=tolerant) as outcome:
            verdict = outcome.no_regression(tolerance=0.02)
            assert (verdict.word, len(outcome.compiled.scores)) == (word, count), repr(verdict)

    def test_common_examples_are_looked_at(self, accepted: Checkout) -> None:
        """The design has the examples of both programs, and new ones are asked with the others."""
        dataset = held_out(*sums(100, N), *sums(300, 20))
        task = replace(changed(accepted, 0), dataset=dataset)
        with running(accepted, task) as outcome:
            verdict = outcome.no_regression()
            comparison = verdict.comparison
            assert comparison is not None
            assert (verdict.word, len(outcome.compiled.scores)) == ("FAIL", 25)
            assert comparison.n < 25
            assert f"interim analysis 1 of 4, at {comparison.n} of 80" in verdict.sentence

    def test_what_is_measured_below_the_anchor_takes_all_examples(self, accepted: Checkout) -> None:
        """An anchor that is not the reference decides with all rows, unless a loss is shown."""
        with running(accepted, changed(accepted, 95), update=True) as outcome:
            score = outcome.compiled.score
        assert 0.9 < score < 1
        with running(accepted, changed(accepted, 97, seed=4)) as outcome:
            verdict = outcome.no_regression(tolerance=0.01)
            assert (verdict.word, bool(verdict)) == ("INCONCLUSIVE", False), repr(verdict)
            assert len(outcome.compiled.scores) == N
        with running(accepted, changed(accepted, 0, seed=5)) as outcome:
            assert outcome.no_regression(tolerance=0.01).word == "FAIL"
            assert len(outcome.compiled.scores) == 20


def test_a_measurement_is_one_look_however_far_it_goes(tmp_path: Path) -> None:
    """The ledger knows it by its first batch."""
    checkout = started(tmp_path, LIKELY)
    for margin in (0.0, 0.2):
        with running(checkout) as outcome:
            assert "look at these" not in outcome.beats_baseline(margin=margin).sentence
    with running(checkout, sequential(checkout, seed=3, version="2")) as outcome:
        pass
    checkout.recorder.optimizer = unchanged
    with running(checkout, sequential(checkout, version="3")) as outcome:
        assert "2nd look at these 80 examples" in outcome.beats_baseline().sentence


def test_alpha_spending_takes_a_stricter_design(tmp_path: Path) -> None:
    """A verdict that passes at the first look alone asks further batches at the second."""
    checkout = started(tmp_path, LIKELY)
    checkout.recorder.optimizer = unchanged
    with running(checkout):
        pass
    checkout.recorder.optimizer = with_demos
    with running(checkout, sequential(checkout, alpha_spending=True, version="2")) as outcome:
        verdict = outcome.beats_baseline()
        assert "a PASS needs p < 0.008333 at look 2" in verdict.sentence
        assert len(outcome.compiled.scores) > 40


def test_an_error_while_a_test_runs_is_raised_where_the_session_says(tmp_path: Path) -> None:
    """What was paid for is stored, so that the next run goes on from there."""
    checkout = started(tmp_path, LIKELY)
    checkout.model.limit = 50
    with running(checkout) as outcome, pytest.raises(InfrastructureError, match="revoked"):
        outcome.beats_baseline()
    checkout.model.limit = None
    with running(checkout) as outcome:
        assert outcome.beats_baseline().word == "PASS"
    assert checkout.calls == 80


def test_the_budget_of_a_task_holds_for_all_batches(tmp_path: Path) -> None:
    """It is not that of each batch."""
    checkout = started(tmp_path, LIKELY)
    task = sequential(checkout, budget=Budget(lm_calls=60))
    with running(checkout, task) as outcome, pytest.raises(BudgetExceeded, match="60"):
        outcome.beats_baseline()
    assert checkout.calls == 60


def test_some_scores_keep_what_belongs_to_them(tmp_path: Path) -> None:
    """Scores, clusters and costs are those of the examples; the usage is that of all rows."""
    card = replace(scorecard([1, 0, 1], [None, None, None]), clusters=("a", "b", "a"))
    with running(started(tmp_path, SURE)) as outcome:
        program = replace(
            outcome.compiled, card=card, answers=outcome.compiled.answers[:3], further={"x": card}
        )
    restricted = program.restricted_to(card.examples[1:], 3)
    assert restricted.card.scores == restricted.further["x"].scores == (0, 1)
    assert restricted.card.clusters == ("b", "a")
    assert (restricted.card.total, restricted.usage) == (3, card.usage)
    assert restricted.answers == program.answers[1:]
