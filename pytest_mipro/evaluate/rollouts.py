"""Evaluate a program on the same example several times, as rollouts with numbers.

A model that samples returns another prediction each time, and the mean of several scores has
less variance than one. Rollout 0 is the row of an evaluation without rollouts, so stored rows
are used whatever the number of rollouts.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from pytest_mipro.canonical import digest
from pytest_mipro.evaluate.async_tasks import gather
from pytest_mipro.evaluate.stored_rows import StoredRows, count_missing, stored_rows
from pytest_mipro.records import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dspy

    from pytest_mipro.evaluate.evaluator import Evaluator
    from pytest_mipro.evaluate.worker_pool import WorkerPool
    from pytest_mipro.store import Store

ExampleRows: TypeAlias = tuple[Row, ...]
"""The rows of one program on one example, by rollout."""


def mean_score(rows: ExampleRows) -> float:
    """Return the mean score of one program on one example."""
    return math.fsum(row.score for row in rows) / len(rows)


class RolloutEvaluator:
    """Evaluates programs on examples, each pair several times."""

    def __init__(self, evaluator: Evaluator, count: int, first: int = 0) -> None:
        """Derive one evaluator per rollout.

        Args:
            evaluator: The evaluator of rollout 0; its settings have an ``lm``.
            count: How many rollouts, at least one.
            first: The number of the first rollout.
        """
        self._evaluators = {
            number: _rollout_evaluator(evaluator, number) for number in range(first, first + count)
        }

    def stored(
        self, store: Store, program: dspy.Module, examples: Sequence[dspy.Example]
    ) -> list[ExampleRows] | None:
        """Return the rows of ``program`` on ``examples``, or None if the store lacks any."""
        rollouts = []
        for number, evaluator in self._evaluators.items():
            rows = stored_rows(evaluator, store, _rollout_program(program, number), examples)
            if rows is None:
                return None
            rollouts.append(rows)
        return list(zip(*rollouts, strict=True))

    def missing(
        self, store: Store, programs: Sequence[dspy.Module], examples: Sequence[dspy.Example]
    ) -> list[int]:
        """Count, by rollout, the examples on which the store lacks a row."""
        return [
            count_missing(
                evaluator,
                store,
                [_rollout_program(program, number) for program in programs],
                examples,
            )
            for number, evaluator in self._evaluators.items()
        ]

    async def evaluate(
        self,
        programs: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        store: Store,
        workers: WorkerPool,
    ) -> list[list[ExampleRows]]:
        """Return the rows of each program on ``examples``, in their order."""
        rollouts = {
            number: StoredRows(evaluator, store, workers)
            for number, evaluator in self._evaluators.items()
        }
        rows = await gather(
            [
                stored.evaluate(_rollout_program(program, number), examples)
                for program in programs
                for number, stored in rollouts.items()
            ]
        )
        count = len(rollouts)
        return [
            list(zip(*rows[start : start + count], strict=True))
            for start in range(0, len(rows), count)
        ]


def _rollout_evaluator(evaluator: Evaluator, number: int) -> Evaluator:
    if number == 0:
        return evaluator
    prediction_key = evaluator.prediction_key
    rollout = {"rollout": number}
    return replace(
        evaluator,
        settings={**evaluator.settings, "lm": _rollout_lm(evaluator.settings["lm"], number)},
        key=digest([evaluator.key, rollout]),
        prediction_key=None if prediction_key is None else digest([prediction_key, rollout]),
    )


def _rollout_program(program: dspy.Module, number: int) -> dspy.Module:
    """Return ``program``, or a copy whose predictors' own models have the rollout's number."""
    if number == 0 or all(predictor.lm is None for predictor in program.predictors()):
        return program
    copied: dspy.Module = program.deepcopy()
    for own, predictor in zip(program.predictors(), copied.predictors(), strict=True):
        predictor.lm = None if own.lm is None else _rollout_lm(own.lm, number)
    return copied


def _rollout_lm(lm: dspy.BaseLM, number: int) -> dspy.BaseLM:
    # ``rollout_id`` is part of DSPy's cache key, and DSPy does not send it to the provider.
    copied: dspy.BaseLM = lm.copy(rollout_id=number)
    return copied
