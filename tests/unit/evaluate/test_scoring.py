from __future__ import annotations

import decimal
import fractions
import math
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import dspy
import numpy as np
import pytest
from dspy.utils.exceptions import AdapterParseError, LMRateLimitError
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.errors import InfrastructureError, MetricError
from pytest_mipro.evaluate.scoring import Grade, call_metric
from pytest_mipro.records import MOST_SCORE

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLE = dspy.Example(question="What is 1 + 1?", answer="2").with_inputs("question")
PREDICTION = dspy.Prediction(answer="2")


def returning(value: object) -> Any:
    """Return a metric that returns ``value``."""
    return lambda example, prediction, trace=None: value


class Feedback(dspy.Prediction):
    """A subclass of Prediction, as metrics for other optimizers return it."""


@pytest.mark.parametrize(
    "value, score",
    [
        (True, 1.0),
        (False, 0.0),
        (1, 1.0),
        (0, 0.0),
        (0.25, 0.25),
        (-3, -3.0),
        (100, 100.0),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(2), 2.0),
        (np.bool_(True), 1.0),
        (np.array(0.75), 0.75),
        (dspy.Prediction(score=0.7), 0.7),
        (dspy.Prediction(score=True), 1.0),
        (dspy.Prediction(score=np.float32(0.5)), 0.5),
        (dspy.Prediction(score=0.5, feedback="almost"), 0.5),
        (Feedback(score=1), 1.0),
    ],
    ids=repr,
)
def test_a_score_is_converted_to_float(value: object, score: float) -> None:
    """A bool, a number of Python or NumPy, or a Prediction with one is a score."""
    result = call_metric(returning(value), EXAMPLE, PREDICTION).score

    assert result == score
    assert type(result) is float


@pytest.mark.parametrize(
    "value, feedback",
    [
        (dspy.Prediction(score=0.5, feedback="almost"), "almost"),
        (Feedback(score=0.5, feedback={"tone": "rude"}), '{"tone":"rude"}'),
        (dspy.Prediction(score=0.5, feedback=None), ""),
        (dspy.Prediction(score=0.5), ""),
        (0.5, ""),
    ],
    ids=repr,
)
def test_a_graded_prediction_is_taken_as_it_is(value: object, feedback: str) -> None:
    """Its feedback goes with the score; what is no text is shown as JSON."""
    assert call_metric(returning(value), EXAMPLE, PREDICTION) == Grade(0.5, feedback)


@given(st.floats(-MOST_SCORE, MOST_SCORE) | st.integers(-(10**15), 10**15))
def test_every_number_within_the_bounds_is_its_own_score(value: float) -> None:
    """Scores are neither clipped nor rounded."""
    assert call_metric(returning(value), EXAMPLE, PREDICTION).score == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        "1",
        "yes",
        b"1",
        [],
        [1.0],
        (1.0, "feedback"),
        {"score": 1.0},
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        1e308,
        -1e308,
        1.001e15,
        1j,
        decimal.Decimal("0.5"),
        fractions.Fraction(1, 2),
        np.float64("nan"),
        np.array([0.5]),
        np.array([0.5, 0.5]),
        np.array("0.5"),
        dspy.Prediction(),
        dspy.Prediction(answer="2"),
        dspy.Prediction(score=None),
        dspy.Prediction(score="0.5"),
        dspy.Prediction(score=math.nan),
        dspy.Prediction(score=dspy.Prediction(score=1.0)),
        dspy.Example(score=1.0),
        object,
    ],
    ids=lambda value: f"{value!r:.40}",
)
def test_a_value_that_is_no_score_is_an_error(value: object) -> None:
    """The message has the value, the expected types and the example."""
    with pytest.raises(MetricError) as caught:
        call_metric(returning(value), EXAMPLE, PREDICTION)

    message = str(caught.value)
    assert message.startswith(
        f"the metric returned {value!r:.80}, expected a bool, a number between -1e+15 and 1e+15"
    )
    assert '{"answer":"2","question":"What is 1 + 1?"}' in message


def test_a_metric_gets_example_and_prediction() -> None:
    """They are the same objects, and a trace follows only if the caller passes one."""
    calls: list[tuple[Any, ...]] = []

    def metric(*arguments: object) -> bool:
        calls.append(arguments)
        return True

    call_metric(metric, EXAMPLE, PREDICTION)
    call_metric(metric, EXAMPLE, PREDICTION, ["step"])

    assert calls[0][0] is EXAMPLE
    assert calls[0][1] is PREDICTION
    assert [arguments[2:] for arguments in calls] == [(), (["step"],)]


def test_a_metric_may_take_the_five_arguments_of_gepa() -> None:
    """A metric that requires a predictor's name and trace gets None for them."""

    def metric(gold: Any, pred: Any, trace: Any, pred_name: Any, pred_trace: Any) -> Any:
        assert (pred_name, pred_trace) == (None, None)
        score = gold.answer == pred.answer
        return dspy.Prediction(score=score, feedback=f"traced: {trace is not None}")

    assert call_metric(metric, EXAMPLE, PREDICTION) == Grade(1.0, "traced: False")
    assert call_metric(metric, EXAMPLE, PREDICTION, []) == Grade(1.0, "traced: True")


def test_a_metric_needs_no_trace_parameter() -> None:
    """Without a trace, a metric of two parameters is called with two arguments."""
    assert call_metric(lambda example, prediction: 1, EXAMPLE, PREDICTION).score == 1


def test_a_metric_that_raises_is_a_metric_error() -> None:
    """The message has the exception and the example; the exception is the cause."""

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        return bool(prediction.label == example.answer)

    with pytest.raises(MetricError, match=r"the metric raised AttributeError: .*'label'") as caught:
        call_metric(metric, EXAMPLE, PREDICTION)

    assert '"question":"What is 1 + 1?"' in str(caught.value)
    assert isinstance(caught.value.__cause__, AttributeError)


class Misspelt:
    def __call__(self, example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        return bool(example.anwser == prediction)


@pytest.mark.parametrize("metric", [Misspelt(), Misspelt().__call__, partial(Misspelt())])
def test_an_exception_in_a_library_shows_the_line_of_the_metric(metric: Any) -> None:
    """The line of the metric comes first, and then the line that raised."""
    with pytest.raises(MetricError) as caught:
        call_metric(metric, EXAMPLE, PREDICTION)

    _, first, second, _ = str(caught.value).splitlines()
    assert first.startswith(f"at {__file__}:")
    assert first.endswith("in __call__: return bool(example.anwser == prediction)")
    assert "example.py" in second


def test_a_metric_with_wrong_parameters_shows_its_definition() -> None:
    """The message has no line of this package."""

    def metric(example: dspy.Example) -> bool:
        return bool(example)

    with pytest.raises(MetricError) as caught:
        call_metric(metric, EXAMPLE, PREDICTION)

    _, where, _ = str(caught.value).splitlines()
    assert where == f"at {__file__}:{metric.__code__.co_firstlineno}"


@pytest.mark.parametrize(
    "error", [AssertionError("no"), ZeroDivisionError(), RecursionError("deep")]
)
def test_any_exception_of_a_metric_is_a_metric_error(error: Exception) -> None:
    """No type of exception is a score."""

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        raise error

    with pytest.raises(MetricError, match=f"raised {type(error).__name__}"):
        call_metric(metric, EXAMPLE, PREDICTION)


def test_an_lm_error_of_a_judge_is_an_infrastructure_error() -> None:
    """The message has the work, and the LM error is the cause."""
    error = LMRateLimitError("slow down")

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        raise error

    with pytest.raises(InfrastructureError, match="scoring with the metric") as caught:
        call_metric(metric, EXAMPLE, PREDICTION)
    assert caught.value.__cause__ is error


def test_an_unparsable_response_of_a_judge_is_a_metric_error() -> None:
    """The call succeeded, so the metric returned no score."""
    signature: Any = dspy.ensure_signature("a -> b")

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        raise AdapterParseError("ChatAdapter", signature, "nonsense")

    with pytest.raises(MetricError, match="AdapterParseError"):
        call_metric(metric, EXAMPLE, PREDICTION)


def test_ctrl_c_in_a_metric_is_raised() -> None:
    """A stop by the user is not converted to an error of the metric."""

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_metric(metric, EXAMPLE, PREDICTION)


@pytest.mark.parametrize(
    "leave",
    [
        partial(sys.exit, 3),
        partial(pytest.skip, "no data"),
        partial(pytest.fail, "bad"),
        partial(pytest.exit, "enough"),
    ],
    ids=["exit", "skip", "fail", "exit of pytest"],
)
def test_an_exit_in_a_metric_is_a_metric_error(leave: Callable[[], bool]) -> None:
    """What would end or skip the test run names the metric's line and the example."""

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        return leave()

    with pytest.raises(MetricError, match="would end or skip the test run") as caught:
        call_metric(metric, EXAMPLE, PREDICTION)
    assert "test_scoring.py" in str(caught.value)
    assert "in metric: return leave()" in str(caught.value)
    assert "on the example" in str(caught.value)


@pytest.mark.parametrize(
    "example",
    [
        dspy.Example(question="why " * 10_000),
        dspy.Example(question=object()),
        dspy.Example(question="\ud800"),
        dspy.Example(question=float("nan")),
        dspy.Example(),
    ],
    ids=["long", "object", "lone surrogate", "nan", "empty"],
)
def test_any_example_can_be_printed(example: dspy.Example) -> None:
    """An example that is hard to print does not hide the error of the metric."""
    with pytest.raises(MetricError, match="the metric returned None") as caught:
        call_metric(returning(None), example, PREDICTION)

    assert len(str(caught.value)) < 600
