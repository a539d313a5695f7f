"""Measurements of candidates: minibatches of validation rows, and their scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.evaluate import gather

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dspy

    from pytest_mipro.evaluate import StoredRows
    from pytest_mipro.optimize.mipro.search_budget import SearchBudget
    from pytest_mipro.optimize.mipro.space import Space
    from pytest_mipro.records import Candidate, Row

FIRST_MINIBATCH = 5
"""Rows a candidate is measured on at first; each further minibatch doubles them."""


@dataclass(frozen=True)
class Minibatch:
    """Validation rows to measure one candidate on.

    Attributes:
        candidate: The candidate.
        start: The first row that is not measured or under way already.
        stop: The row after the last one.
    """

    candidate: Candidate
    start: int
    stop: int


class Measurements:
    """The scores of all candidates of a search, each on a prefix of the one row order.

    A minibatch is first begun, then evaluated, then recorded. Only recorded
    scores are returned, because what is evaluated so far depends on timing.

    Attributes:
        begun: Per candidate, the rows begun, in the order of the first minibatches.
        recorded: Per candidate, the rows recorded.
        full: Rows of the validation set.
    """

    def __init__(
        self,
        space: Space,
        rows: StoredRows,
        valset: Sequence[dspy.Example],
        budget: SearchBudget,
    ) -> None:
        """Prepare to measure the candidates of ``space``.

        Args:
            space: Makes a program of a candidate.
            rows: Evaluates programs.
            valset: The validation set in the order in which rows are measured.
            budget: Pays for the rows.
        """
        self.begun: dict[Candidate, int] = {}
        self.recorded: dict[Candidate, int] = {}
        self.full = len(valset)
        self._space = space
        self._rows = rows
        self._valset = valset
        self._budget = budget
        self._programs: dict[Candidate, dspy.Module] = {}
        self._scores: dict[Candidate, list[float]] = {}
        self._new_rows: dict[Candidate, list[Row | None]] = {}

    def extend_space(self, space: Space) -> None:
        """Measure candidates of ``space``, which has more instructions, from now on."""
        self._space = space

    def scores(self, candidate: Candidate) -> list[float]:
        """Return the recorded scores of a candidate."""
        return self._scores[candidate][: self.recorded[candidate]]

    def all_scores(self) -> dict[Candidate, list[float]]:
        """Return the recorded scores of every candidate, in the order they were begun."""
        # A budget may end the search between beginning a candidate and recording it.
        candidates = [candidate for candidate in self.begun if candidate in self.recorded]
        return {candidate: self.scores(candidate) for candidate in candidates}

    def mean(self, candidate: Candidate) -> float:
        """Return the mean of the recorded scores of a candidate."""
        scores = self.scores(candidate)
        return math.fsum(scores) / len(scores)

    def total(self, candidate: Candidate, rows: int) -> float:
        """Return the sum of the first ``rows`` scores of a candidate."""
        return math.fsum(self._scores[candidate][:rows]) if rows else 0.0

    def best(self) -> Candidate:
        """Return the best candidate measured in full; the simplest one of several."""
        return min(
            (candidate for candidate, rows in self.recorded.items() if rows == self.full),
            key=lambda candidate: (-self.mean(candidate), self._space.complexity(candidate)),
        )

    def minibatch(self, candidate: Candidate, stop: int) -> Minibatch:
        """Return the rows up to ``stop`` that are not recorded."""
        return Minibatch(candidate, self.recorded.get(candidate, 0), min(stop, self.full))

    def next_minibatch(self, candidate: Candidate) -> Minibatch:
        """Return the rows that double those begun."""
        begun = self.begun.get(candidate, 0)
        return Minibatch(candidate, begun, min(max(2 * begun, FIRST_MINIBATCH), self.full))

    def count_new(self, minibatch: Minibatch) -> int:
        """Return how many rows of a minibatch cost something: those that the store lacks."""
        if not self._budget.is_limited:
            return 0
        rows = self._valset[minibatch.start : minibatch.stop]
        return self._rows.count_new(self._program(minibatch.candidate), rows)

    def begin(self, minibatch: Minibatch, new: int) -> None:
        """Begin a minibatch with ``new`` rows to pay for."""
        self.begun[minibatch.candidate] = minibatch.stop
        self._budget.begin(new)

    async def evaluate(self, minibatch: Minibatch) -> None:
        """Evaluate the rows of a minibatch."""
        candidate = minibatch.candidate
        rows = await self._rows.evaluate(self._program(candidate), self._valset[: minibatch.stop])
        if len(rows) > len(self._scores.get(candidate, ())):
            self._scores[candidate] = [row.score for row in rows]
            self._new_rows[candidate] = [
                row if self._rows.is_new(row.key) else None for row in rows
            ]

    def record(self, minibatch: Minibatch) -> None:
        """Record an evaluated minibatch: from now on its scores are returned."""
        self._budget.finish(self._paid(minibatch))
        recorded = self.recorded.get(minibatch.candidate, 0)
        self.recorded[minibatch.candidate] = max(minibatch.stop, recorded)

    async def extend(self, candidates: Sequence[Candidate], rows: int) -> None:
        """Measure ``candidates`` side by side on their first ``rows`` rows."""
        minibatches = [self.minibatch(candidate, rows) for candidate in dict.fromkeys(candidates)]
        unrecorded = [batch for batch in minibatches if batch.start < batch.stop]
        for minibatch in unrecorded:
            self.begun[minibatch.candidate] = minibatch.stop
        await gather([self.evaluate(minibatch) for minibatch in unrecorded])
        for minibatch in unrecorded:
            self._budget.begin(len(self._paid(minibatch)))
            self.record(minibatch)

    def _program(self, candidate: Candidate) -> dspy.Module:
        if candidate not in self._programs:
            self._programs[candidate] = self._space.program(candidate)
        return self._programs[candidate]

    def _paid(self, minibatch: Minibatch) -> list[Row]:
        """Return the rows that were not in the store before."""
        if not self._budget.is_limited:
            return []
        rows = self._new_rows[minibatch.candidate][minibatch.start : minibatch.stop]
        return [row for row in rows if row is not None]
