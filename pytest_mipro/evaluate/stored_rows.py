"""Evaluate programs on examples, each pair once, and read the rows that the store has.

A prediction that can be restored from its row is made once, too: under another metric, or with a
corrected label, the stored prediction is scored again.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from pytest_mipro.evaluate.async_tasks import gather
from pytest_mipro.evaluate.failure_limit import FailureLimit
from pytest_mipro.evaluate.prediction_form import restore
from pytest_mipro.evaluate.row_keys import RowKeys, keys_of_rows, score_key
from pytest_mipro.evaluate.stored_work import StoredWork
from pytest_mipro.evaluate.work import Work
from pytest_mipro.fingerprint import prompts_key
from pytest_mipro.records import Row, Usage, shown_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import dspy

    from pytest_mipro.evaluate.evaluator import Evaluator
    from pytest_mipro.evaluate.worker_pool import WorkerPool
    from pytest_mipro.store import RowTable, Store


def evaluate_row(
    evaluator: Evaluator, program: dspy.Module, example: dspy.Example, keys: RowKeys
) -> Row:
    """Return the row of ``program`` on ``example``.

    Raises:
        MiproError: As ``Evaluator.run``.
    """
    run = evaluator.run(program, example)
    score = Row.FAILURE_SCORE if run.score is None else run.score
    prediction_key = None if run.form is None else keys.prediction_keys.get(run.form)
    return Row(
        keys.key,
        score,
        run.prediction,
        run.usage,
        run.failure,
        prediction_key,
        run.seconds,
        run.spent,
        {score_key(metric, example): score for metric, score in run.scores.items()},
        run.feedback,
    )


def rescore_row(
    evaluator: Evaluator, stored_row: Row, form: str, example: dspy.Example, key: str
) -> Row:
    """Return the row of a stored prediction with the score of the present metric.

    Its usage is that of the metric. The usage of the prediction is in the oldest row that has
    the same prediction key.

    Raises:
        MiproError: As ``Evaluator.grade``.
    """
    prediction = restore(stored_row.prediction, form)
    grade, usage = evaluator.grade(prediction, example)
    return replace(stored_row, key=key, score=grade.score, usage=usage, feedback=grade.feedback)


def stored_rows(
    evaluator: Evaluator, store: Store, program: dspy.Module, examples: Sequence[dspy.Example]
) -> list[Row] | None:
    """Return the rows of ``program`` on ``examples``, or None if the store lacks any."""
    keys = _keys(evaluator, program, examples)
    rows = store.rows.get_shown(keys)
    return [rows[key] for key in keys] if len(rows) == len(set(keys)) else None


def available_rows(
    evaluator: Evaluator, store: Store, program: dspy.Module, examples: Sequence[dspy.Example]
) -> list[Row]:
    """Return the rows of ``program`` on ``examples`` that the store has."""
    return list(store.rows.get_shown(_keys(evaluator, program, examples)).values())


def count_missing(
    evaluator: Evaluator,
    store: Store,
    programs: Sequence[dspy.Module],
    examples: Sequence[dspy.Example],
) -> int:
    """Count the examples on which the store lacks the row of any of ``programs``."""
    keys = [_keys(evaluator, program, examples) for program in programs]
    rows = store.rows.get_shown(chain.from_iterable(keys))
    return sum(not rows.keys() >= set(example_keys) for example_keys in zip(*keys, strict=True))


def original_usages(store: Store, rows_of_programs: Sequence[Sequence[Row]]) -> list[Usage]:
    """Return the usage of the runs that made the predictions of rows, by program.

    A row that was scored again has the usage of its metric; the oldest row of the same
    prediction has that of the run.
    """
    originals = store.rows.usage_by_prediction(
        row.prediction_key
        for row in chain.from_iterable(rows_of_programs)
        if row.prediction_key is not None
    )
    return [
        Usage.total(originals.get(row.prediction_key or "", row.usage) for row in rows)
        for rows in rows_of_programs
    ]


def _keys(
    evaluator: Evaluator, program: dspy.Module, examples: Sequence[dspy.Example]
) -> list[str]:
    return [keys.key for keys in keys_of_rows(evaluator, prompts_key(program), examples)]


class _RowWork(StoredWork[Row]):
    """Evaluates rows, and keeps as much of them in memory as reports show."""

    def __init__(self, table: RowTable, workers: WorkerPool) -> None:
        super().__init__(table, workers, lambda row: row.failure is not None)
        self._rows = table

    def _read(self, keys: list[str]) -> dict[str, Row]:
        return self._rows.get_shown(keys)

    def _in_memory(self, record: Row) -> Row:
        return shown_row(record)


class StoredRows:
    """Evaluates programs on examples, each pair once."""

    def __init__(
        self,
        evaluator: Evaluator,
        store: Store,
        workers: WorkerPool,
        failure_limit: FailureLimit | None = None,
    ) -> None:
        """Evaluate with ``evaluator`` on ``workers``, and keep rows in ``store``."""
        self._evaluator = evaluator
        self._store = store
        self._work = _RowWork(store.rows, workers)
        self._failure_limit = failure_limit or FailureLimit()
        self._looked_up: set[str] = set()
        self._rows_by_prediction: dict[str, Row] = {}
        self._prompts: dict[int, tuple[dspy.Module, str]] = {}
        self._keys: dict[tuple[str, int], tuple[dspy.Example, RowKeys]] = {}

    async def evaluate(self, program: dspy.Module, examples: Sequence[dspy.Example]) -> list[Row]:
        """Return the rows of ``program`` on ``examples``, in their order."""
        row_keys = self._row_keys(program, examples)
        self._work.look_up([keys.key for keys in row_keys])
        self._look_up_predictions(row_keys)
        rows = await gather(
            [
                self._row(program, example, keys)
                for keys, example in zip(row_keys, examples, strict=True)
            ]
        )
        self._failure_limit.check(rows)
        return rows

    def count_new(self, program: dspy.Module, examples: Sequence[dspy.Example]) -> int:
        """Count the rows of ``program`` on ``examples`` that the store did not have."""
        keys = [keys.key for keys in self._row_keys(program, examples)]
        self._work.look_up(keys)
        return sum(map(self.is_new, keys))

    def is_new(self, key: str) -> bool:
        """Whether the row of ``key`` was looked up, and the store did not have it."""
        return self._work.is_new(key)

    def _row_keys(self, program: dspy.Module, examples: Sequence[dspy.Example]) -> list[RowKeys]:
        if id(program) not in self._prompts:
            # The reference keeps the program alive, so that no later one gets the same id.
            self._prompts[id(program)] = program, prompts_key(program)
        _, prompts = self._prompts[id(program)]
        return [self._keys_of_row(prompts, example) for example in examples]

    def _keys_of_row(self, prompts: str, example: dspy.Example) -> RowKeys:
        entry = self._keys.get((prompts, id(example)))
        if entry is None:
            # The reference keeps the example alive, so that no later one gets the same id.
            (keys,) = keys_of_rows(self._evaluator, prompts, [example])
            entry = self._keys[prompts, id(example)] = example, keys
        return entry[1]

    def _look_up_predictions(self, row_keys: Iterable[RowKeys]) -> None:
        """Read the rows that have the same predictions, in one query, each row once."""
        new = [keys for keys in row_keys if keys.key not in self._looked_up]
        self._looked_up.update(keys.key for keys in new)
        prediction_keys = [key for keys in new for key in keys.prediction_keys.values()]
        if prediction_keys:
            self._rows_by_prediction.update(self._store.rows.by_prediction(prediction_keys))

    async def _row(self, program: dspy.Module, example: dspy.Example, keys: RowKeys) -> Row:
        work: Work[Row]
        for form, prediction_key in keys.prediction_keys.items():
            stored_row = self._rows_by_prediction.get(prediction_key)
            if stored_row is not None:
                own = stored_row, form, example, keys.key
                work = Work(rescore_row, (self._evaluator,), own, example=example)
                return await self._work.get(keys.key, work)
        _, prompts = self._prompts[id(program)]
        shared = self._evaluator, program
        work = Work(evaluate_row, shared, (example, keys), prompts, example)
        return await self._work.get(keys.key, work)
