from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dspy
import pytest

from pytest_mipro.evaluate import Evaluator, StoredRows, WorkerPool
from pytest_mipro.optimize.mipro.measurements import FIRST_MINIBATCH, Measurements, Minibatch
from pytest_mipro.optimize.mipro.search_budget import SearchBudget
from pytest_mipro.optimize.mipro.space import Space
from pytest_mipro.records import Candidate, Row, Usage
from pytest_mipro.spending import Account, Limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mipro.store import Store

BASELINE, SECOND = Candidate((0,), (0,)), Candidate((1,), (0,))
VALSET = [dspy.Example(number=number).with_inputs("number") for number in range(8)]


class Threshold(dspy.Module):
    """Says whether a number is at least the length of the instruction."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("number -> answer")

    def forward(self, number: int) -> dspy.Prediction:
        return dspy.Prediction(answer=number >= len(self.predictors()[0].signature.instructions))


def says_yes(_: dspy.Example, prediction: dspy.Prediction) -> bool:
    """Return the answer."""
    return bool(prediction.answer)


SPACE = Space(Threshold(), (("1234", "12"),), (((),),))


@pytest.fixture
def workers() -> Iterator[WorkerPool]:
    """Return workers that stop after the test."""
    pool = WorkerPool(2)
    yield pool
    pool.stop()


def measurements(
    store: Store, workers: WorkerPool, budget: SearchBudget | None = None
) -> Measurements:
    """Return the measurements of a space of two candidates, without any score."""
    rows = StoredRows(Evaluator(says_yes, {}, "evaluation"), store, workers)
    return Measurements(SPACE, rows, VALSET, budget or SearchBudget())


def test_minibatches_double_the_rows(store: Store, workers: WorkerPool) -> None:
    """The next minibatch of a candidate has the first rows, then as many as are begun."""
    measured = measurements(store, workers)
    first = measured.next_minibatch(SECOND)
    assert first == Minibatch(SECOND, 0, FIRST_MINIBATCH)
    measured.begin(first, 0)
    assert measured.next_minibatch(SECOND) == Minibatch(SECOND, FIRST_MINIBATCH, len(VALSET))


def test_scores_are_those_of_recorded_rows(store: Store, workers: WorkerPool) -> None:
    """The scores of evaluated rows are returned only after their minibatch is recorded."""
    measured = measurements(store, workers)
    first, whole = measured.minibatch(SECOND, 4), measured.minibatch(SECOND, 8)

    async def evaluate() -> None:
        await measured.evaluate(first)
        assert measured.all_scores() == {}
        measured.begin(first, 0)
        measured.record(first)
        await measured.evaluate(whole)

    asyncio.run(evaluate())
    assert measured.all_scores() == {SECOND: [0, 0, 1, 1]}
    assert measured.mean(SECOND) == pytest.approx(0.5)
    measured.record(whole)
    assert measured.scores(SECOND) == [0, 0, 1, 1, 1, 1, 1, 1]
    assert measured.total(SECOND, 3) == 1


def test_the_best_is_measured_in_full(store: Store, workers: WorkerPool) -> None:
    """A candidate with a higher mean on some rows is not the best until it has all rows."""
    measured = measurements(store, workers)

    async def extend() -> None:
        await measured.extend([BASELINE], 8)
        await measured.extend([SECOND, SECOND], 7)
        assert measured.mean(SECOND) > measured.mean(BASELINE)
        assert measured.best() == BASELINE
        await measured.extend([SECOND], 8)

    asyncio.run(extend())
    assert measured.best() == SECOND


def test_a_budget_pays_for_new_rows_only(store: Store, workers: WorkerPool) -> None:
    """Rows that the store has are free, and are not charged to the budget again."""
    budget = SearchBudget(Account([Limit("calls", 8, "lm_calls")]), calls=1)

    async def extend() -> None:
        await measurements(store, workers).extend([BASELINE], 3)
        measured = measurements(store, workers, budget)
        assert measured.count_new(measured.minibatch(BASELINE, 8)) == 5
        budget.begin(1)
        budget.finish([Row("row", 1.0, usage=Usage(1))])
        await measured.extend([BASELINE], 3)

    asyncio.run(extend())
    assert budget.limit_against(7) is None
    assert budget.limit_against(8) is not None
