from __future__ import annotations

import decimal
import enum
from typing import Any

import dspy
import pytest
from sums import Function, sums

from pytest_mipro.evaluate.evaluator import Evaluator
from pytest_mipro.evaluate.event_loop import run_to_completion
from pytest_mipro.evaluate.stored_rows import StoredRows
from pytest_mipro.evaluate.worker_pool import WorkerPool
from pytest_mipro.store import Store

pytestmark = pytest.mark.uses("dspy")


class Color(str, enum.Enum):
    RED = "red"


def restored(prediction: object) -> object:
    """Return the prediction that a metric gets from the store; None if the program ran again."""
    predictions: list[object] = []

    def record(example: dspy.Example, prediction: object, trace: object = None) -> bool:
        predictions.append(prediction)
        return True

    store = Store.in_memory()
    program = Function(lambda _: prediction)
    for key, metric in (("first", lambda *_: True), ("second", record)):
        workers = WorkerPool(1)
        rows = StoredRows(Evaluator(metric, {}, key, "prediction"), store, workers)
        run_to_completion(rows.evaluate(program, sums(1)), workers)
    store.close()
    (scored,) = predictions
    return None if sum(program.calls.values()) > 1 else scored


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"answer": "1"},
        {"n": 1, "x": 0.5, "yes": True, "none": None, "text": "\ud800\u2028"},
        {"deep": [{"a": [1, [2]], "b": {}}]},
        {"score": 10**30},
        {"dspy_uuid": "1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("has_completion", [False, True])
def test_json_data_is_restored(fields: dict[str, Any], has_completion: bool) -> None:
    """A prediction of JSON data is equal after the store, its single completion included."""
    make = dspy.Prediction.from_completions if has_completion else dspy.Prediction
    prediction = restored(make([fields] if has_completion else fields))
    assert type(prediction) is dspy.Prediction
    assert dict(prediction.items(include_dspy=True)) == fields
    assert (prediction.completions is not None) is has_completion
    if has_completion:
        assert dict(prediction.completions.items()) == {name: [fields[name]] for name in fields}


@pytest.mark.parametrize(
    "prediction",
    [
        "1",
        {"answer": "1"},
        None,
        dspy.Example(answer="1"),
        type("Own", (dspy.Prediction,), {})(answer="1"),
        dspy.Prediction(answer=("1",)),
        dspy.Prediction(answer={"1"}),
        dspy.Prediction(answer={1: "1"}),
        dspy.Prediction(answer=Color.RED),
        dspy.Prediction(answer=float("nan")),
        dspy.Prediction(answer=b"1"),
        dspy.Prediction(answer=[dspy.Example(a=1)]),
        dspy.Prediction(answer=decimal.Decimal(1)),
        dspy.Prediction.from_completions({"answer": ["1", "2"]}),
    ],
    ids=repr,
)
def test_predictions_that_json_changes_are_not_restored(prediction: object) -> None:
    """The program runs again where a metric could tell the stored prediction from the first."""
    assert restored(prediction) is None


def test_additions_to_a_prediction_are_not_restored() -> None:
    """Usage, further attributes and later changes are not in the fields."""
    with_usage, with_attribute, changed = (
        dspy.Prediction.from_completions({"answer": ["1"]}) for _ in range(3)
    )
    with_usage.set_lm_usage({"model": {}})
    with_attribute._mark = 1
    changed.answer = "2"
    predictions = (with_usage, with_attribute, changed)
    assert [restored(prediction) for prediction in predictions] == [None] * 3


def test_a_prediction_that_contains_itself_is_not_restored() -> None:
    """A cycle is no JSON data."""
    cycle: list[object] = []
    cycle.append(cycle)
    assert restored(dspy.Prediction(answer=cycle)) is None
