"""Guard an optimizer of DSPy: no failed call becomes a score, and no budget is overrun.

DSPy's optimizers catch the errors of language models and score them as 0, retry nothing and
know no budget. Here each call and each metric of a compile goes through the guard, which
retries temporary errors, asks the account before each call, and remembers the first error
that lasts: it ends the compile, whatever the optimizer makes of it.
"""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import dspy
from dspy.utils.callback import BaseCallback

from pytest_mipro.dspy_internals import metered_calls, quick_calls
from pytest_mipro.errors import MiproError, OptimizerError
from pytest_mipro.evaluate import (
    Throttle,
    call_metric,
    retry_lm_errors,
    throttled,
    type_and_message,
)
from pytest_mipro.fingerprint import prompts_key
from pytest_mipro.optimize.program_runs import ProgramRuns
from pytest_mipro.records import Progress
from pytest_mipro.spending import UsageMeter, current_account
from pytest_mipro.task import isolated_copy, mismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pytest_mipro.evaluate import Grade
    from pytest_mipro.optimize.optimizer import CompileRequest
    from pytest_mipro.records import Usage
    from pytest_mipro.task import Metric, Task

T = TypeVar("T")

logger = logging.getLogger(__name__)

NO_LIMIT = 1_000_000_000
"""Failed rows that DSPy tolerates: it counts failures of a program, which are scores of 0 here."""


class Guard:
    """Admits, retries and counts the language model calls of one compile.

    Args:
        name: The optimizer's name, for messages.
        request: The task, and where progress is shown.
    """

    def __init__(self, name: str, request: CompileRequest) -> None:
        self._name = name
        self._task = request.task
        self._show_progress = request.show_progress
        self._held_out_rows = request.held_out_rows
        self._throttle = Throttle()
        self._account = current_account()
        self._meter = UsageMeter()
        self._lock = threading.Lock()
        self._best: float | None = None
        self._error: MiproError | None = None

    def __deepcopy__(self, _memo: object) -> Guard:
        """Return this guard: programs and models that are copied keep it."""
        return self

    @property
    def usage(self) -> Usage:
        """The usage of all calls so far."""
        return self._meter.usage

    @contextmanager
    def task(self) -> Generator[Task]:
        """Run the block with copies of the program and the models, which the guard watches.

        Raises:
            MiproError: A call failed for good, a budget is spent, the metric or the program is
                broken or would end the test run, or the optimizer failed or changed the baseline.
        """
        baseline = prompts_key(self._task.program)
        if self._account is not None:
            predictors = len(self._task.program.predictors())
            self._account.reserve(self._held_out_rows * predictors)
        guarded = self._guarded_task()
        settings = {
            "lm": guarded.lm,
            **metered_calls(self._meter),
            "callbacks": [
                *dspy.settings.callbacks,
                _ScoreWatch(self),
                ProgramRuns(guarded.program, self.stop),
            ],
            "max_errors": NO_LIMIT,
        }
        with quick_calls(), dspy.context(**settings), _quiet():
            try:
                yield guarded
            except Exception as error:  # An optimizer may raise any exception.
                raise self._error or self._broken(error) from error
            except BaseException as error:
                # What a program raises to skip or to end the test is an error, which is recorded.
                if self._error is None or isinstance(error, KeyboardInterrupt):
                    raise
                raise self._error from error
        if self._error is not None:
            raise self._error
        if prompts_key(self._task.program) != baseline:
            message = f"optimizer {self._name} changed the task's program instead of a copy of it"
            raise OptimizerError(message)

    def run(self, work: Callable[[], T], description: str) -> T:
        """Return ``work()``, retried while its calls fail for a time.

        Raises:
            MiproError: The work, or earlier work of this compile, failed for good.
        """
        if self._error is not None:
            raise self._error
        try:
            return throttled(self._throttle, retry_lm_errors, work, description)
        except MiproError as error:
            self.stop(error)
            raise

    def stop(self, error: MiproError) -> None:
        """End the compile by ``error``, unless another one ends it already."""
        with self._lock:
            self._error = self._error or error

    def admit(self) -> None:
        """Ask the account for one more call, and show the progress."""
        if self._account is not None:
            self._account.admit()
        self._report()

    def record_best(self, score: float) -> None:
        """Record the mean score, between 0 and 1, of a program on all rows of an evaluation."""
        with self._lock:
            self._best = score if self._best is None else max(self._best, score)
        self._report()

    def lm(self, lm: dspy.BaseLM) -> dspy.BaseLM:
        """Return a copy of ``lm`` whose calls go through the guard."""
        copied: dspy.BaseLM = lm.copy()
        copied.__class__ = _guarded_class(type(lm))
        vars(copied)["_mipro_guard"] = self
        return copied

    def metric(self, metric: Metric) -> Metric:
        """Return ``metric`` with numbers as scores, and errors that end the compile."""

        def scored(example: dspy.Example, prediction: object, *further: object) -> float:
            return self._grade(metric, example, prediction, *further).score

        return scored

    def metric_with_feedback(self, metric: Metric) -> Metric:
        """Return ``metric`` as GEPA takes it: five arguments, and a score with feedback."""

        def scored(
            gold: dspy.Example,
            pred: dspy.Prediction,
            trace: object = None,
            pred_name: str | None = None,
            pred_trace: object = None,
        ) -> dspy.Prediction:
            further = (trace, pred_name, pred_trace)
            accepted = further if not mismatch(metric, gold, pred, *further) else further[:1]
            grade = self._grade(metric, gold, pred, *accepted)
            feedback = grade.feedback or _plain_feedback(gold, pred, grade.score)
            return dspy.Prediction(score=grade.score, feedback=feedback)

        return scored

    def _grade(
        self, metric: Metric, example: dspy.Example, prediction: object, *further: object
    ) -> Grade:
        work = partial(call_metric, metric, example, prediction, *further)
        return self.run(work, "scoring with the metric")

    def _guarded_task(self) -> Task:
        task = self._task
        program = isolated_copy(task.program)
        teacher = None if task.teacher is None else isolated_copy(task.teacher)
        for module in (program, teacher):
            for predictor in () if module is None else module.predictors():
                predictor.lm = None if predictor.lm is None else self.lm(predictor.lm)
        return replace(
            task,
            program=program,
            teacher=teacher,
            lm=self.lm(task.lm),
            prompt_lm=self.lm(task.prompt_lm),
            teacher_lm=None if task.teacher_lm is None else self.lm(task.teacher_lm),
        )

    def _report(self) -> None:
        error = self._throttle.provider_error
        self._show_progress(Progress("optimize", 0, None, self._best, self.usage, error))

    def _broken(self, error: Exception) -> MiproError:
        if isinstance(error, MiproError):
            return error
        message = (
            f"optimizer {self._name} failed: {type_and_message(error)}; this is no score, and "
            "nothing is stored; see the traceback above, its options and its examples"
        )
        return OptimizerError(message)


class _ScoreWatch(BaseCallback):
    """Reports the scores of DSPy's evaluations, which are percentages."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    def on_evaluate_end(
        self,
        call_id: str,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        outputs: Any | None,  # ruff: ignore[any-type] - a Prediction with a score
        exception: BaseException | None = None,  # ruff: ignore[unused-method-argument]  # the same
    ) -> None:
        """Report the score of an evaluation that ended."""
        score = getattr(outputs, "score", None)
        if isinstance(score, int | float):
            self._guard.record_best(score / 100)


def _guarded_class(lm_class: type[dspy.BaseLM]) -> type[dspy.BaseLM]:
    """Return a subclass of ``lm_class`` whose calls go through the guard of the instance."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:  # ruff: ignore[any-type] - DSPy's types
        guard: Guard = self._mipro_guard
        work = partial(_admitted, guard, partial(lm_class.__call__, self, *args, **kwargs))
        return guard.run(work, "compiling")

    async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:  # ruff: ignore[any-type] - the same
        return await asyncio.to_thread(self, *args, **kwargs)

    namespace = {"__call__": call, "acall": acall, "__module__": lm_class.__module__}
    return type(lm_class.__name__, (lm_class,), namespace)


def _admitted(guard: Guard, call: Callable[[], T]) -> T:
    guard.admit()
    return call()


def _plain_feedback(example: dspy.Example, prediction: object, score: float) -> str:
    labels = dict(example.labels().items())
    return f"This answer scores {score:g}: {prediction!s:.500}. The labels are: {labels!s:.500}."


class _Log(io.TextIOBase):
    """Sends lines to the log instead of the terminal."""

    def write(self, text: str) -> int:
        if text.strip():
            logger.debug("%s", text.strip())
        return len(text)


@contextmanager
def _quiet() -> Generator[None]:
    """Keep what DSPy's optimizers print off the terminal: tables, prompts and progress bars."""
    dspy_logger = logging.getLogger("dspy")
    level = dspy_logger.level
    dspy_logger.setLevel(logging.ERROR)
    log = _Log()
    try:
        with redirect_stdout(log), redirect_stderr(log):
            yield
    finally:
        dspy_logger.setLevel(level)
