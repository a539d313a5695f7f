"""Restore a prediction from its stored fields, if a metric cannot tell the difference."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.canonical import is_json

if TYPE_CHECKING:
    from collections.abc import Callable

_CONSTRUCTORS: dict[str, Callable[[dict[str, Any]], dspy.Prediction]] = {
    "fields": dspy.Prediction,
    "completion": lambda fields: dspy.Prediction.from_completions([fields]),
}
"""How a program of the user ("fields") or a predictor ("completion") constructs a prediction."""
FORMS = tuple(_CONSTRUCTORS)
_ATTRIBUTES = vars(dspy.Prediction()).keys()


def form_of(prediction: object) -> str | None:
    """Return the form that restores ``prediction`` from its fields, or None if none does.

    None does if a field is not JSON data, or if there are several completions. A restored
    prediction lacks only the signature that completions hold.
    """
    if type(prediction) is not dspy.Prediction or vars(prediction).keys() != _ATTRIBUTES:
        return None
    fields = dict(prediction.items(include_dspy=True))
    if prediction.get_lm_usage() is not None or not is_json(fields):
        return None
    if prediction.completions is None:
        return "fields"
    single = {name: [value] for name, value in fields.items()}
    return "completion" if dict(prediction.completions.items()) == single else None


def restore(fields: dict[str, Any], form: str) -> dspy.Prediction:
    """Return the prediction that has these fields."""
    # A metric may change the prediction, and the fields belong to a row.
    return _CONSTRUCTORS[form](deepcopy(fields))
