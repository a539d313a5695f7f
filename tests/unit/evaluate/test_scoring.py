from __future__ import annotations

import decimal
import fractions
import math
from functools import partial
from typing import Any

import dspy
import numpy as np
import pytest
from dspy.utils.exceptions import AdapterParseError, LMRateLimitError
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.errors import InfrastructureError, MetricError
from pytest_mipro.evaluate.scoring import call_metric

EXAMPLE = dspy.Example(question="What is 1 + 1?", answer="2").with_inputs("question")
PREDICTION = dspy.Prediction(answer="2")


def returning(value: object) -> Any:
    """Return a metric that always says ``value``."""
    return lambda example, prediction, trace=None: value


class Feedback(dspy.Prediction):
    """What metrics for other optimizers return."""


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
def test_score(value: object, score: float) -> None:
    """A bool, a number of Python or NumPy, or a Prediction with one is a score."""
    found = call_metric(returning(value), EXAMPLE, PREDICTION)

    assert found == score
    assert type(found) is float


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15))
def test_every_finite_number_is_its_own_score(value: float) -> None:
    """Scores are neither clipped nor rounded."""
    assert call_metric(returning(value), EXAMPLE, PREDICTION) == value


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
def test_what_is_no_score_is_refused(value: object) -> None:
    """The error shows the value, what a score may be, and the example."""
    with pytest.raises(MetricError) as caught:
        call_metric(returning(value), EXAMPLE, PREDICTION)

    message = str(caught.value)
    assert message.startswith(
        f"the metric returned {value!r:.80}, expected a bool, a finite number"
    )
    assert '{"answer":"2","question":"What is 1 + 1?"}' in message


def test_metric_gets_what_it_is_to_judge() -> None:
    """Example and prediction arrive as they are, the trace only where there is one."""
    seen: list[tuple[Any, ...]] = []

    def metric(*arguments: object) -> bool:
        seen.append(arguments)
        return True

    call_metric(metric, EXAMPLE, PREDICTION)
    call_metric(metric, EXAMPLE, PREDICTION, ["step"])

    assert seen[0][0] is EXAMPLE
    assert seen[0][1] is PREDICTION
    assert [arguments[2:] for arguments in seen] == [(), (["step"],)]


def test_metric_without_a_trace_parameter_scores_rows() -> None:
    """Two parameters are enough where no trace is judged."""
    assert call_metric(lambda example, prediction: 1, EXAMPLE, PREDICTION) == 1


def test_metric_that_raises_is_named_with_its_error() -> None:
    """The error says what was raised, on which example, and keeps the cause."""

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
def test_metric_that_raises_in_a_library_is_shown_at_its_own_line(metric: Any) -> None:
    """The line of the metric comes first, then that of whatever it called."""
    with pytest.raises(MetricError) as caught:
        call_metric(metric, EXAMPLE, PREDICTION)

    _, first, second, _ = str(caught.value).splitlines()
    assert first.startswith(f"at {__file__}:")
    assert first.endswith("in __call__: return bool(example.anwser == prediction)")
    assert "example.py" in second


def test_metric_that_cannot_be_called_is_shown_where_it_is_defined() -> None:
    """None of our own lines is to blame."""

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
    """Whatever the user's code raises, it is no score."""

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        raise error

    with pytest.raises(MetricError, match=f"raised {type(error).__name__}"):
        call_metric(metric, EXAMPLE, PREDICTION)


def test_judge_that_cannot_be_reached_is_not_the_metrics_fault() -> None:
    """A language model error stops the run as one, and is named."""
    error = LMRateLimitError("slow down")

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        raise error

    with pytest.raises(InfrastructureError, match="scoring with the metric") as caught:
        call_metric(metric, EXAMPLE, PREDICTION)
    assert caught.value.__cause__ is error


def test_judge_that_cannot_be_parsed_is_a_metric_error() -> None:
    """A judge that answers nonsense gave no score."""
    signature: Any = dspy.ensure_signature("a -> b")

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        raise AdapterParseError("ChatAdapter", signature, "nonsense")

    with pytest.raises(MetricError, match="AdapterParseError"):
        call_metric(metric, EXAMPLE, PREDICTION)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_a_metric_passes(stop: type[BaseException]) -> None:
    """The user stopping the run is no error of the metric."""

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        raise stop

    with pytest.raises(stop):
        call_metric(metric, EXAMPLE, PREDICTION)


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
def test_any_example_can_be_shown(example: dspy.Example) -> None:
    """The error about a metric is never hidden by an error about its example."""
    with pytest.raises(MetricError, match="the metric returned None") as caught:
        call_metric(returning(None), example, PREDICTION)

    assert len(str(caught.value)) < 600
