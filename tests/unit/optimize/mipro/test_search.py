from __future__ import annotations

import hashlib
import random
import re
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import dspy
import optuna
import pytest
from dspy.signatures import make_signature

from pytest_mipro.errors import MetricError
from pytest_mipro.evaluate import (
    ContextThreadPool,
    Evaluator,
    StoredRows,
    WorkerPool,
    run_to_completion,
)
from pytest_mipro.optimize.mipro.search import OPENING, Search, SearchLimits, opening
from pytest_mipro.optimize.mipro.space import Space
from pytest_mipro.records import Candidate
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.optimize.mipro.search import SearchResult
    from pytest_mipro.records import Progress

pytestmark = pytest.mark.uses("optuna", "numpy")

QUALITY = re.compile(r"quality (\d+)")


class Landscape(dspy.Module):
    """
    Right on as many percent of the examples as instructions and demos promise.

    Asks no model; which examples it is right on is decided by a hash.
    """

    def __init__(self, predictors: int = 1, quality: int = 30, latency: float = 0.0) -> None:
        super().__init__()
        self.steps = [
            dspy.Predict(make_signature("question -> answer", f"{step}: quality {quality}"))
            for step in range(predictors)
        ]
        self.latency = latency

    def forward(self, question: str) -> dspy.Prediction:
        if self.latency:
            time.sleep(random.random() * self.latency)
        quality = 0
        for predictor in self.predictors():
            quality += int(QUALITY.findall(predictor.signature.instructions)[0])
            quality += sum(int(demo.quality) for demo in predictor.demos)
        return dspy.Prediction(answer=luck(question) * len(self.steps) < quality)


def luck(text: str) -> int:
    """Return how hard ``text`` is, from 0 to 99."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 100


def space_of(
    qualities: Sequence[Sequence[int]], demos: Sequence[Sequence[int]], latency: float = 0.0
) -> Space:
    """Return a space whose candidates are as good as the numbers say, per predictor."""
    student = Landscape(len(qualities), qualities[0][0], latency)
    return Space(
        student,
        tuple(
            tuple(f"{step}: quality {quality}" for quality in each)
            for step, each in enumerate(qualities)
        ),
        tuple(
            tuple(((dspy.Example(quality=quality),) if quality else ()) for quality in each)
            for each in demos
        ),
    )


def examples(count: int) -> list[dspy.Example]:
    """Return ``count`` validation examples."""
    return [
        dspy.Example(question=f"question {number}").with_inputs("question")
        for number in range(count)
    ]


class Counting:
    """A metric that says what the program said, and counts."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __call__(self, example: dspy.Example, prediction: dspy.Prediction) -> bool:
        self.calls[example.question] += 1
        return bool(prediction.answer)


class Told:
    """What a search reported on the way."""

    def __init__(self) -> None:
        self.progress: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        self.progress.append(progress)


def search(
    store: Store,
    space: Space,
    *,
    trials: int = 10,
    rows: int = 20,
    seed: int = 9,
    val: int = 40,
    threads: int = 4,
    metric: object = None,
    told: Told | None = None,
) -> SearchResult:
    """Return what a search of ``space`` comes to."""
    workers = WorkerPool(ContextThreadPool(threads))
    counting = metric if callable(metric) else Counting()
    evaluator = StoredRows(Evaluator(counting, {}, "bench"), store, workers)
    effort = SearchLimits(trials, rows, seed, trials)
    work = Search(evaluator, examples(val), effort, told or Told())
    return run_to_completion(work.run(space), workers)


ONE = ([[30, 20, 60, 95, 40]], [[0, -5, 3, -10]])
TWO = ([[30, 60, 20], [30, 20, 90]], [[0, 5, -10], [0, -10, 10]])


class TestWinner:
    @pytest.mark.parametrize("seed", range(5))
    def test_the_best_of_a_small_space(self, store: Store, seed: int) -> None:
        """With as many trials as candidates, one that is much better than all others wins."""
        space = space_of([[30, 20, 95, 40]], [[0]])
        found = search(store, space, trials=10, seed=seed, val=60)
        assert found.winner.instructions == (2,)

    @pytest.mark.parametrize("seed", range(3))
    def test_better_than_the_baseline(self, store: Store, seed: int) -> None:
        """Where most of a space of two predictors is better, a better one is found."""
        space = space_of([[30, 70, 80], [30, 75, 90]], [[0, 5, 3], [0, 5, 10]])
        found = search(store, space, trials=12, seed=seed, val=60)
        scores = found.scores
        assert sum(scores[found.winner]) > sum(scores[space.baseline][:60])

    def test_is_measured_on_the_whole_validation_set(self, store: Store) -> None:
        """The winner's score is that of all validation examples, each counted once."""
        space = space_of(*TWO)
        found = search(store, space, val=37)
        program = space.program(found.winner)
        expected = [float(program(question=each.question).answer) for each in examples(37)]
        assert sorted(found.scores[found.winner]) == sorted(expected)

    def test_ties_go_to_the_baseline(self, store: Store) -> None:
        """Where nothing is better than the student, the student stays as it is."""
        found = search(store, space_of([[50, 50, 50]], [[0, 0, 0]]))
        assert found.winner.is_baseline

    def test_worse_candidates_lose_to_the_baseline(self, store: Store) -> None:
        """Where everything is worse than the student, the student stays as it is."""
        found = search(store, space_of([[90, 10, 20, 30]], [[0, -40, -20]]))
        assert found.winner.is_baseline

    def test_ties_go_to_fewer_demos(self, store: Store) -> None:
        """Of two that are as good as each other, the one with the shorter prompt wins."""
        space = space_of([[0, 100]], [[0, 100]])
        found = search(store, space, trials=20, val=10)
        assert found.winner.instructions == (1,)
        assert found.winner.demos == (0,)

    def test_everything_scores_zero(self, store: Store) -> None:
        """Where nobody is ever right, the student stays as it is."""
        assert search(store, space_of([[0, 0]], [[0, 0]])).winner.is_baseline

    def test_negative_scores(self, store: Store) -> None:
        """Scores may be negative; the highest still wins."""
        space = space_of([[30, 0, 100]], [[0]])
        found = search(
            store,
            space,
            metric=lambda _, prediction: 0.0 if prediction.answer else -1.0,
        )
        assert found.winner.instructions == (2,)


class TestFrugality:
    @pytest.mark.parametrize("shape", [ONE, TWO])
    def test_no_row_is_evaluated_twice(
        self, store: Store, shape: tuple[list[list[int]], list[list[int]]]
    ) -> None:
        """Each candidate meets each example once at most, however often they meet again."""
        metric = Counting()
        found = search(store, space_of(*shape), metric=metric, trials=15)
        assert max(metric.calls.values()) <= len(found.scores)
        assert sum(metric.calls.values()) == sum(len(each) for each in found.scores.values())

    def test_less_than_everything(self, store: Store) -> None:
        """Most rows of hopeless candidates are never evaluated."""
        metric = Counting()
        space = space_of([[90, *range(2, 12)]], [[0, -1]])
        found = search(store, space, trials=20, rows=100, val=100, metric=metric)
        assert found.winner.is_baseline
        assert sum(metric.calls.values()) < 21 * 100 / 2

    def test_no_candidate_is_proposed_twice(self, store: Store) -> None:
        """A trial is never spent on a candidate that has been tried, nor on the baseline."""
        space = space_of(*ONE)
        found = search(store, space, trials=15)
        tried = [trial.candidate for trial in found.trials]
        assert len(set(tried)) == len(tried)
        assert space.baseline not in tried

    def test_a_second_search_costs_nothing(self, store: Store) -> None:
        """The rows are found in the store, and the search goes the same way."""
        first = search(store, space_of(*TWO))
        metric = Counting()
        second = search(store, space_of(*TWO), metric=metric)
        assert second == first
        assert not metric.calls


class TestTermination:
    def test_only_the_baseline(self, store: Store) -> None:
        """A space of the student alone is searched by measuring the student."""
        space = space_of([[50]], [[0]])
        found = search(store, space, trials=10)
        assert found.winner.is_baseline
        assert found.trials == ()
        assert len(found.scores[space.baseline]) == 40

    @pytest.mark.parametrize("size", [2, 3, 7])
    def test_fewer_candidates_than_trials(self, store: Store, size: int) -> None:
        """When all candidates have been tried the search is over."""
        space = space_of([[50, *range(51, 50 + size)]], [[0]])
        found = search(store, space, trials=100)
        assert len(found.trials) == size - 1

    @pytest.mark.parametrize("trials", [1, 2, 8, 9, 20])
    def test_no_more_trials_than_asked_for(self, store: Store, trials: int) -> None:
        """A large space gets at most the trials asked for, numbered from 0."""
        space = space_of([list(range(30, 36))] * 2, [[0, 1, 2]] * 2)
        found = search(store, space, trials=trials)
        assert 0 < len(found.trials) <= trials
        assert [trial.number for trial in found.trials] == list(range(len(found.trials)))

    @pytest.mark.parametrize("val, rows", [(1, 1), (3, 3), (3, 2), (11, 5), (35, 35)])
    def test_small_validation_sets(self, store: Store, val: int, rows: int) -> None:
        """Any size of validation set and minibatch will do."""
        found = search(store, space_of(*ONE), val=val, rows=rows)
        assert len(found.scores[found.winner]) == val
        assert all(len(each) <= val for each in found.scores.values())

    def test_every_option_is_tried(self, store: Store) -> None:
        """Every instruction and every demo set gets its rows, also those that look bad."""
        space = space_of([[30, 90, 1]], [[0, 5, -20]])
        found = search(store, space, trials=8)
        candidates = [trial.candidate for trial in found.trials]
        assert {index for each in candidates for index in each.instructions} == {0, 1, 2}
        assert {index for each in candidates for index in each.demos} == {0, 1, 2}

    def test_every_instruction_is_introduced_first(self, store: Store) -> None:
        """Nothing else is tried before each has been, however many there are."""
        space = space_of([[30, *range(40, 50)]], [[0, 5]])
        found = search(store, space, trials=20)
        introduced = [
            trial.candidate.instructions[0]
            for trial in found.trials
            if trial.candidate not in opening(space)
        ]
        assert sorted(introduced[:10]) == list(range(1, 11))


class TestLateDemoSets:
    LATE = ([[30, 60]], [[0, 5, -10, 40]])
    """The last of these sets is by far the best."""

    def test_no_search_begins_with_them(self, store: Store) -> None:
        """They are introduced by the search: others have been measured by then."""
        space = replace(space_of(*self.LATE), late=(1,))
        assert [each.demos for each in opening(space)] == [(0,), (1,), (2,)]
        assert len(opening(space_of(*self.LATE))) == 4

    def test_are_tried(self, store: Store) -> None:
        """Each gets its rows, and wins if it is the best."""
        found = search(store, replace(space_of(*self.LATE), late=(1,)))
        assert found.winner.demos == (3,)

    def test_bad_ones_are_tried_on_a_few_rows(self, store: Store) -> None:
        """What is late and bad costs less than what every search begins with."""
        space = replace(space_of([[30, 60]], [[0, 5, -10, -30]]), late=(1,))
        found = search(store, space, val=100)
        rows = {trial.candidate: trial.rows for trial in found.trials}
        assert 0 < rows[Candidate((0,), (3,))] < OPENING
        assert rows[Candidate((0,), (2,))] >= OPENING


class TestRepeatable:
    @pytest.mark.parametrize("shape", [ONE, TWO])
    def test_at_any_number_of_threads(self, shape: tuple[list[list[int]], list[list[int]]]) -> None:
        """Trials, scores and winner are the same at 1, 4 and 16 threads with random latency."""
        outcomes = []
        for threads in (1, 4, 16):
            store = Store.in_memory()
            space = space_of(*shape, latency=0.002)
            outcomes.append(search(store, space, trials=14, threads=threads))
            store.close()
        assert outcomes[0].trials == outcomes[1].trials == outcomes[2].trials
        assert outcomes[0].scores == outcomes[1].scores == outcomes[2].scores
        assert len({outcome.winner for outcome in outcomes}) == 1

    def test_another_seed_searches_another_way(self, store: Store) -> None:
        """The seed decides which candidates are tried; 0 is a seed."""

        def tried(seed: int) -> list[Candidate]:
            space = space_of([list(range(30, 40))] * 2, [[0, 1, 2, 3]] * 2)
            return [trial.candidate for trial in search(store, space, seed=seed).trials]

        zero = tried(0)
        assert zero == tried(0)
        assert zero != tried(9)

    def test_global_randomness_is_not_used(self, store: Store) -> None:
        """The global random state, which DSPy advances, decides nothing."""
        found = []
        for seed in (1, 2):
            random.seed(seed)
            found.append(search(store, space_of(*TWO)))
        assert found[0] == found[1]


class TestProgress:
    def test_counts_rows(self, store: Store) -> None:
        """After each decision the rows, their total and the best score so far are told."""
        told = Told()
        search(store, space_of(*TWO), trials=10, told=told)
        progress = [each for each in told.progress if each.phase == "search"]
        done = [each.done for each in progress]
        assert done == sorted(done)
        assert 0 < done[0] < done[-1]
        assert {each.total for each in progress} == {done[-1]}
        assert all(each.best is None or 0 <= each.best <= 1 for each in progress)
        assert progress[-1].best is not None

    def test_optunas_verbosity_is_left_alone(
        self, store: Store, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing is printed or logged, and what Optuna says elsewhere is the user's to set."""
        before = optuna.logging.get_verbosity()
        search(store, space_of(*TWO))
        assert optuna.logging.get_verbosity() == before
        assert capfd.readouterr() == ("", "")
        assert not caplog.records


class TestErrors:
    def test_a_broken_metric_stops_the_search(self, store: Store) -> None:
        """An error in a row is the error of the search, and little is started after it."""
        calls: list[int] = []

        def breaks(_: dspy.Example, prediction: dspy.Prediction) -> object:
            calls.append(1)
            return None if len(calls) > 50 else prediction.answer

        with pytest.raises(MetricError):
            search(store, space_of(*TWO, latency=0.02), metric=breaks)
        assert len(calls) < 80

    def test_goes_on_where_it_stopped(self, store: Store) -> None:
        """After an error the same search uses the rows it has, and ends as if nothing happened."""
        undisturbed = Store.in_memory()
        expected = search(undisturbed, space_of(*TWO), trials=15)
        undisturbed.close()
        total = Counting()

        def breaks(example: dspy.Example, prediction: dspy.Prediction) -> object:
            if sum(total.calls.values()) == 60:
                return None
            return total(example, prediction)

        with pytest.raises(MetricError):
            search(store, space_of(*TWO), trials=15, metric=breaks)
        assert sum(total.calls.values()) <= 60
        found = search(store, space_of(*TWO), trials=15, metric=Counting())
        assert found == expected

    def test_a_program_that_always_fails(self, store: Store) -> None:
        """Rows that failed count as 0, and the search ends."""

        class Broken(Landscape):
            def forward(self, question: str) -> dspy.Prediction:
                raise ValueError(question)

        space = space_of(*ONE)
        broken = Space(Broken(), space.instructions, space.demos)
        found = search(store, broken)
        assert found.winner.is_baseline
        assert set(found.scores[found.winner]) == {0.0}
