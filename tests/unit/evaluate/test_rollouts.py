from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
import pytest
from scripted import HeldEngine, scripted_lm

from pytest_mipro.evaluate.evaluator import Evaluator
from pytest_mipro.evaluate.event_loop import run_to_completion
from pytest_mipro.evaluate.rollouts import RolloutEvaluator, mean_score
from pytest_mipro.evaluate.worker_pool import WorkerPool
from pytest_mipro.records import Row

if TYPE_CHECKING:
    from pytest_mipro.store import Store

EXAMPLES = [
    dspy.Example(question=f"What is {n} + {n}?", answer=str(2 * n)).with_inputs("question")
    for n in range(5)
]


def right(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Return whether the prediction has the example's answer."""
    return bool(example.answer == prediction.answer)


def evaluate(
    lm: dspy.LM, store: Store, count: int, program: dspy.Module | None = None
) -> list[tuple[Row, ...]]:
    """Return ``count`` rows of a program on each example."""
    rollouts = RolloutEvaluator(Evaluator(right, {"lm": lm}, "key", "prediction"), count)
    workers = WorkerPool(2)
    programs = [program or dspy.Predict("question -> answer")]
    (rows,) = run_to_completion(rollouts.evaluate(programs, EXAMPLES, store, workers), workers)
    assert rollouts.stored(store, programs[0], EXAMPLES) == rows
    assert rollouts.missing(store, programs, EXAMPLES) == [0] * count
    return rows


def calls(lm: dspy.LM) -> int:
    """Return the number of calls of the model."""
    engine = lm._engine_spec
    assert isinstance(engine, HeldEngine)
    return engine.calls


def test_a_rollout_is_evaluated_once(store: Store) -> None:
    """A larger number of rollouts evaluates only the additional ones."""
    lm = scripted_lm(temperature=1)
    single = evaluate(lm, store, 1)
    three = evaluate(lm, store, 3)
    assert calls(lm) == 3 * len(EXAMPLES)
    assert [rows[0] for rows in three] == [rows[0] for rows in single]
    assert len({row.key for rows in three for row in rows}) == 3 * len(EXAMPLES)
    assert len({row.prediction_key for rows in three for row in rows}) == 3 * len(EXAMPLES)
    assert evaluate(lm, store, 2) == [rows[:2] for rows in three]
    assert calls(lm) == 3 * len(EXAMPLES)


def test_rollouts_differ_in_dspys_cache() -> None:
    """Each rollout but the first has a ``rollout_id`` of its own."""
    lm = scripted_lm(cache=True, temperature=1)
    rollouts = RolloutEvaluator(Evaluator(right, {"lm": lm}, "key"), 3)
    models = [evaluator.settings["lm"] for evaluator in rollouts._evaluators.values()]
    assert models[0] is lm
    assert [model.kwargs.get("rollout_id") for model in models] == [None, 1, 2]


def test_rollouts_begin_with_a_number() -> None:
    """Rollouts from another number on share no row and no cached response with the first ones."""
    evaluator = Evaluator(right, {"lm": scripted_lm(temperature=1)}, "key", "prediction")
    numbers = list(RolloutEvaluator(evaluator, 2, first=7)._evaluators)
    assert numbers == [7, 8]
    keys = [
        {evaluator.key for evaluator in RolloutEvaluator(evaluator, 2, first)._evaluators.values()}
        for first in (0, 7)
    ]
    assert keys[0].isdisjoint(keys[1])


def test_a_predictors_own_model_has_rollouts_too(store: Store) -> None:
    """A model inside the program is called per rollout, and the program does not change."""
    own = scripted_lm(temperature=1)
    program = dspy.Predict("question -> answer")
    program.set_lm(own)
    evaluate(scripted_lm(temperature=1), store, 3, program)
    assert calls(own) == 3 * len(EXAMPLES)
    assert program.lm is own
    assert "rollout_id" not in own.kwargs


def test_a_rollout_that_is_not_stored_is_missing(store: Store) -> None:
    """The store has the rows of one rollout, and none of the second."""
    lm = scripted_lm(temperature=1)
    program = dspy.Predict("question -> answer")
    evaluate(lm, store, 1, program)
    rollouts = RolloutEvaluator(Evaluator(right, {"lm": lm}, "key", "prediction"), 2)
    assert rollouts.stored(store, program, EXAMPLES) is None
    assert rollouts.missing(store, [program], EXAMPLES) == [0, len(EXAMPLES)]


@pytest.mark.parametrize("scores, mean", [([0.25], 0.25), ([0.0, 1.0], 0.5), ([0.1] * 3, 0.1)])
def test_mean_score(scores: list[float], mean: float) -> None:
    """The score of an example is the mean over its rollouts."""
    rows = tuple(Row(str(number), score) for number, score in enumerate(scores))
    assert mean_score(rows) == pytest.approx(mean)
