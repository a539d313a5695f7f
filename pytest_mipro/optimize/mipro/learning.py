"""The rounds of a search: measure what is written, while a further round is expected to gain.

After each round the best candidates are measured on more rows. The one that is the
best before that mostly is after it, so it runs on training examples for the next round
meanwhile. If another one is better then, that one does so after it, as it would have
done; so the result is the same, at the price of a few runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.evaluate import gather_two
from pytest_mipro.optimize.mipro.search_limits import (
    DRAFT_ROWS,
    PROMISING,
    PROMISING_ROWS,
    WRITERS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.optimize.mipro.measurements import Measurements
    from pytest_mipro.optimize.mipro.rounds import Draft, Rounds
    from pytest_mipro.optimize.mipro.search_budget import SearchBudget
    from pytest_mipro.optimize.mipro.space_search import SpaceSearch
    from pytest_mipro.records import Candidate

_LEAST_GAIN = 0.01
"""Expected gain of a round that counts as one."""
_PATIENCE = 2
"""Rounds without a gain after which there is no further one."""


class Learning:
    """The rounds of one search."""

    def __init__(
        self, search: SpaceSearch, rounds: Rounds, measurements: Measurements, budget: SearchBudget
    ) -> None:
        """Prepare to extend ``search`` by what ``rounds`` write.

        Args:
            search: The search, which has spent its rows.
            rounds: Writes instructions.
            measurements: The scores of the search.
            budget: Pays for it.
        """
        self._search = search
        self._rounds = rounds
        self._measurements = measurements
        self._budget = budget
        self._full = measurements.full

    async def run(self) -> None:
        """Measure what each round writes, while a further one is expected to gain something."""
        search = self._search
        try:
            await self._run()
        except BudgetExceeded as error:
            search.cut = search.cut or error.limit
        # Of what is left, no round may be possible.
        await search.explore_rest()

    async def _run(self) -> None:
        without_gain = 0
        while self._rounds.left and without_gain < _PATIENCE and not self._search.cut_of_rounds:
            draft = await self._next_draft()
            if draft is None or not await self._measure(draft):
                break
            may_be_last = without_gain + 1 >= _PATIENCE and not self._has_gained(draft)
            await self._measure_promising(prefetch=not may_be_last)
            without_gain = 0 if self._has_gained(draft) else without_gain + 1

    async def _measure(self, draft: Draft) -> bool:
        """Measure the candidates of a draft, and return whether the budget allows that."""
        search, candidates = self._search, [draft.leader, *draft.candidates]
        search.add(draft)
        if not self._affords(self._new_rows(candidates, DRAFT_ROWS)):
            return False
        await search.measure(candidates, DRAFT_ROWS)
        search.drafts.append(draft)
        return True

    async def _measure_promising(self, *, prefetch: bool) -> None:
        """Measure the best candidates on more rows.

        Args:
            prefetch: Run the best one on training examples meanwhile. With a budget that is
                not done, because the runs may be of no use.
        """
        search, rounds = self._search, self._rounds
        promising = search.ranking()[:PROMISING]
        if not self._affords(self._new_rows(promising, PROMISING_ROWS)):
            return
        does_run = prefetch and rounds.left and not self._budget.is_limited
        attempts = rounds.attempts(promising[0]) if does_run else []
        await gather_two(
            search.measure(promising, PROMISING_ROWS),
            rounds.prefetch(search.space, promising[0], attempts),
        )

    async def _next_draft(self) -> Draft | None:
        """Run a round, and return its candidates; None if there are none, or the budget ends it."""
        search, rounds, leader = self._search, self._rounds, self._search.ranking()[0]
        attempts = rounds.attempts(leader)
        requests = WRITERS * len(search.space.instructions)
        runs = rounds.count_new(search.space, leader, attempts)
        measured = WRITERS * min(DRAFT_ROWS, self._full)  # Else what is written is of no use.
        if not self._affords(requests + runs + measured):
            return None
        draft = await rounds.draft(search.space, leader, attempts)
        self._budget.count_phases(rounds.spent)
        return draft

    def _has_gained(self, draft: Draft) -> bool:
        expected = self._search.acquisition.expected(measured_only=False)
        best = next(iter(expected))
        return expected[best] - expected[draft.leader] > _LEAST_GAIN

    def _affords(self, new: int) -> bool:
        """Return whether the budget allows ``new`` rows; end the rounds if it does not."""
        if (limit := self._budget.limit_against(new + self._full)) is not None:
            self._search.cut_of_rounds = str(limit)
        return limit is None

    def _new_rows(self, candidates: Sequence[Candidate], rows: int) -> int:
        """Count the rows that measuring candidates on their first rows costs."""
        measurements = self._measurements
        minibatches = [measurements.minibatch(candidate, rows) for candidate in candidates]
        return sum(map(measurements.count_new, minibatches))
