"""From what a metric returns to a score."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.canonical import plain, readable_json
from pytest_mipro.errors import MetricError
from pytest_mipro.evaluate.failures import frames_of, infrastructure_cause, named, surface

if TYPE_CHECKING:
    from pytest_mipro.task import Metric


def call_metric(metric: Metric, example: dspy.Example, prediction: object, *trace: object) -> float:
    """
    Return the score ``metric`` gives to ``prediction``.

    Raises:
        InfrastructureError: A model that the metric asks could not be asked.
        MetricError: The metric raised, or returned something that is no score:
            not a bool, a finite number, or a ``Prediction`` with such a
            ``score``.

    """
    try:
        value = metric(example, prediction, *trace)
    except Exception as error:  # Whatever the user's code raises, it gave no score.
        if (cause := infrastructure_cause(error)) is not None:
            raise surface(cause, "scoring with the metric") from error
        where = frames_of(metric, error)
        message = f"the metric raised {named(error)}\n{where}\n{_shown(example)}"
        raise MetricError(message) from error
    score = _number(value)
    if score is None:
        message = (
            f"the metric returned {value!r:.80}, expected a bool, a finite number or a "
            f"Prediction(score=...)\n{_shown(example)}"
        )
        raise MetricError(message)
    return score


def _number(value: Any) -> float | None:  # ruff: ignore[any-type] - a metric may return anything
    if isinstance(value, dspy.Prediction):
        value = value.get("score")
    if getattr(value, "shape", None) == ():
        value = value.item()
    if not isinstance(value, bool | int | float):
        return None
    try:
        score = float(value)
    except OverflowError:
        return None
    return score if math.isfinite(score) else None


def _shown(example: dspy.Example) -> str:
    return f"on the example {readable_json(plain(example.toDict(), fallback=repr)):.300}"
