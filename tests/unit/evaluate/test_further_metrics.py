from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import dspy
import pytest
from sums import Function, add, exact, fail_on_one, sums

from pytest_mipro.evaluate.evaluator import Evaluator
from pytest_mipro.evaluate.event_loop import run_to_completion
from pytest_mipro.evaluate.further_metrics import EvaluatedProgram, FurtherMetric
from pytest_mipro.evaluate.rollouts import RolloutEvaluator
from pytest_mipro.evaluate.worker_pool import WorkerPool

if TYPE_CHECKING:
    from pytest_mipro.store import Store
    from pytest_mipro.task import Metric


class Own(dspy.Prediction):
    """A prediction that cannot be restored from its fields."""


def spoil(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
    """Change a prediction, as a metric may do for its own use."""
    prediction.answer = None
    return 0.5


def half(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
    """Score every prediction the same."""
    return 0.5


def own(question: str) -> Own:
    """Answer a sum with a prediction that cannot be restored."""
    return Own(**fail_on_one(question))


EVALUATOR = Evaluator(half, {}, "half", "predictions")
EXACT = FurtherMetric("exact", RolloutEvaluator(replace(EVALUATOR, metric=exact, key="exact"), 1))


def evaluated(
    store: Store, program: dspy.Module, *, together: bool, metric: Metric = half
) -> EvaluatedProgram:
    """Return the rows of a program, by both metrics if they are asked for ``together``."""
    further = {"exact": exact} if together else {}
    rollouts = RolloutEvaluator(replace(EVALUATOR, metric=metric, further=further), 1)
    workers, examples = WorkerPool(1), sums(3)
    (rows,) = run_to_completion(rollouts.evaluate([program], examples, store, workers), workers)
    return EvaluatedProgram(program, examples, rows)


def scores(store: Store, rows: EvaluatedProgram) -> list[float]:
    """Return the scores by the further metric."""
    workers = WorkerPool(1)
    (of_program,) = run_to_completion(EXACT.scores([rows], store, workers), workers)
    return of_program


def test_one_run_is_scored_by_all_metrics(store: Store) -> None:
    """No row is added, each metric gets the prediction as it was made, a failure scores 0.

    The row that failed is not stored.
    """
    program = Function(fail_on_one)
    rows = evaluated(store, program, together=True, metric=spoil)
    assert EXACT.missing(store, rows) == 0
    assert EXACT.stored(store, rows) == scores(store, rows) == [1.0, 0.0, 1.0]
    assert (program.calls.total(), store.rows.count()) == (3, 2)


def test_a_new_metric_scores_stored_predictions(store: Store) -> None:
    """The program runs no more, also where it failed."""
    program = Function(fail_on_one)
    rows = evaluated(store, program, together=False)
    assert EXACT.missing(store, rows) == 2
    assert EXACT.stored(store, rows) is None
    assert scores(store, rows) == [1.0, 0.0, 1.0]
    assert program.calls.total() == 3
    assert EXACT.missing(store, rows) == 0
    assert EXACT.stored(store, rows) == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("together, runs", [(True, 3), (False, 5)])
def test_a_prediction_that_cannot_be_restored_is_scored_when_it_is_made(
    store: Store, together: bool, runs: int
) -> None:
    """Only for a metric that comes later the program runs again."""
    program = Function(own)
    rows = evaluated(store, program, together=together)
    assert scores(store, rows) == [1.0, 0.0, 1.0]
    assert program.calls.total() == runs


def test_another_label_is_scored_anew(store: Store) -> None:
    """The score in a row is for the example as it was."""
    rows = evaluated(store, Function(add), together=True)
    relabelled = [replace_answer(example) for example in rows.examples]
    assert scores(store, replace(rows, examples=relabelled)) == [0.0, 0.0, 0.0]


def replace_answer(example: dspy.Example) -> dspy.Example:
    """Return the example with another label."""
    copied: dspy.Example = example.copy(answer="none")
    return copied.with_inputs("question")
