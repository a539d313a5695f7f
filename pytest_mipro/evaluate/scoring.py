"""Call a metric and convert its return value to a score."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.canonical import plain, readable_json
from pytest_mipro.errors import MetricError
from pytest_mipro.evaluate.awaiting import result_of
from pytest_mipro.evaluate.failures import (
    frames_of,
    infrastructure_cause,
    infrastructure_error,
    type_and_message,
)

if TYPE_CHECKING:
    from pytest_mipro.task import Metric


def call_metric(metric: Metric, example: dspy.Example, prediction: object, *trace: object) -> float:
    """Return the score that ``metric`` gives to ``prediction``.

    Raises:
        InfrastructureError: A language model call of the metric failed.
        MetricError: The metric raised, or did not return a bool, a finite number, or a
            ``Prediction`` with such a ``score``.
    """
    try:
        value = result_of(metric(example, prediction, *trace))
    except Exception as error:  # A metric of the user may raise any exception.
        if (cause := infrastructure_cause(error)) is not None:
            raise infrastructure_error(cause, "scoring with the metric") from error
        where = frames_of(metric, error)
        message = f"the metric raised {type_and_message(error)}\n{where}\n{_shown(example)}"
        raise MetricError(message) from error
    score = _score_of(value)
    if score is None:
        message = (
            f"the metric returned {value!r:.80}, expected a bool, a finite number or a "
            f"Prediction(score=...)\n{_shown(example)}"
        )
        raise MetricError(message)
    return score


def _score_of(value: Any) -> float | None:  # ruff: ignore[any-type] - a metric may return any type
    """Return ``value`` as a finite number, or None if it is not a score."""
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
    return score if math.isfinite(score) else None


def _shown(example: dspy.Example) -> str:
    return f"on the example {readable_json(plain(example.toDict(), fallback=repr)):.300}"
