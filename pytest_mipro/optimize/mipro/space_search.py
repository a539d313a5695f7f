"""The search of one space: open, explore, and measure the best candidates in full.

``search.py`` says why it goes this way, and ``learning.py`` what rounds add to it.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.evaluate import cancel_all, first_result, gather
from pytest_mipro.optimize.mipro.acquisition import Acquisition
from pytest_mipro.optimize.mipro.search_limits import (
    OPENING_ROWS,
    PROMISING,
    RIVAL_TURNS,
    RIVALS,
    UNDER_WAY,
)
from pytest_mipro.records import Progress, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytest_mipro.optimize.mipro.measurements import Measurements, Minibatch
    from pytest_mipro.optimize.mipro.rounds import Draft
    from pytest_mipro.optimize.mipro.search_budget import SearchBudget
    from pytest_mipro.optimize.mipro.search_limits import SearchLimits
    from pytest_mipro.optimize.mipro.space import Space
    from pytest_mipro.records import Candidate

_ROUNDS_SHARE = 2 / 3
"""Share of the rows that a budget allows before the final that is left for rounds."""
_ENOUGH_FOR_RIVALS = 0.6
"""Share of the validation rows after which the best candidate's rivals are chosen."""
_FIRST_OF_RIVAL = 0.25
"""Share of the validation rows that a rival is measured on at least."""


class SpaceSearch:
    """The search of one space.

    Attributes:
        space: The space, with all instructions that there are so far.
        drafts: The candidates that the rounds added.
        cut_of_rounds: The limit that ended the rounds; empty if none did.
        acquisition: Expects the scores of all candidates.
    """

    def __init__(
        self,
        space: Space,
        measurements: Measurements,
        limits: SearchLimits,
        budget: SearchBudget,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.cut = self._cut_of_exploring = self.cut_of_rounds = ""
        self.drafts: list[Draft] = []
        self.space = space
        self._measurements = measurements
        self._limits = limits
        self._budget = budget
        self._on_progress = on_progress
        self._full = full = measurements.full
        self.acquisition = Acquisition(space, limits.seed, measurements)
        all_rows = min(space.size, limits.candidates + 1) * full
        self._row_budget = min(limits.row_budget(sum(space.sizes), full), all_rows)
        self._most_candidates = limits.candidates
        self._begun = self._left_for_rounds = 0

    @property
    def any_cut(self) -> str:
        """The limit that ended the search early, or a part of it."""
        return self.cut or self.cut_of_rounds or self._cut_of_exploring

    async def explore(self, *, leave_for_rounds: bool) -> None:
        """Spend the row budget, with a share of its rows under way at a time."""
        if leave_for_rounds:
            most = self._limits.most_rows_of_rounds(len(self.space.instructions), self._full)
            self._left_for_rounds = self._budget.part(_ROUNDS_SHARE, most, beside=self._full)
        begun = self.space.opening[: self._limits.candidates + 1]
        self._refuse_unaffordable(begun)
        await self._measurements.extend(begun, OPENING_ROWS)
        for candidate in begun:
            self.acquisition.learn(candidate)
        await self._explore_on()

    async def explore_rest(self) -> None:
        """Spend the part of the budget that was left for rounds, if it cut the search."""
        if self._cut_of_exploring and not self.cut:
            self._left_for_rounds = 0
            await self._explore_on()

    async def _explore_on(self) -> None:
        self._cut_of_exploring = ""
        try:
            await self._measure_minibatches()
        except BudgetExceeded as error:
            # Rows cost more than the rows before them; the recorded ones decide.
            self.cut = error.limit

    async def measure(self, candidates: Sequence[Candidate], rows: int) -> None:
        """Measure candidates on their first rows, beside those of the row budget."""
        measurements = self._measurements
        minibatches = [measurements.minibatch(candidate, rows) for candidate in candidates]
        self._row_budget += sum(max(0, batch.stop - batch.start) for batch in minibatches)
        await measurements.extend(candidates, rows)
        self._on_progress(self._progress())

    def add(self, draft: Draft) -> None:
        """Search the instructions of a draft, too."""
        self.space = draft.space
        self._measurements.extend_space(draft.space)
        self.acquisition.extend(draft.space)
        self._most_candidates += 1 + len(draft.candidates) + PROMISING

    async def _measure_minibatches(self) -> None:
        under_way: deque[tuple[Minibatch, asyncio.Task[None]]] = deque()
        try:
            while (minibatch := self._next(under_way)) or under_way:
                if minibatch is None:
                    await first_result([task for _, task in under_way])
                    self._record(under_way.popleft()[0])
                else:
                    self._begun += 1
                    task = asyncio.ensure_future(self._measurements.evaluate(minibatch))
                    under_way.append((minibatch, task))
        finally:
            cancel_all([task for _, task in under_way])

    def _next(self, under_way: Iterable[tuple[Minibatch, object]]) -> Minibatch | None:
        """Choose a minibatch; None if enough rows are under way, or there is nothing to choose."""
        rows = sum(batch.stop - batch.start for batch, _ in under_way)
        return self._choose(self._begun) if rows < UNDER_WAY * self._row_budget else None

    def _record(self, minibatch: Minibatch) -> None:
        self._measurements.record(minibatch)
        self.acquisition.learn(minibatch.candidate)
        self._on_progress(self._progress())

    def _choose(self, number: int) -> Minibatch | None:
        """Choose minibatch ``number``; None if the rows, the candidates or the budget are spent."""
        begun = self._measurements.begun
        is_spent = sum(begun.values()) >= self._row_budget
        is_cut = self.cut or self._cut_of_exploring
        if is_cut or (is_spent and number >= self.acquisition.introductions):
            return None
        for candidate in self.acquisition.proposals(number):
            rows = begun.get(candidate, 0)
            if rows < self._full and not (rows == 0 and self._has_all_candidates):
                minibatch = self._measurements.next_minibatch(candidate)
                return minibatch if self._begin(minibatch) else None
        return None

    def _begin(self, minibatch: Minibatch) -> bool:
        """Begin a minibatch and return True, or end the search if the budget does not allow it."""
        new = self._measurements.count_new(minibatch)
        limit = self._budget.limit_against(new + self._full + self._left_for_rounds)
        if limit is not None:
            self._cut_of_exploring = str(limit)
            return False
        self._measurements.begin(minibatch, new)
        return True

    def _refuse_unaffordable(self, candidates: Sequence[Candidate]) -> None:
        measurements = self._measurements
        new = sum(
            measurements.count_new(measurements.minibatch(candidate, OPENING_ROWS))
            for candidate in candidates
        )
        if (limit := self._budget.limit_against(new + self._full)) is not None:
            raise self._budget.error(limit)

    @property
    def _has_all_candidates(self) -> bool:
        return len(self._measurements.begun) > self._most_candidates

    async def choose_winner(self) -> Candidate:
        """Return the best candidate in full, once none is expected to be better."""
        measurements, full, baseline = self._measurements, self._full, self.space.baseline
        finalists = await self._finalists()
        # All rows are asked for at once, though a part of them is enough to choose the rivals.
        minibatches = [measurements.minibatch(candidate, full) for candidate in finalists]
        whole = gather([measurements.evaluate(minibatch) for minibatch in minibatches])
        part = measurements.extend(finalists, math.ceil(_ENOUGH_FOR_RIVALS * full))
        tasks = [asyncio.ensure_future(work) for work in (part, whole)]
        try:
            await first_result(tasks)
            await self._measure_rivals(finalists)
        except BudgetExceeded as error:
            self.cut = self.cut or error.limit
        finally:
            cancel_all(tasks)
        await measurements.extend(finalists, full)
        while self._undecided(measurements.best()) and measurements.recorded[baseline] < full:
            await measurements.extend([baseline], full)
        return measurements.best()

    async def _finalists(self) -> list[Candidate]:
        """Return the best candidate so far, and the baseline unless that is worse."""
        measurements, baseline = self._measurements, self.space.baseline
        leader = self.ranking()[0]
        minibatches = [
            measurements.minibatch(candidate, self._full) for candidate in (leader, baseline)
        ]
        limit = self._budget.limit_against(sum(map(measurements.count_new, minibatches)))
        if limit is None:
            return [leader, *self._undecided(leader)]
        finalist = await self._only_finalist()
        if finalist != leader:
            self.cut = self.cut or str(limit)
        return [finalist]

    async def _only_finalist(self) -> Candidate:
        """Return the best candidate that is ahead on all the baseline's rows, or the baseline."""
        measurements, baseline = self._measurements, self.space.baseline
        shared = measurements.recorded[baseline]
        for candidate in takewhile(lambda candidate: candidate != baseline, self.ranking()):
            new = measurements.count_new(measurements.minibatch(candidate, shared))
            if self._budget.limit_against(new + self._full - shared) is None:
                await measurements.extend([candidate], shared)
                if not self._undecided(candidate):
                    return candidate
        return baseline

    async def _measure_rivals(self, finalists: Sequence[Candidate]) -> None:
        """Measure the candidates that are expected to be better than those measured in full.

        The rest of the ``finalists``' rows is measured beside the first of them.
        """
        measurements, full, baseline = self._measurements, self._full, self.space.baseline
        for _ in range(RIVAL_TURNS):
            self._on_progress(self._progress())
            rivals = self._rivals(finalists)
            if not rivals:
                break
            rest = [measurements.minibatch(candidate, full) for candidate in finalists]
            new = sum(map(measurements.count_new, [*rivals, *rest]))
            new += full - measurements.recorded[baseline]
            if (limit := self._budget.limit_against(new)) is not None:
                self.cut = self.cut or str(limit)
                break
            extended = [measurements.extend([rival.candidate], rival.stop) for rival in rivals]
            await gather([measurements.extend(finalists, full), *extended])

    def _rivals(self, finalists: Sequence[Candidate]) -> list[Minibatch]:
        recorded = self._measurements.recorded
        in_full = {candidate for candidate, rows in recorded.items() if rows == self._full}
        measured = in_full.union(finalists)
        ahead = takewhile(lambda candidate: candidate not in measured, self.ranking())
        first = math.ceil(_FIRST_OF_RIVAL * self._full)
        return [
            self._measurements.minibatch(candidate, max(first, 2 * recorded.get(candidate, 0)))
            for candidate in islice(ahead, RIVALS)
        ]

    def _undecided(self, leader: Candidate) -> list[Candidate]:
        """Return the baseline, unless the leader is ahead of it on the rows they share."""
        baseline, recorded = self.space.baseline, self._measurements.recorded
        rows = min(recorded.get(leader, 0), recorded[baseline])
        total = self._measurements.total
        is_decided = leader == baseline or total(leader, rows) > total(baseline, rows)
        return [] if is_decided else [baseline]

    def ranking(self) -> list[Candidate]:
        """Return candidates by expected score, the best first."""
        return self.acquisition.ranking(measured_only=self._has_all_candidates)

    def trials(self) -> tuple[Trial, ...]:
        """Return every candidate but the baseline as a trial."""
        recorded, mean = self._measurements.recorded, self._measurements.mean
        candidates = [
            candidate
            for candidate in self._measurements.all_scores()
            if candidate != self.space.baseline
        ]
        return tuple(
            Trial(
                number,
                candidate,
                recorded[candidate],
                mean(candidate),
                dropped=recorded[candidate] < self._full,
            )
            for number, candidate in enumerate(candidates)
        )

    def _progress(self) -> Progress:
        recorded = self._measurements.recorded
        done = min(sum(recorded.values()), self._row_budget)
        best = max(map(self._measurements.mean, recorded))
        return Progress("search", done, self._row_budget, best=best)
