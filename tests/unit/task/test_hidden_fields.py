from __future__ import annotations

from typing import Any

import dspy
import pytest
from row_sources import refused, rows

from pytest_mipro.task import Dataset, hidden_output_warning

HIDDEN = {
    "labels": "method",
    "inputs": "method",
    "items": "method",
    "keys": "method",
    "values": "method",
    "get": "method",
    "copy": "method",
    "without": "method",
    "toDict": "method",
    "with_inputs": "method",
    "_store": "attribute",
    "_input_keys": "attribute",
}


@pytest.mark.parametrize("kind", [dict, dspy.Example])
@pytest.mark.parametrize("name, hiding", HIDDEN.items())
def test_field_that_dspy_hides_is_refused(kind: Any, name: str, hiding: str) -> None:
    """The error names the row, the field, the method, and the expression that reads the field."""
    refused(
        [*rows(1), kind({"question": "Why?", name: "yes"})],
        f"dataset[1] has a field {name!r}, which the {hiding} {name} of dspy.Example hides",
        f"only example[{name!r}] reads it",
        "give the field another name",
    )


def test_constructor_refuses_a_hidden_field() -> None:
    """Examples that are given as splits are checked alike."""
    train, val, test = (
        (dspy.Example(items=name).with_inputs("items"),) for name in ("train", "val", "test")
    )
    with pytest.raises(ValueError, match=r"train\[0\] has a field 'items'"):
        Dataset(train, val, test)


class Lister(dspy.Module):
    """Two predictors, of which the second has an output that DSPy hides."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = dspy.Predict("question -> plan")
        self.collect = dspy.ChainOfThought("plan -> items: list[str], completions, total: int")


def test_hidden_outputs_are_named() -> None:
    """The warning names each field with its predictor, and how to read it."""
    assert hidden_output_warning(Lister()) == (
        "output fields that DSPy hides; give them other names:\n"
        "  'items' of collect.predict: prediction.items is the method items of dspy.Prediction, "
        "and prediction['items'] the field\n"
        "  'completions' of collect.predict: prediction.completions is the attribute completions "
        "of dspy.Prediction, and prediction['completions'] the field"
    )
    assert not hidden_output_warning(dspy.Predict("labels -> answer"))
