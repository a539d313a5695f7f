"""Call a metric and convert its return value to a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.canonical import plain, readable_json
from pytest_mipro.errors import MetricError
from pytest_mipro.evaluate.awaiting import result_of
from pytest_mipro.evaluate.call_watch import AttemptOver
from pytest_mipro.evaluate.failures import (
    advice_on_exits,
    frames_of,
    infrastructure_cause,
    infrastructure_error,
    is_from_signal,
    shown,
    type_and_message,
)
from pytest_mipro.records import MOST_SCORE
from pytest_mipro.spending import CallRefused
from pytest_mipro.task import further_arguments

if TYPE_CHECKING:
    from pytest_mipro.task import Metric


@dataclass(frozen=True)
class Grade:
    """The score of a prediction, and the metric's text about it, if it returned one."""

    score: float
    feedback: str = ""


def call_metric(metric: Metric, example: dspy.Example, prediction: object, *trace: object) -> Grade:
    """Return the score and the feedback that ``metric`` gives to ``prediction``.

    Raises:
        InfrastructureError: A language model call of the metric failed.
        MetricError: The metric raised, or did not return a bool, a number, or a ``Prediction``
            with such a ``score``.
    """
    try:
        value = result_of(metric(example, prediction, *further_arguments(metric, *trace)))
    except (KeyboardInterrupt, CallRefused, AttemptOver):
        raise
    except BaseException as error:
        if is_from_signal(error):
            raise
        if (cause := infrastructure_cause(error)) is not None:
            raise infrastructure_error(cause, "scoring with the metric") from error
        where, advice = frames_of(metric, error), advice_on_exits(error)
        message = f"the metric raised {type_and_message(error)}{advice}\n{where}\n{shown(example)}"
        raise MetricError(message) from error
    score = _score_of(value)
    if score is None:
        message = (
            f"the metric returned {value!r:.80}, expected a bool, a number between "
            f"{-MOST_SCORE:g} and {MOST_SCORE:g}, or a Prediction(score=...)\n{shown(example)}"
        )
        raise MetricError(message)
    return Grade(score, _feedback_of(value))


def _feedback_of(value: object) -> str:
    """Return the feedback of a graded prediction; what is no text as JSON."""
    feedback = value.get("feedback") if isinstance(value, dspy.Prediction) else None
    if feedback is None or isinstance(feedback, str):
        return feedback or ""
    return readable_json(plain(feedback, fallback=repr))


def _score_of(value: Any) -> float | None:  # ruff: ignore[any-type] - a metric may return any type
    """Return ``value`` as a number, or None if it is not a score."""
    if isinstance(value, dspy.Prediction):
        value = value.get("score")
    if getattr(value, "shape", None) == ():  # a scalar of NumPy or PyTorch
        value = value.item()
    if not isinstance(value, bool | int | float):
        return None
    try:
        score = float(value)
    except OverflowError:
        return None
    return score if abs(score) <= MOST_SCORE else None
