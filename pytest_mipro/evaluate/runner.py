"""Rows: a program run on an example, scored, each pair once."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.canonical import digest, plain
from pytest_mipro.dataset import identity
from pytest_mipro.errors import ProgramError
from pytest_mipro.evaluate.failures import (
    CallWatch,
    blame_program,
    infrastructure_cause,
    surface,
)
from pytest_mipro.evaluate.scoring import call_metric
from pytest_mipro.evaluate.usage import UsageMeter
from pytest_mipro.evaluate.workers import Once, Workers, together
from pytest_mipro.fingerprint import of_prompts
from pytest_mipro.records import Failure, Row, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_mipro.store import Store
    from pytest_mipro.task import Metric

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """
    What came of a program on an example.

    Attributes:
        prediction: What the program answered; None if it failed.
        steps: Its predictor calls, as DSPy traces them.
        score: What the metric gave; None if the program failed.
        failure: How the program failed, if it did.
        usage: What it cost.

    """

    prediction: Any
    steps: tuple[tuple[object, dict[str, Any], dspy.Prediction], ...]
    score: float | None
    failure: Failure | None
    usage: Usage


@dataclass(frozen=True)
class Bench:
    """
    What all rows of one task are evaluated with.

    Attributes:
        metric: Scores a prediction.
        settings: DSPy settings, such as ``lm`` and ``adapter``.
        key: Digest of all of this and the program's code; rows are only
            comparable, and only found again, under the same one.

    """

    metric: Metric
    settings: Mapping[str, Any]
    key: str

    def run(self, program: dspy.Module, example: dspy.Example, *, traced: bool = False) -> Run:
        """
        Run ``program`` on ``example`` and score what it answers.

        An exception in the program is a failure of the run; see
        ``failures.py`` for whose fault an exception is.

        Args:
            program: The program.
            example: The example; the program gets its inputs.
            traced: Hand the metric the trace, as bootstrapping does.

        Raises:
            InfrastructureError: A language model could not be asked.
            MetricError: The metric gave no score.

        """
        watch, meter = CallWatch(), UsageMeter()
        settings = {
            **self.settings,
            "callbacks": [*dspy.settings.callbacks, watch],
            "usage_tracker": meter,
            "trace": [],
        }
        with dspy.context(**settings):
            try:
                prediction = program(**example.inputs())
            except Exception as error:  # The user's program may raise anything; it is sorted here.
                cause = watch.error or infrastructure_cause(error)
                if cause is not None:
                    raise surface(cause, f"running {type(program).__name__}") from error
                return Run(None, (), None, blame_program(error), meter.usage)
            steps = tuple(dspy.settings.trace)
            watch.refuse(f"running {type(program).__name__}")
            extra = (list(steps),) if traced else ()
            score = call_metric(self.metric, example, prediction, *extra)
            watch.refuse("scoring with the metric")
        return Run(prediction, steps, score, None, meter.usage)


def evaluate_row(bench: Bench, program: dspy.Module, example: dspy.Example, key: str) -> Row:
    """
    Return the row of ``program`` on ``example``.

    Raises:
        MiproError: As ``Bench.run``.

    """
    run = bench.run(program, example)
    score = Row.FAILURE_SCORE if run.score is None else run.score
    return Row(key, score, plain(run.prediction, fallback=repr), run.usage, run.failure)


def stored_rows(
    bench: Bench, store: Store, program: dspy.Module, examples: Sequence[dspy.Example]
) -> list[Row] | None:
    """Return the rows of ``program`` on ``examples`` if the store has them all."""
    keys = _keys(bench, program, examples)
    found = store.rows.get_many(keys)
    return [found[key] for key in keys] if len(found) == len(set(keys)) else None


def _keys(bench: Bench, program: dspy.Module, examples: Sequence[dspy.Example]) -> list[str]:
    prompts = of_prompts(program)
    return [digest([bench.key, prompts, identity(example)]) for example in examples]


class Tolerance:
    """
    How many rows the program may fail on.

    Args:
        allowed: Failures after which work stops; None never stops.
        provide_traceback: Log failures with their traceback.

    """

    def __init__(self, allowed: int | None = None, *, provide_traceback: bool = False) -> None:
        self._allowed = allowed
        self._provide_traceback = provide_traceback
        self._failed: set[str] = set()

    def check(self, rows: Iterable[Row]) -> None:
        """Count the failures among ``rows``; raise ProgramError when there are too many."""
        for row in rows:
            if row.failure is None or row.key in self._failed:
                continue
            self._failed.add(row.key)
            detail = row.failure.traceback if self._provide_traceback else row.failure.message
            logger.warning("the program failed on a row: %s: %s", row.failure.type, detail)
            if self._allowed is not None and len(self._failed) > self._allowed:
                message = (
                    f"the program failed on {len(self._failed)} rows, max_errors={self._allowed} "
                    f"allows no more; the last failure is {row.failure.type}: "
                    f"{row.failure.message}"
                )
                raise ProgramError(message)


class Rows:
    """Evaluates programs on examples, each pair once."""

    def __init__(
        self, bench: Bench, store: Store, workers: Workers, tolerance: Tolerance | None = None
    ) -> None:
        """Evaluate with ``bench`` on ``workers``, and keep rows in ``store``."""
        self._bench = bench
        self._once: Once[Row] = Once(store.rows, workers)
        self._tolerance = tolerance or Tolerance()

    async def evaluate(self, program: dspy.Module, examples: Sequence[dspy.Example]) -> list[Row]:
        """Return the rows of ``program`` on ``examples``, in their order."""
        keys = _keys(self._bench, program, examples)
        self._once.look_up(keys)
        rows = await together(
            [
                self._once.get(key, evaluate_row, self._bench, program, example, key)
                for key, example in zip(keys, examples, strict=True)
            ]
        )
        self._tolerance.check(rows)
        return rows
