"""Evaluate programs on the held-out examples of a task."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import dspy

from pytest_mipro.evaluate import (
    EvaluatedProgram,
    Evaluator,
    FurtherMetric,
    RolloutEvaluator,
    available_rows,
    check_not_broken,
    original_usages,
)
from pytest_mipro.fingerprint import evaluation_key, predictions_key
from pytest_mipro.records import Progress, Usage
from pytest_mipro.session.context import further_metric_keys
from pytest_mipro.session.results import HeldOutRows, ScoredProgram
from pytest_mipro.session.scorecards import card_of, further_cards, scored_program
from pytest_mipro.spending import current_account

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_mipro.evaluate import ExampleRows, WorkerPool
    from pytest_mipro.records import Row, Scorecard
    from pytest_mipro.session.callbacks import Callbacks
    from pytest_mipro.session.policy import Policy
    from pytest_mipro.session.storage import Storage
    from pytest_mipro.store import Store
    from pytest_mipro.task import Metric, Task

ScoredPair: TypeAlias = tuple[ScoredProgram, ScoredProgram]
"""The baseline and the compiled program."""


class Scorer:
    """Evaluates held-out rows that the store lacks, and scores programs by their rows."""

    def __init__(self, storage: Storage, policy: Policy, callbacks: Callbacks) -> None:
        """Prepare a scorer; it evaluates rows again if ``policy`` says so."""
        self._storage = storage
        self._again = policy.rescore
        self._callbacks = callbacks

    def stored(self, task: Task, compiled: dspy.Module) -> ScoredPair | None:
        """Return both programs with their stored scores, or None if the store lacks a row."""
        store = self._storage.store
        baseline_rows = self._stored(task, store, task.program)
        compiled_rows = self._stored(task, store, compiled)
        if baseline_rows is None or compiled_rows is None:
            return None
        return self._scored_pair(task, compiled, baseline_rows, compiled_rows)

    def score(self, task: Task, compiled: dspy.Module) -> tuple[ScoredPair, Usage]:
        """Return both programs with their scores, and the usage of this run.

        Raises:
            MiproError: A row cannot be evaluated, or a program fails on most examples.
        """
        programs = [task.program, compiled]
        (baseline_rows, compiled_rows), usage = self.evaluate(task, programs, task.dataset.test)
        return self._scored_pair(task, compiled, baseline_rows, compiled_rows), usage

    def evaluate(
        self, task: Task, programs: Sequence[dspy.Module], examples: Sequence[dspy.Example]
    ) -> tuple[list[HeldOutRows], Usage]:
        """Return the rows and further scores of each program, and the usage of this run.

        Raises:
            MiproError: A row cannot be evaluated.
        """
        from pytest_mipro.evaluate import WorkerPool, run_to_completion

        workers = WorkerPool(task.threads, executor=task.executor)
        account = current_account()
        if account is not None:
            account.stage = "held-out"
            account.reserve(0)
        total = len(programs) * len(examples) * task.repeat
        workers.on_record = partial(self._show_progress, task, workers, total)
        workers.on_record()
        with self._storage.opened(again=self._again) as store:
            work = self._evaluate(task, programs, examples, store, workers)
            return run_to_completion(work, workers), workers.usage

    def scorecard(self, task: Task, rows: Sequence[ExampleRows]) -> Scorecard:
        """Return the scorecard of a program with these rows."""
        (usage,) = self._usages_of([rows])
        return card_of(task, rows, usage)

    def missing_examples(self, task: Task, compiled: dspy.Module) -> int:
        """Return for how many held-out examples the store lacks a row of either program."""
        missing = _rollouts_of(task).missing(
            self._storage.store, [task.program, compiled], task.dataset.test
        )
        return max(missing)

    def missing_rows(self, task: Task, programs: Sequence[dspy.Module]) -> int:
        """Return how many held-out rows of ``programs`` have to be evaluated."""
        rollouts, test = _rollouts_of(task), task.dataset.test
        if self._again:
            return len(programs) * task.repeat * len(test)
        return sum(self._missing_rows(task, rollouts, program) for program in programs)

    def _missing_rows(self, task: Task, rollouts: RolloutEvaluator, program: dspy.Module) -> int:
        """Return how many rows of a program lack a score by any metric."""
        store, test = self._storage.store, task.dataset.test
        rows = rollouts.stored(store, program, test)
        if rows is None:
            return sum(rollouts.missing(store, [program], test))
        evaluated = EvaluatedProgram(program, test, rows)
        further = self._further_metrics(task).values()
        return max((metric.missing(store, evaluated) for metric in further), default=0)

    def most_rows(self, task: Task) -> int:
        """Return how many held-out rows have to be evaluated after a compile, at most."""
        return self.missing_rows(task, [task.program]) + task.repeat * len(task.dataset.test)

    def available_rows(self, task: Task) -> list[Row]:
        """Return the rows that the store has of the baseline, on the examples of all splits."""
        dataset = task.dataset
        examples = [*dataset.train, *dataset.val, *dataset.test]
        return available_rows(_evaluator_of(task), self._storage.store, task.program, examples)

    def _further_metrics(self, task: Task) -> dict[str, FurtherMetric]:
        return {
            name: FurtherMetric(
                key, _rollouts_by(task, _evaluator_by(task, task.further_metrics[name], {}))
            )
            for name, key in further_metric_keys(task).items()
        }

    def _stored(self, task: Task, store: Store, program: dspy.Module) -> HeldOutRows | None:
        """Return the rows and further scores of a program, or None if the store lacks any."""
        test = task.dataset.test
        rows = _rollouts_of(task).stored(store, program, test)
        if rows is None:
            return None
        further: dict[str, Sequence[float]] = {}
        for name, metric in self._further_metrics(task).items():
            scores = metric.stored(store, EvaluatedProgram(program, test, rows))
            if scores is None:
                return None
            further[name] = scores
        return HeldOutRows(rows, further)

    async def _evaluate(
        self,
        task: Task,
        programs: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        store: Store,
        workers: WorkerPool,
    ) -> list[HeldOutRows]:
        rows = await _rollouts_of(task).evaluate(programs, examples, store, workers)
        evaluated = [
            EvaluatedProgram(program, examples, program_rows)
            for program, program_rows in zip(programs, rows, strict=True)
        ]
        further = {
            name: await metric.scores(evaluated, store, workers)
            for name, metric in self._further_metrics(task).items()
        }
        return [
            HeldOutRows(program_rows, {name: scores[index] for name, scores in further.items()})
            for index, program_rows in enumerate(rows)
        ]

    def _scored_pair(
        self,
        task: Task,
        compiled: dspy.Module,
        baseline_rows: HeldOutRows,
        compiled_rows: HeldOutRows,
    ) -> ScoredPair:
        refuse_broken_programs(baseline_rows.rows, compiled_rows.rows)
        # The store is asked once for both programs.
        usages = self._usages_of([baseline_rows.rows, compiled_rows.rows])
        return (
            self._scored(task, task.program, baseline_rows, usages[0]),
            self._scored(task, compiled, compiled_rows, usages[1]),
        )

    def _scored(
        self, task: Task, program: dspy.Module, held_out: HeldOutRows, usage: Usage
    ) -> ScoredProgram:
        card, further = card_of(task, held_out.rows, usage), further_cards(task, held_out.further)
        scored = scored_program(program, card, held_out.rows)
        return replace(scored, further=further, metric_name=task.metric_name)

    def _usages_of(self, rows_of_programs: Sequence[Sequence[ExampleRows]]) -> list[Usage]:
        """Return the usage of the rows of programs, also of those from earlier runs."""
        rows = [list(chain.from_iterable(rows)) for rows in rows_of_programs]
        # A rerun has its own usage, which the store does not keep.
        if self._again:
            return [Usage.total(row.usage for row in program_rows) for program_rows in rows]
        return original_usages(self._storage.store, rows)

    def _show_progress(self, task: Task, workers: WorkerPool, total: int) -> None:
        progress = Progress(
            "evaluate",
            min(workers.resumed + workers.new_records, total),
            total,
            usage=workers.usage,
            provider_error=workers.provider_error,
        )
        self._callbacks.show_progress(task, progress)


def refuse_broken_program(name: str, rows_by_example: Sequence[ExampleRows]) -> None:
    """Raise ProgramError if a program fails on most examples: that is no score."""
    check_not_broken(name, list(chain.from_iterable(rows_by_example)))


def refuse_broken_programs(
    baseline_rows: Sequence[ExampleRows], compiled_rows: Sequence[ExampleRows]
) -> None:
    """Refuse programs that cannot be compared.

    Raises:
        ProgramError: One of them fails on most examples.
    """
    refuse_broken_program("the baseline program", baseline_rows)
    refuse_broken_program("the compiled program", compiled_rows)


def _rollouts_of(task: Task) -> RolloutEvaluator:
    return _rollouts_by(task, _evaluator_of(task))


def _rollouts_by(task: Task, evaluator: Evaluator) -> RolloutEvaluator:
    return RolloutEvaluator(evaluator, task.repeat, task.first_rollout)


def _evaluator_of(task: Task) -> Evaluator:
    keys = further_metric_keys(task)
    further = {key: task.further_metrics[name] for name, key in keys.items()}
    return _evaluator_by(task, task.metric, further)


def _evaluator_by(task: Task, metric: Metric, further: Mapping[str, Metric]) -> Evaluator:
    adapter = dspy.settings.adapter
    return Evaluator(
        metric,
        {"lm": task.lm, "adapter": adapter},
        evaluation_key(task.program, metric, task.lm, adapter, task.version),
        predictions_key(task.program, task.lm, adapter, task.version),
        further,
    )
