"""Fields that a method of DSPy hides: ``example.labels`` is the method, whatever the row says."""

from __future__ import annotations

import dspy

from pytest_mipro.errors import DatasetError
from pytest_mipro.task.listing import listed

# Not hasattr, which would also find the attributes of a metaclass, such as mro.
_ATTRIBUTES = {
    dspy.Example: frozenset(dir(dspy.Example())),
    dspy.Prediction: frozenset(dir(dspy.Prediction())),
}

# Hides this module's frames, so that pytest shows the declaring line.
__tracebackhide__ = True


def refuse_hidden_field(name: str, location: str) -> None:
    """Check that ``example.name`` gives the field: a metric would compare methods.

    Raises:
        DatasetError: A method or an attribute of ``dspy.Example`` has its name.
    """
    if kind := _hiding(dspy.Example, name):
        message = (
            f"{location} has a field {name!r}, which the {kind} {name} of dspy.Example hides: "
            f"only example[{name!r}] reads it, and example.{name} is the {kind}; "
            "give the field another name"
        )
        raise DatasetError(message)


def hidden_output_warning(program: dspy.Module) -> str:
    """Return a warning about the output fields of ``program`` that are hidden; empty if none is."""
    lines = [
        f"{field!r} of {predictor}: prediction.{field} is the {kind} {field} of dspy.Prediction, "
        f"and prediction[{field!r}] the field"
        for predictor, module in program.named_predictors()
        for field in module.signature.output_fields
        if (kind := _hiding(dspy.Prediction, field))
    ]
    return f"output fields that DSPy hides; give them other names:{listed(lines)}" if lines else ""


def _hiding(cls: type[dspy.Example], name: str) -> str:
    """Return what of ``cls`` hides a field, ``"method"`` or ``"attribute"``; empty if nothing."""
    if name not in _ATTRIBUTES[cls]:
        return ""
    return "method" if callable(getattr(cls, name, None)) else "attribute"
