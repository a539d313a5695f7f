"""The guard of optimizers: metrics, errors and what is shown."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from sessions import DATASET, Checkout, right

from pytest_mipro.errors import MetricError, OptimizerError
from pytest_mipro.optimize import CompileRequest
from pytest_mipro.optimize.guard import Guard

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mipro.records import Progress

EXAMPLE = DATASET.train[0]
RIGHT = dspy.Prediction(answer=EXAMPLE.answer)


def guard_of(tmp_path: Path, shown: list[Progress] | None = None, **values: Any) -> Guard:
    """Return a guard of a task."""
    task = Checkout(tmp_path).task(**values)
    progress: list[Progress] = [] if shown is None else shown
    return Guard("own", CompileRequest(task, None, 0, progress.append, print))  # type: ignore[arg-type]


def rated(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> Any:
    """Return a score with feedback."""
    score = right(example, prediction, trace)
    return dspy.Prediction(score=score, feedback="Add the numbers.")


async def rated_later(
    example: dspy.Example, prediction: dspy.Prediction, trace: object = None
) -> Any:
    """Return a score with feedback, after another task has run."""
    await asyncio.sleep(0)
    return rated(example, prediction, trace)


def by_predictor(
    example: dspy.Example,
    prediction: dspy.Prediction,
    trace: object,
    pred_name: str | None,
    pred_trace: object,
) -> Any:
    """Return a score with feedback for one predictor."""
    return dspy.Prediction(score=0.5, feedback=f"to {pred_name}")


@pytest.mark.parametrize(
    "metric, score, feedback",
    [
        (right, 1.0, "This answer scores 1: "),
        (rated, 1.0, "Add the numbers."),
        (rated_later, 1.0, "Add the numbers."),
        (by_predictor, 0.5, "to add"),
    ],
)
def test_gepa_gets_feedback_from_any_metric(
    tmp_path: Path, metric: Any, score: float, feedback: str
) -> None:
    """A plain one is made of the answer and the labels."""
    adapted = guard_of(tmp_path).metric_with_feedback(metric)
    result = adapted(EXAMPLE, RIGHT, None, "add", None)
    assert result.score == score
    assert result.feedback.startswith(feedback)


def test_other_optimizers_get_numbers(tmp_path: Path) -> None:
    """Also from a metric that returns a prediction."""
    assert guard_of(tmp_path).metric(rated)(EXAMPLE, RIGHT) == pytest.approx(1)


def test_a_broken_metric_ends_the_compile(tmp_path: Path) -> None:
    """However the optimizer treats the error; later work is refused."""
    guard = guard_of(tmp_path)
    metric = guard.metric(lambda *_: "good")
    with pytest.raises(MetricError, match="returned 'good'"), guard.task(), suppress(MetricError):
        metric(EXAMPLE, RIGHT)
    with pytest.raises(MetricError, match="returned 'good'"):
        guard.metric(right)(EXAMPLE, RIGHT)


def test_a_changed_baseline_is_an_error(tmp_path: Path) -> None:
    """The optimizer reached the task's own program."""
    guard = guard_of(tmp_path)
    with pytest.raises(OptimizerError, match="own changed the task's program"), guard.task():
        guard._task.program.predictors()[0].demos = [EXAMPLE]


def test_prints_and_progress_bars_are_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the user prints after the compile is."""
    with guard_of(tmp_path).task():
        sys.stdout.write("a progress bar")
    sys.stdout.write("after")
    assert capsys.readouterr() == ("after", "")


def test_progress_has_calls_and_the_best_score(tmp_path: Path) -> None:
    """Scores are those of DSPy's evaluations."""
    shown: list[Progress] = []
    guard = guard_of(tmp_path, shown)
    with guard.task() as task:
        evaluate = dspy.Evaluate(devset=list(task.dataset.val), metric=guard.metric(task.metric))
        score = evaluate(task.program).score
    assert shown[-1].usage.calls == len(DATASET.val)
    assert shown[-1].best == pytest.approx(score / 100)
