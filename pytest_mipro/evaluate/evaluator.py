"""
Rows: a program run on an example, scored, each pair once.

A prediction that survives being stored is asked for once, too: under another
metric, or with a corrected label, it is made again from its row and scored.
"""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.canonical import digest, plain
from pytest_mipro.errors import InfrastructureError, ProgramError
from pytest_mipro.evaluate.executor import StoredWork, WorkerPool, gather
from pytest_mipro.evaluate.failures import blame_program
from pytest_mipro.evaluate.retry_policy import retry_lm_errors
from pytest_mipro.evaluate.scoring import call_metric
from pytest_mipro.fingerprint import of_prompts
from pytest_mipro.records import Failure, Row, Usage
from pytest_mipro.spending import UsageMeter
from pytest_mipro.task import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from pytest_mipro.canonical import JSON
    from pytest_mipro.spending import Purpose
    from pytest_mipro.store import Store
    from pytest_mipro.task import Metric

logger = logging.getLogger(__name__)

_FORMS: dict[str, Callable[[dict[str, Any]], dspy.Prediction]] = {
    "fields": dspy.Prediction,
    "completion": lambda fields: dspy.Prediction.from_completions([fields]),
}
"""How a prediction is made again from its fields, as a program or as a predictor made it."""


@dataclass(frozen=True)
class RunResult:
    """
    What came of a program on an example.

    Attributes:
        prediction: What the program answered, as JSON data; None if it failed.
        form: How that is made a prediction again; None if it cannot be.
        steps: Its predictor calls, as DSPy traces them.
        score: What the metric gave; None if the program failed.
        failure: How the program failed, if it did.
        usage: What it cost.
        seconds: How long the program's calls took together, if it made any.
        spent: What they cost, as far as all of it is known.

    """

    prediction: JSON
    form: str | None
    steps: tuple[tuple[object, dict[str, Any], dspy.Prediction], ...]
    score: float | None
    failure: Failure | None
    usage: Usage
    seconds: float | None
    spent: Usage | None


@dataclass(frozen=True)
class Evaluator:
    """
    What all rows of one task are evaluated with.

    Attributes:
        metric: Scores a prediction.
        settings: DSPy settings, such as ``lm`` and ``adapter``.
        key: Digest of all of this and the program's code; rows are only
            comparable, and only found again, under the same one.
        answers: Digest of the same but the metric: what predictions are found
            again under; None keeps them to the rows they are in.

    """

    metric: Metric
    settings: Mapping[str, Any]
    key: str
    answers: str | None = None

    def run(
        self, program: dspy.Module, example: dspy.Example, *, traced: bool = False
    ) -> RunResult:
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
        with self._metered("bootstrap" if traced else None) as meter:
            try:
                prediction, steps = retry_lm_errors(
                    partial(_call, program, example, meter), f"running {type(program).__name__}"
                )
            except InfrastructureError:
                raise
            # ruff: ignore[blind-except]: a user's program may raise anything, and is to blame.
            except Exception as error:
                failure = blame_program(error)
                return RunResult(
                    None, None, (), None, failure, meter.usage, meter.seconds, meter.spent
                )
            seconds, spent = meter.seconds, meter.spent
            # Now, because a metric may change what it is given.
            kept, form = plain(prediction, fallback=repr), _form_of(prediction)
            score = self._score(example, prediction, *((list(steps),) if traced else ()))
        return RunResult(kept, form, steps, score, None, meter.usage, seconds, spent)

    def score(self, prediction: dspy.Prediction, example: dspy.Example) -> tuple[float, Usage]:
        """
        Score a prediction that is known, and return also what that cost.

        Raises:
            InfrastructureError: A model that the metric asks could not be asked.
            MetricError: The metric gave no score.

        """
        with self._metered() as meter:
            score = self._score(example, prediction)
        return score, meter.usage

    def _score(self, example: dspy.Example, prediction: object, *trace: object) -> float:
        # Apart from the program, which need not be paid for again when a judge is overloaded.
        scoring = partial(call_metric, self.metric, example, prediction, *trace)
        return retry_lm_errors(scoring, "scoring with the metric")

    @contextmanager
    def _metered(self, purpose: Purpose | None = None) -> Generator[UsageMeter]:
        meter = UsageMeter(purpose)
        with dspy.context(**{**self.settings, "usage_tracker": meter}):
            yield meter


def _call(
    program: dspy.Module, example: dspy.Example, meter: UsageMeter
) -> tuple[object, tuple[tuple[object, dict[str, Any], dspy.Prediction], ...]]:
    """Return what ``program`` answers, and its predictor calls."""
    meter.begin_attempt()
    prediction = program(**example.inputs())
    return prediction, tuple(dspy.settings.trace)


def _form_of(prediction: object) -> str | None:
    """
    Return how ``prediction`` is made again from its fields, or None if a metric could tell.

    It could if a field is anything but JSON data, or if there were several
    completions. Only the signature that completions remember is lost.
    """
    if type(prediction) is not dspy.Prediction or vars(prediction).keys() != _ATTRIBUTES:
        return None
    fields = dict(prediction.items(include_dspy=True))
    if prediction.get_lm_usage() is not None or not _is_json(fields):
        return None
    if prediction.completions is None:
        return "fields"
    alone = {name: [value] for name, value in fields.items()}
    return "completion" if dict(prediction.completions.items()) == alone else None


_ATTRIBUTES = vars(dspy.Prediction()).keys()


def _is_json(value: object) -> bool:
    """Whether ``value`` comes back from JSON as it is; a subclass or a tuple would not."""
    try:
        if type(value) is dict:
            return all(type(key) is str for key in value) and all(map(_is_json, value.values()))
        if type(value) is list:
            return all(map(_is_json, value))
    except RecursionError:
        return False
    if type(value) is float:
        return math.isfinite(value)
    return type(value) in {str, int, bool, type(None)}


@dataclass(frozen=True)
class RowKey:
    """
    What one row is found by.

    Attributes:
        key: The key of the row.
        answers: The key of its prediction alone, for each form it may have.

    """

    key: str
    answers: Mapping[str, str] = field(default_factory=dict)


def evaluate_row(
    bench: Evaluator, program: dspy.Module, example: dspy.Example, name: RowKey
) -> Row:
    """
    Return the row of ``program`` on ``example``.

    Raises:
        MiproError: As ``Evaluator.run``.

    """
    run = bench.run(program, example)
    score = Row.FAILURE_SCORE if run.score is None else run.score
    answer = None if run.form is None else name.answers.get(run.form)
    return Row(
        name.key, score, run.prediction, run.usage, run.failure, answer, run.seconds, run.spent
    )


def score_again(bench: Evaluator, known: Row, form: str, example: dspy.Example, key: str) -> Row:
    """
    Return the row of a prediction that ``known`` holds, as the present metric scores it.

    Its usage is what that cost. What the prediction did is in the oldest row
    with its answer.

    Raises:
        MiproError: As ``Evaluator.score``.

    """
    prediction = _FORMS[form](deepcopy(known.prediction))
    score, usage = bench.score(prediction, example)
    return replace(known, key=key, score=score, usage=usage)


def stored_rows(
    bench: Evaluator, store: Store, program: dspy.Module, examples: Sequence[dspy.Example]
) -> list[Row] | None:
    """Return the rows of ``program`` on ``examples`` if the store has them all."""
    keys = [name.key for name in _names(bench, of_prompts(program), examples)]
    found = store.rows.get_many(keys)
    return [found[key] for key in keys] if len(found) == len(set(keys)) else None


def available_rows(
    bench: Evaluator, store: Store, program: dspy.Module, examples: Sequence[dspy.Example]
) -> list[Row]:
    """Return those rows of ``program`` on ``examples`` that the store has."""
    found = store.rows.get_many(name.key for name in _names(bench, of_prompts(program), examples))
    return list(found.values())


def unscored(
    bench: Evaluator,
    store: Store,
    programs: Sequence[dspy.Module],
    examples: Sequence[dspy.Example],
) -> int:
    """Return for how many of ``examples`` the store lacks the row of any of ``programs``."""
    names = [[name.key for name in _names(bench, of_prompts(each), examples)] for each in programs]
    found = store.rows.get_many(chain.from_iterable(names))
    return sum(not found.keys() >= set(keys) for keys in zip(*names, strict=True))


def original_usage(store: Store, rows: Sequence[Row]) -> Usage:
    """
    Return what it took to answer ``rows``, when they were answered.

    That is their own usage, but for rows that were scored again.
    """
    first = store.rows.by_answer(row.answer for row in rows if row.answer is not None)
    return Usage.total(first.get(row.answer or "", row).usage for row in rows)


def _names(bench: Evaluator, prompts: str, examples: Sequence[dspy.Example]) -> Iterator[RowKey]:
    for example in examples:
        key = digest([bench.key, prompts, identity(example)])
        if bench.answers is None:
            yield RowKey(key)
            continue
        # The program gets the inputs alone, so the labels may change.
        asked = [bench.answers, prompts, plain(example.inputs())]
        yield RowKey(key, {form: digest([*asked, form]) for form in _FORMS})


class FailureLimit:
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
        failed = [(row.key, row.failure) for row in rows if row.failure is not None]
        for key, failure in failed:
            if key not in self._failed:
                self._failed.add(key)
                detail = failure.traceback if self._provide_traceback else failure.message
                logger.warning("the program failed on a row: %s: %s", failure.type, detail)
        if failed and self._allowed is not None and len(self._failed) > self._allowed:
            _, last = failed[-1]
            message = (
                f"the program failed on {len(self._failed)} rows, max_errors={self._allowed} "
                f"allows no more; the last failure is {last.type}: {last.message}"
            )
            raise ProgramError(message)


class StoredRows:
    """Evaluates programs on examples, each pair once."""

    def __init__(
        self,
        bench: Evaluator,
        store: Store,
        workers: WorkerPool,
        tolerance: FailureLimit | None = None,
    ) -> None:
        """Evaluate with ``bench`` on ``workers``, and keep rows in ``store``."""
        self._bench = bench
        self._store = store
        self._once: StoredWork[Row] = StoredWork(store.rows, workers)
        self._tolerance = tolerance or FailureLimit()
        self._seen: set[str] = set()
        self._answered: dict[str, Row] = {}
        self._prompts: dict[int, tuple[dspy.Module, str]] = {}

    async def evaluate(self, program: dspy.Module, examples: Sequence[dspy.Example]) -> list[Row]:
        """Return the rows of ``program`` on ``examples``, in their order."""
        names = self._names_of(program, examples)
        self._once.look_up([name.key for name in names])
        self._look_up_answers(names)
        rows = await gather(
            [
                self._row(program, example, name)
                for name, example in zip(names, examples, strict=True)
            ]
        )
        self._tolerance.check(rows)
        return rows

    def count_new(self, program: dspy.Module, examples: Sequence[dspy.Example]) -> int:
        """Return how many rows of ``program`` on ``examples`` were not stored before."""
        keys = [name.key for name in self._names_of(program, examples)]
        self._once.look_up(keys)
        return sum(map(self.is_new, keys))

    def is_new(self, key: str) -> bool:
        """Whether the row under ``key`` was asked for, and was not stored before."""
        return self._once.is_new(key)

    def _names_of(self, program: dspy.Module, examples: Sequence[dspy.Example]) -> list[RowKey]:
        if id(program) not in self._prompts:
            # With the program, lest another one gets its identity.
            self._prompts[id(program)] = program, of_prompts(program)
        _, prompts = self._prompts[id(program)]
        return list(_names(self._bench, prompts, examples))

    def _look_up_answers(self, names: Iterable[RowKey]) -> None:
        """Fetch what is stored of predictions in one go, each once."""
        new = [name for name in names if name.answers and name.key not in self._seen]
        self._seen.update(name.key for name in new)
        answers = [answer for name in new for answer in name.answers.values()]
        if answers:
            self._answered.update(self._store.rows.by_answer(answers))

    async def _row(self, program: dspy.Module, example: dspy.Example, name: RowKey) -> Row:
        for form, answer in name.answers.items():
            if (known := self._answered.get(answer)) is not None:
                work = (score_again, self._bench, known, form, example, name.key)
                return await self._once.get(name.key, *work)
        return await self._once.get(name.key, evaluate_row, self._bench, program, example, name)
