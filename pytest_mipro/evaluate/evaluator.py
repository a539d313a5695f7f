"""Run a program on an example and score its prediction."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import dspy

from pytest_mipro.canonical import plain
from pytest_mipro.dspy_internals import metered_calls
from pytest_mipro.errors import BudgetExceeded, InfrastructureError, StoreError
from pytest_mipro.evaluate.failures import (
    failure_of,
    is_from_signal,
    program_error,
    would_end_run,
)
from pytest_mipro.evaluate.prediction_form import form_of, restore
from pytest_mipro.evaluate.replies import ReplyLog
from pytest_mipro.spending import UsageMeter

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from pytest_mipro.canonical import JSON
    from pytest_mipro.evaluate.awaiting import Step
    from pytest_mipro.evaluate.scoring import Grade
    from pytest_mipro.records import Failure, Usage
    from pytest_mipro.spending import Purpose
    from pytest_mipro.task import Metric

Steps: TypeAlias = "tuple[Step, ...]"
"""The predictor calls of a run."""


@dataclass(frozen=True)
class RunResult:
    """The result of a program on an example.

    Attributes:
        prediction: The prediction as JSON data; None if the program failed.
        form: The form that restores the prediction from that data; None if none does.
        steps: The program's predictor calls.
        score: The metric's score; None if the program failed.
        failure: The program's exception, if it failed.
        usage: The usage of all calls, the metric's included.
        seconds: The duration of the program's calls, summed; None without calls.
        spent: The usage of the program's calls, cached ones included; None if any is unknown.
        scores: The scores by further metrics, by metric key.
        feedback: The metric's text about the prediction; empty without one.
    """

    prediction: JSON
    form: str | None
    steps: Steps
    score: float | None
    failure: Failure | None
    usage: Usage
    seconds: float | None
    spent: Usage | None
    scores: Mapping[str, float] = field(default_factory=dict)
    feedback: str = ""


@dataclass(frozen=True)
class Evaluator:
    """Runs and scores programs for one task.

    Attributes:
        metric: Scores a prediction.
        settings: DSPy settings, such as ``lm`` and ``adapter``.
        key: Digest of the program's code and of these attributes. Only rows with the same key
            are comparable, and the store finds a row only under it.
        prediction_key: The same digest without the metric. The store finds predictions under
            it; with None, predictions are not shared between rows.
        further: Metrics that score each prediction, too, by metric key.
    """

    metric: Metric
    settings: Mapping[str, Any]
    key: str
    prediction_key: str | None = None
    further: Mapping[str, Metric] = field(default_factory=dict)

    def run(
        self, program: dspy.Module, example: dspy.Example, *, traced: bool = False
    ) -> RunResult:
        """Run ``program`` on ``example`` and score its prediction.

        An exception of the program is a failure of the run; ``failures.py`` decides whose an
        exception is.

        Args:
            program: The program.
            example: The example; the program gets its inputs.
            traced: Pass the trace to the metric, as bootstrapping does.

        Raises:
            InfrastructureError: A language model call failed.
            BudgetExceeded: A limit was spent before a call.
            ProgramError: The program tried to end or to skip the test run.
            MetricError: The metric returned no score.
        """
        from pytest_mipro.evaluate.retrying import retry_lm_errors

        replies = ReplyLog()
        with self._metered("bootstrap" if traced else None) as meter:
            try:
                prediction, steps = retry_lm_errors(
                    partial(_call, program, example, meter),
                    f"running {type(program).__name__}",
                    replies,
                )
                replies.check_complete(steps)
            except (InfrastructureError, StoreError, BudgetExceeded, KeyboardInterrupt):
                raise
            except BaseException as error:  # A user's program may raise anything.
                if is_from_signal(error):
                    raise
                if would_end_run(error):
                    raise program_error(program, error, example) from error
                failure = failure_of(error, replies.faults)
                return RunResult(
                    None, None, (), None, failure, meter.usage, meter.seconds, meter.spent
                )
            seconds, spent = meter.seconds, meter.spent
            # Before the metric runs, because a metric may change the prediction.
            fields, form = plain(prediction, fallback=repr), form_of(prediction)
            grade = self._grade(example, prediction, *((list(steps),) if traced else ()))
            scores = {
                key: _grade_by(metric, example, _untouched(prediction, fields, form)).score
                for key, metric in self.further.items()
            }
        return RunResult(
            fields,
            form,
            steps,
            grade.score,
            None,
            meter.usage,
            seconds,
            spent,
            scores,
            grade.feedback,
        )

    def grade(self, prediction: dspy.Prediction, example: dspy.Example) -> tuple[Grade, Usage]:
        """Return the score and feedback of a stored prediction, and the usage of the metric.

        Raises:
            InfrastructureError: A language model call of the metric failed.
            MetricError: The metric returned no score.
        """
        with self._metered() as meter:
            grade = self._grade(example, prediction)
        return grade, meter.usage

    def _grade(self, example: dspy.Example, prediction: object, *trace: object) -> Grade:
        return _grade_by(self.metric, example, prediction, *trace)

    @contextmanager
    def _metered(self, purpose: Purpose | None = None) -> Generator[UsageMeter]:
        meter = UsageMeter(purpose)
        with dspy.context(**{**self.settings, **metered_calls(meter)}):
            yield meter


def _grade_by(metric: Metric, example: dspy.Example, prediction: object, *trace: object) -> Grade:
    from pytest_mipro.evaluate.retrying import retry_lm_errors
    from pytest_mipro.evaluate.scoring import call_metric

    # Retried apart from the program, which is not run again when a judge is overloaded.
    scoring = partial(call_metric, metric, example, prediction, *trace)
    return retry_lm_errors(scoring, "scoring with the metric")


def _untouched(prediction: object, fields: JSON, form: str | None) -> object:
    """Return the prediction as the program made it, where it can be restored."""
    return prediction if form is None or not isinstance(fields, dict) else restore(fields, form)


def _call(program: dspy.Module, example: dspy.Example, meter: UsageMeter) -> tuple[object, Steps]:
    """Return the prediction of ``program``, and its predictor calls."""
    from pytest_mipro.evaluate.awaiting import call_program

    meter.begin_attempt()
    return call_program(program, dict(example.inputs()))
