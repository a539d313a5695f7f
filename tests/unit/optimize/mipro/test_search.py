from __future__ import annotations

import hashlib
import random
import re
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import dspy
import pytest
from dspy.signatures import make_signature

from pytest_mipro.errors import MetricError
from pytest_mipro.evaluate import (
    Evaluator,
    StoredRows,
    WorkerPool,
    run_to_completion,
)
from pytest_mipro.optimize.mipro.search import Search
from pytest_mipro.optimize.mipro.search_limits import OPENING_ROWS, UNDER_WAY, SearchLimits
from pytest_mipro.optimize.mipro.space import Space
from pytest_mipro.records import Candidate
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.optimize.mipro.search import SearchResult
    from pytest_mipro.records import Progress, Row

QUALITY = re.compile(r"quality (\d+)")


class Landscape(dspy.Module):
    """A program that is right on as many percent of the examples as its prompts say.

    It asks no model; a hash decides which examples it is right on.
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
        return dspy.Prediction(answer=difficulty(question) * len(self.steps) < quality)


def difficulty(text: str) -> int:
    """Return how hard ``text`` is, from 0 to 99."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 100


def space_of(
    qualities: Sequence[Sequence[int]], demos: Sequence[Sequence[int]], latency: float = 0.0
) -> Space:
    """Return a space whose candidates have these qualities in percent, per predictor."""
    student = Landscape(len(qualities), qualities[0][0], latency)
    return Space(
        student,
        tuple(
            tuple(f"{step}: quality {quality}" for quality in options)
            for step, options in enumerate(qualities)
        ),
        tuple(
            tuple(((dspy.Example(quality=quality),) if quality else ()) for quality in options)
            for options in demos
        ),
    )


def examples(count: int) -> list[dspy.Example]:
    """Return ``count`` validation examples."""
    return [
        dspy.Example(question=f"question {number}").with_inputs("question")
        for number in range(count)
    ]


class CountingMetric:
    """A metric whose score is the answer, and which counts its calls by question."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __call__(self, example: dspy.Example, prediction: dspy.Prediction) -> bool:
        self.calls[example.question] += 1
        return bool(prediction.answer)


class RowsUnderWay(StoredRows):
    """Rows that log how many were begun so far, and how many of them are under way."""

    def __init__(self, evaluator: Evaluator, store: Store, workers: WorkerPool) -> None:
        super().__init__(evaluator, store, workers)
        self.log: list[tuple[int, int]] = []
        self._begun: Counter[int] = Counter()
        self._under_way = 0

    async def evaluate(self, program: dspy.Module, examples: Sequence[dspy.Example]) -> list[Row]:
        new = len(examples) - self._begun[id(program)]
        self._begun[id(program)] = len(examples)
        self._under_way += new
        self.log.append((self._begun.total(), self._under_way))
        try:
            return await super().evaluate(program, examples)
        finally:
            self._under_way -= new


def search(
    store: Store,
    space: Space,
    *,
    trials: int = 10,
    rows: int = 8,
    seed: int = 9,
    val: int = 16,
    threads: int = 4,
    metric: object = None,
    reports: list[Progress] | None = None,
) -> SearchResult:
    """Return the result of a search of ``space``, with its progress in ``reports``."""
    workers = WorkerPool(threads)
    evaluator = Evaluator(metric if callable(metric) else CountingMetric(), {}, "evaluation")
    limits = SearchLimits(trials, rows, seed, trials)
    on_progress = reports.append if reports is not None else lambda _: None
    stored_rows = StoredRows(evaluator, store, workers)
    work = Search(stored_rows, examples(val), limits, on_progress)
    return run_to_completion(work.run(space), workers)


ONE_PREDICTOR = ([[30, 20, 60, 95, 40]], [[0, -5, 3, -10]])
TWO_PREDICTORS = ([[30, 60, 20], [30, 20, 90]], [[0, 5, -10], [0, -10, 10]])


SIZES = [
    *((candidates, trials, val) for candidates, trials in ((1, 1), (5, 3)) for val in (1, 3, 24)),
    *((20, 10, val) for val in (3, 40)),
]
"""How many candidates, trials and validation examples there are."""


@pytest.mark.parametrize("candidates, trials, valset", SIZES)
def test_a_search_stays_within_its_bound(
    store: Store, candidates: int, trials: int, valset: int
) -> None:
    """A search evaluates at most the rows that its limits state."""
    space = space_of([list(range(30, 30 + candidates))], [[0, 5, -10]])
    limits = SearchLimits(trials, valset, 9, trials)
    bound = limits.most_rows(1, candidates, 3, valset)
    result = search(store, space, trials=trials, rows=valset, val=valset)
    rows = sum(len(scores) for scores in result.scores.values())
    assert 0 < rows <= bound.search + bound.final


class TestWinner:
    @pytest.mark.parametrize("seed", range(3))
    def test_the_best_of_a_small_space(self, store: Store, seed: int) -> None:
        """With as many trials as candidates, a candidate that is far better than the rest wins."""
        space = space_of([[30, 20, 95, 40]], [[0]])
        result = search(store, space, trials=10, seed=seed, val=40)
        assert result.winner.instructions == (2,)

    @pytest.mark.parametrize("seed", range(3))
    def test_better_than_the_baseline(self, store: Store, seed: int) -> None:
        """If most candidates of two predictors are better than the baseline, one of them wins."""
        space = space_of([[30, 70, 80], [30, 75, 90]], [[0, 5, 3], [0, 5, 10]])
        result = search(store, space, trials=12, seed=seed, val=30)
        scores = result.scores
        assert sum(scores[result.winner]) > sum(scores[space.baseline][:30])

    def test_is_measured_on_the_whole_validation_set(self, store: Store) -> None:
        """The winner's score is that of all validation examples, each counted once."""
        space = space_of(*TWO_PREDICTORS)
        result = search(store, space, val=37)
        program = space.program(result.winner)
        expected = [float(program(question=row.question).answer) for row in examples(37)]
        assert sorted(result.scores[result.winner]) == sorted(expected)

    def test_ties_go_to_the_baseline(self, store: Store) -> None:
        """If no candidate is better than the baseline, the baseline wins."""
        result = search(store, space_of([[50, 50, 50]], [[0, 0, 0]]))
        assert result.winner.is_baseline

    def test_worse_candidates_lose_to_the_baseline(self, store: Store) -> None:
        """If all candidates are worse than the baseline, the baseline wins."""
        result = search(store, space_of([[90, 10, 20, 30]], [[0, -40, -20]]))
        assert result.winner.is_baseline

    def test_ties_go_to_fewer_demos(self, store: Store) -> None:
        """Of two candidates with equal scores, the one with fewer demos wins."""
        space = space_of([[0, 100]], [[0, 100]])
        result = search(store, space, trials=20, val=10)
        assert result.winner.instructions == (1,)
        assert result.winner.demos == (0,)

    def test_everything_scores_zero(self, store: Store) -> None:
        """If all scores are 0, the baseline wins."""
        assert search(store, space_of([[0, 0]], [[0, 0]])).winner.is_baseline

    def test_negative_scores(self, store: Store) -> None:
        """The highest score wins if scores are negative, too."""
        space = space_of([[30, 0, 100]], [[0]])
        result = search(
            store,
            space,
            metric=lambda _, prediction: 0.0 if prediction.answer else -1.0,
        )
        assert result.winner.instructions == (2,)


class TestFrugality:
    @pytest.mark.parametrize("shape", [ONE_PREDICTOR, TWO_PREDICTORS])
    def test_no_row_is_evaluated_twice(
        self, store: Store, shape: tuple[list[list[int]], list[list[int]]]
    ) -> None:
        """Each candidate is evaluated once at most on each example."""
        metric = CountingMetric()
        result = search(store, space_of(*shape), metric=metric, trials=15)
        assert max(metric.calls.values()) <= len(result.scores)
        assert sum(metric.calls.values()) == sum(len(scores) for scores in result.scores.values())

    def test_bad_candidates_are_measured_on_few_rows(self, store: Store) -> None:
        """A bad candidate is measured on less than half of the rows."""
        metric = CountingMetric()
        space = space_of([[90, *range(2, 12)]], [[0, -1]])
        result = search(store, space, trials=20, rows=60, val=60, metric=metric)
        assert result.winner.is_baseline
        assert sum(metric.calls.values()) < 21 * 60 / 2

    def test_no_candidate_is_tried_twice(self, store: Store) -> None:
        """No two trials have the same candidate, and none has the baseline."""
        space = space_of(*ONE_PREDICTOR)
        result = search(store, space, trials=15)
        candidates = [trial.candidate for trial in result.trials]
        assert len(set(candidates)) == len(candidates)
        assert space.baseline not in candidates

    def test_a_second_search_evaluates_nothing(self, store: Store) -> None:
        """A second search on the same store evaluates no row and has the same result."""
        first = search(store, space_of(*TWO_PREDICTORS))
        metric = CountingMetric()
        second = search(store, space_of(*TWO_PREDICTORS), metric=metric)
        assert second == first
        assert not metric.calls


class TestTermination:
    def test_only_the_baseline(self, store: Store) -> None:
        """In a space of the baseline alone, the baseline is measured in full and wins."""
        space = space_of([[50]], [[0]])
        result = search(store, space, trials=10)
        assert result.winner.is_baseline
        assert result.trials == ()
        assert len(result.scores[space.baseline]) == 16

    @pytest.mark.parametrize("size", [2, 3, 7])
    def test_fewer_candidates_than_trials(self, store: Store, size: int) -> None:
        """A search ends when all candidates are tried."""
        space = space_of([[50, *range(51, 50 + size)]], [[0]])
        result = search(store, space, trials=100, rows=4, val=8)
        assert len(result.trials) == size - 1

    @pytest.mark.parametrize("trials", [1, 2, 8, 9, 20])
    def test_no_more_trials_than_the_limit(self, store: Store, trials: int) -> None:
        """A search of a large space makes at most the trials of its limits, numbered from 0."""
        space = space_of([list(range(30, 36))] * 2, [[0, 1, 2]] * 2)
        result = search(store, space, trials=trials, rows=6, val=12)
        assert 0 < len(result.trials) <= trials
        assert [trial.number for trial in result.trials] == list(range(len(result.trials)))

    @pytest.mark.parametrize("val, rows", [(1, 1), (3, 3), (3, 2), (11, 5), (35, 35)])
    def test_small_validation_sets(self, store: Store, val: int, rows: int) -> None:
        """A search works with any size of validation set and minibatch."""
        result = search(store, space_of(*ONE_PREDICTOR), val=val, rows=rows)
        assert len(result.scores[result.winner]) == val
        assert all(len(scores) <= val for scores in result.scores.values())

    def test_every_option_is_tried(self, store: Store) -> None:
        """Every instruction and every demo set is tried, also the bad ones."""
        space = space_of([[30, 90, 1]], [[0, 5, -20]])
        result = search(store, space, trials=8)
        candidates = [trial.candidate for trial in result.trials]
        assert {index for candidate in candidates for index in candidate.instructions} == {0, 1, 2}
        assert {index for candidate in candidates for index in candidate.demos} == {0, 1, 2}

    def test_a_share_of_the_rows_is_under_way(self, store: Store) -> None:
        """Minibatches are measured side by side, but most are chosen from the scores of others."""
        space = space_of([[30, *range(31, 60)]], [[0]])
        limits = SearchLimits(40, 30, 9, 80)
        budget = limits.row_budget(31, 60)
        workers = WorkerPool(4)
        rows = RowsUnderWay(Evaluator(CountingMetric(), {}, "evaluation"), store, workers)
        work = Search(rows, examples(60), limits, lambda _: None)
        run_to_completion(work.run(space), workers)
        under_way = [count for begun, count in rows.log[1:] if begun <= budget]
        assert UNDER_WAY * budget <= max(under_way) < UNDER_WAY * budget + 30
        assert len(under_way) > 10

    def test_every_instruction_is_introduced_first(self, store: Store) -> None:
        """Each instruction is tried once before any is tried again."""
        space = space_of([[30, *range(40, 50)]], [[0, 5]])
        result = search(store, space, trials=20, rows=6, val=12)
        introduced = [
            trial.candidate.instructions[0]
            for trial in result.trials
            if trial.candidate not in space.opening
        ]
        assert sorted(introduced[:10]) == list(range(1, 11))


class TestLateDemoSets:
    LATE = ([[30, 60]], [[0, 5, -10, 40]])
    """A space whose last demo set is far better than the others."""

    def test_no_search_begins_with_them(self, store: Store) -> None:
        """The opening has the early demo sets only."""
        space = replace(space_of(*self.LATE), late=(1,))
        assert [candidate.demos for candidate in space.opening] == [(0,), (1,), (2,)]
        assert len(space_of(*self.LATE).opening) == 4

    def test_are_tried(self, store: Store) -> None:
        """A late demo set is tried, and wins if it is the best."""
        result = search(store, replace(space_of(*self.LATE), late=(1,)))
        assert result.winner.demos == (3,)

    def test_bad_ones_are_tried_on_a_few_rows(self, store: Store) -> None:
        """A bad late demo set is measured on fewer rows than the early ones."""
        space = replace(space_of([[30, 60]], [[0, 5, -10, -30]]), late=(1,))
        result = search(store, space, val=100)
        rows = {trial.candidate: trial.rows for trial in result.trials}
        assert 0 < rows[Candidate((0,), (3,))] < OPENING_ROWS
        assert rows[Candidate((0,), (2,))] >= OPENING_ROWS


class TestRepeatable:
    @pytest.mark.parametrize("shape", [ONE_PREDICTOR, TWO_PREDICTORS])
    def test_at_any_number_of_threads(self, shape: tuple[list[list[int]], list[list[int]]]) -> None:
        """Trials, scores and winner are the same at 1 and 16 threads with random latency."""
        results = []
        for threads in (1, 16):
            store = Store.in_memory()
            space = space_of(*shape, latency=0.002)
            results.append(search(store, space, trials=8, val=20, rows=10, threads=threads))
            store.close()
        assert results[0].trials == results[1].trials
        assert results[0].scores == results[1].scores
        assert results[0].winner == results[1].winner

    def test_another_seed_tries_other_candidates(self, store: Store) -> None:
        """The seed decides which candidates are tried, and 0 is a seed of its own."""

        def candidates(seed: int) -> list[Candidate]:
            space = space_of([list(range(30, 36))] * 2, [[0, 1, 2]] * 2)
            result = search(store, space, seed=seed, rows=6, val=12)
            return [trial.candidate for trial in result.trials]

        first = candidates(0)
        assert first == candidates(0)
        assert first != candidates(9)

    def test_global_randomness_is_not_used(self, store: Store) -> None:
        """The result does not depend on the global random state, which DSPy advances."""
        results = []
        for seed in (1, 2):
            random.seed(seed)
            results.append(search(store, space_of(*TWO_PREDICTORS)))
        assert results[0] == results[1]


class TestProgress:
    def test_counts_rows(self, store: Store) -> None:
        """Each report has the rows so far, their total and the best score so far."""
        reports: list[Progress] = []
        search(store, space_of(*TWO_PREDICTORS), trials=10, reports=reports)
        assert {report.phase for report in reports} == {"search"}
        rows = [report.done for report in reports]
        assert rows == sorted(rows)
        assert 0 < rows[0] < rows[-1]
        assert {report.total for report in reports} == {rows[-1]}
        assert all(report.best is not None and 0 <= report.best <= 1 for report in reports)


class TestErrors:
    def test_a_broken_metric_stops_the_search(self, store: Store) -> None:
        """An error in a row is the error of the search, after which few rows are started."""
        calls: list[int] = []

        def broken_metric(_: dspy.Example, prediction: dspy.Prediction) -> object:
            calls.append(1)
            return None if len(calls) > 50 else prediction.answer

        with pytest.raises(MetricError):
            search(store, space_of(*TWO_PREDICTORS, latency=0.02), metric=broken_metric)
        assert len(calls) < 80

    def test_continues_after_an_error(self, store: Store) -> None:
        """After an error the same search uses the stored rows, and has the same result."""
        new_store = Store.in_memory()
        expected = search(new_store, space_of(*TWO_PREDICTORS), trials=15)
        new_store.close()
        counting_metric = CountingMetric()

        def broken_metric(example: dspy.Example, prediction: dspy.Prediction) -> object:
            if sum(counting_metric.calls.values()) == 60:
                return None
            return counting_metric(example, prediction)

        with pytest.raises(MetricError):
            search(store, space_of(*TWO_PREDICTORS), trials=15, metric=broken_metric)
        assert sum(counting_metric.calls.values()) <= 60
        result = search(store, space_of(*TWO_PREDICTORS), trials=15, metric=CountingMetric())
        assert result == expected

    def test_a_program_that_always_fails(self, store: Store) -> None:
        """Failed rows have the score 0, and the search ends."""

        class Broken(Landscape):
            def forward(self, question: str) -> dspy.Prediction:
                raise ValueError(question)

        space = space_of(*ONE_PREDICTOR)
        broken = Space(Broken(), space.instructions, space.demos)
        result = search(store, broken, rows=4, val=8)
        assert result.winner.is_baseline
        assert set(result.scores[result.winner]) == {0.0}
