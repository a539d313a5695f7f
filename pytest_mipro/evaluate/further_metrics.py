"""Score the predictions of evaluated rows by a further metric.

The run that made a prediction scored it by all metrics of that time. For a metric that is new or
changed, the stored prediction is scored; the program runs again only where its prediction cannot
be restored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.evaluate.async_tasks import gather
from pytest_mipro.evaluate.row_keys import score_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import dspy

    from pytest_mipro.evaluate.rollouts import ExampleRows, RolloutEvaluator
    from pytest_mipro.evaluate.worker_pool import WorkerPool
    from pytest_mipro.store import Store


@dataclass(frozen=True)
class EvaluatedProgram:
    """A program, and its rows on some examples by the optimized metric."""

    program: dspy.Module
    examples: Sequence[dspy.Example]
    rows: Sequence[ExampleRows]

    def __iter__(self) -> Iterator[tuple[dspy.Example, ExampleRows]]:
        return zip(self.examples, self.rows, strict=True)


class FurtherMetric:
    """One further metric of a task."""

    def __init__(self, metric_key: str, evaluator: RolloutEvaluator) -> None:
        """Score by the metric of ``evaluator``.

        Args:
            metric_key: The key of the metric, as in ``Evaluator.further``.
            evaluator: Evaluates the same rollouts by this metric alone.
        """
        self._metric_key = metric_key
        self._evaluator = evaluator

    def stored(self, store: Store, evaluated: EvaluatedProgram) -> list[float] | None:
        """Return the mean score on each example, or None if the store lacks any."""
        unscored = self._unscored(evaluated)
        rows = self._evaluator.stored(store, evaluated.program, list(unscored.values()))
        return (
            None if rows is None else self._means(evaluated, dict(zip(unscored, rows, strict=True)))
        )

    def missing(self, store: Store, evaluated: EvaluatedProgram) -> int:
        """Count the rows that have to be scored."""
        examples = list(self._unscored(evaluated).values())
        return sum(self._evaluator.missing(store, [evaluated.program], examples))

    async def scores(
        self, programs: Sequence[EvaluatedProgram], store: Store, workers: WorkerPool
    ) -> list[list[float]]:
        """Return the mean score of each program on each of its examples."""
        return await gather([self._scores(evaluated, store, workers) for evaluated in programs])

    async def _scores(
        self, evaluated: EvaluatedProgram, store: Store, workers: WorkerPool
    ) -> list[float]:
        unscored = self._unscored(evaluated)
        (rows,) = await self._evaluator.evaluate(
            [evaluated.program], list(unscored.values()), store, workers
        )
        return self._means(evaluated, dict(zip(unscored, rows, strict=True)))

    def _unscored(self, evaluated: EvaluatedProgram) -> dict[int, dspy.Example]:
        """Return the examples, by index, of which a row has no score by this metric."""
        return {
            index: example
            for index, (example, rows) in enumerate(evaluated)
            if None in self._row_scores(example, rows)
        }

    def _row_scores(self, example: dspy.Example, rows: ExampleRows) -> list[float | None]:
        key = score_key(self._metric_key, example)
        return [row.further_score(key) for row in rows]

    def _means(
        self, evaluated: EvaluatedProgram, further_rows: Mapping[int, ExampleRows]
    ) -> list[float]:
        return [
            _mean(self._row_scores(example, rows), further_rows.get(index, ()))
            for index, (example, rows) in enumerate(evaluated)
        ]


def _mean(row_scores: Sequence[float | None], further_rows: ExampleRows) -> float:
    """Return the mean of ``row_scores``; ``further_rows`` have those that are None."""
    scores = [
        further_rows[number].score if score is None else score
        for number, score in enumerate(row_scores)
    ]
    return math.fsum(scores) / len(scores)
