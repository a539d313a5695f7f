"""
Rollouts: the same program on the same example, answered several times.

A model that samples gives another answer each time; the mean of several scores
says more about a program than one of them. The first rollout is what is asked
for without any, so rows that are stored are used whatever the number.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from pytest_mipro.canonical import digest
from pytest_mipro.evaluate.evaluator import Evaluator, StoredRows, stored_rows, unscored
from pytest_mipro.evaluate.executor import WorkerPool, gather
from pytest_mipro.records import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dspy

    from pytest_mipro.store import Store

ExampleRows: TypeAlias = tuple[Row, ...]
"""The rows of one program on one example, by rollout."""


def mean_score(answers: ExampleRows) -> float:
    """Return the mean score of one program on one example."""
    return math.fsum(row.score for row in answers) / len(answers)


class RolloutEvaluator:
    """Evaluates programs on examples, each pair several times."""

    def __init__(self, bench: Evaluator, count: int) -> None:
        """
        Prepare benches.

        Args:
            bench: What rows are evaluated with; its settings name the ``lm``.
            count: Rollouts, at least one.

        """
        self._benches = [_bench_of(bench, number) for number in range(count)]

    def stored(
        self, store: Store, program: dspy.Module, examples: Sequence[dspy.Example]
    ) -> list[ExampleRows] | None:
        """Return the rows of ``program`` on ``examples`` if the store has them all."""
        found = []
        for number, bench in enumerate(self._benches):
            rows = stored_rows(bench, store, _asked_anew(program, number), examples)
            if rows is None:
                return None
            found.append(rows)
        return list(zip(*found, strict=True))

    def missing(
        self, store: Store, programs: Sequence[dspy.Module], examples: Sequence[dspy.Example]
    ) -> list[int]:
        """Return, by rollout, for how many of ``examples`` the store lacks a row."""
        return [
            unscored(bench, store, [_asked_anew(each, number) for each in programs], examples)
            for number, bench in enumerate(self._benches)
        ]

    async def evaluate(
        self,
        programs: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        store: Store,
        workers: WorkerPool,
    ) -> list[list[ExampleRows]]:
        """Return the rows of each program on ``examples``, in their order."""
        rollouts = [StoredRows(bench, store, workers) for bench in self._benches]
        found = await gather(
            [
                rows.evaluate(_asked_anew(program, number), examples)
                for program in programs
                for number, rows in enumerate(rollouts)
            ]
        )
        count = len(rollouts)
        return [
            list(zip(*found[start : start + count], strict=True))
            for start in range(0, len(found), count)
        ]


def _bench_of(bench: Evaluator, number: int) -> Evaluator:
    if number == 0:
        return bench
    return replace(
        bench,
        settings={**bench.settings, "lm": _anew(bench.settings["lm"], number)},
        key=digest([bench.key, {"rollout": number}]),
        answers=None if bench.answers is None else digest([bench.answers, {"rollout": number}]),
    )


def _asked_anew(program: dspy.Module, number: int) -> dspy.Module:
    """Return ``program``, or a copy in which predictors with a model of their own ask it anew."""
    if number == 0 or all(predictor.lm is None for predictor in program.predictors()):
        return program
    copied: dspy.Module = program.deepcopy()
    for own, predictor in zip(program.predictors(), copied.predictors(), strict=True):
        predictor.lm = None if own.lm is None else _anew(own.lm, number)
    return copied


def _anew(lm: dspy.BaseLM, number: int) -> dspy.BaseLM:
    # It is part of the key of DSPy's cache, and of nothing that goes over the wire.
    copied: dspy.BaseLM = lm.copy(rollout_id=number)
    return copied
