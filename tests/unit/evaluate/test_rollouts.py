from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
import pytest
from scripted import ScriptedEngine, scripted_lm

from pytest_mipro.evaluate.evaluator import Evaluator
from pytest_mipro.evaluate.event_loop import run_to_completion
from pytest_mipro.evaluate.rollouts import RolloutEvaluator, mean_score
from pytest_mipro.evaluate.thread_pool import ContextThreadPool
from pytest_mipro.evaluate.worker_pool import WorkerPool
from pytest_mipro.records import Row

if TYPE_CHECKING:
    from pytest_mipro.store import Store

EXAMPLES = [
    dspy.Example(question=f"What is {n} + {n}?", answer=str(2 * n)).with_inputs("question")
    for n in range(5)
]


def right(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Compare the answer."""
    return bool(example.answer == prediction.answer)


def evaluate(
    lm: dspy.LM, store: Store, count: int, program: dspy.Module | None = None
) -> list[tuple[Row, ...]]:
    """Return the rows of a program, ``count`` each."""
    rollouts = RolloutEvaluator(Evaluator(right, {"lm": lm}, "key", "answers"), count)
    workers = WorkerPool(ContextThreadPool(2))
    programs = [program or dspy.Predict("question -> answer")]
    (found,) = run_to_completion(rollouts.evaluate(programs, EXAMPLES, store, workers), workers)
    assert rollouts.stored(store, programs[0], EXAMPLES) == found
    assert rollouts.missing(store, programs, EXAMPLES) == [0] * count
    return found


def calls(lm: dspy.LM) -> int:
    """Return how often the model was asked."""
    engine = lm._engine_spec
    assert isinstance(engine, ScriptedEngine)
    return engine.calls


def test_each_rollout_is_asked_once(store: Store) -> None:
    """More rollouts ask for the new ones alone, and keep the rows of those before."""
    lm = scripted_lm()
    one = evaluate(lm, store, 1)
    three = evaluate(lm, store, 3)
    assert calls(lm) == 3 * len(EXAMPLES)
    assert [answers[0] for answers in three] == [answers[0] for answers in one]
    assert len({row.key for answers in three for row in answers}) == 3 * len(EXAMPLES)
    assert len({row.answer for answers in three for row in answers}) == 3 * len(EXAMPLES)
    assert evaluate(lm, store, 2) == [answers[:2] for answers in three]
    assert calls(lm) == 3 * len(EXAMPLES)


def test_a_rollout_is_no_other_request() -> None:
    """DSPy's cache takes rollouts apart; the first one is what is asked without any."""
    lm = scripted_lm(cache=True)
    rollouts = RolloutEvaluator(Evaluator(right, {"lm": lm}, "key"), 3)
    models = [evaluator.settings["lm"] for evaluator in rollouts._evaluators]
    assert models[0] is lm
    assert [model.kwargs.get("rollout_id") for model in models] == [None, 1, 2]


def test_a_predictor_with_its_own_model_asks_it_anew(store: Store) -> None:
    """A model inside the program is asked again as well, and the program stays as it is."""
    own = scripted_lm()
    program = dspy.Predict("question -> answer")
    program.set_lm(own)
    evaluate(scripted_lm(), store, 3, program)
    assert calls(own) == 3 * len(EXAMPLES)
    assert program.lm is own
    assert "rollout_id" not in own.kwargs


def test_nothing_stored(store: Store) -> None:
    """A rollout that the store lacks is missing as a whole."""
    lm = scripted_lm()
    program = dspy.Predict("question -> answer")
    evaluate(lm, store, 1, program)
    rollouts = RolloutEvaluator(Evaluator(right, {"lm": lm}, "key", "answers"), 2)
    assert rollouts.stored(store, program, EXAMPLES) is None
    assert rollouts.missing(store, [program], EXAMPLES) == [0, len(EXAMPLES)]


@pytest.mark.parametrize("scores, mean", [([0.25], 0.25), ([0.0, 1.0], 0.5), ([0.1] * 3, 0.1)])
def test_the_mean(scores: list[float], mean: float) -> None:
    """A score is the mean over the rollouts; that of one is its own."""
    answers = tuple(Row(str(number), score) for number, score in enumerate(scores))
    assert mean_score(answers) == pytest.approx(mean)
