"""The search: the third phase of MIPROv2.

The paper measures candidates that Optuna's tree-structured Parzen estimator
(Bergstra et al., 2011) proposes, each on a random minibatch, and the best of
them on the full validation set. The differences and their reasons:

- Rows have one fixed order, and a candidate is measured on a prefix of it,
  first on a few rows, then on twice as many. Any two candidates share rows, a
  row is evaluated once, and a bad candidate costs only the rows that show it.
- Demo sets come first, with the student's own instructions, because they are
  ready before the instructions are. Demo sets that take longer to make are
  introduced later, as the instructions are, and on as few rows.
- The next candidate is chosen by Thompson sampling from an additive model of
  all rows so far (``acquisition.py``, ``surrogate.py``), because instructions
  and demo sets mostly help or hurt in any combination. The Parzen estimator
  (``parzen.py``) proposes every ``TPE_EVERY``-th candidate, for the
  combinations in which they do not.
- Minibatches are chosen while less than a share of the rows, ``UNDER_WAY``, is
  under way, and recorded in the order in which they were chosen. So there is no
  barrier, and the result is the same at any parallelism.
- The paper measures the best candidate in full every few trials. This search
  does it at the end: the candidate with the highest expected score is measured
  on the full validation set, then the candidates that are expected to be better
  still. The first of these are measured beside its last rows. Ties go to the
  simpler program, and the baseline wins unless it is beaten.
- Once the rows are spent, further instructions are written from the mistakes of
  the best candidate, in rounds (``rounds.py``), and compete in the same search.
- A budget may end the search early. Enough of it is reserved to measure a
  candidate in full. Of the rest, up to ``_ROUNDS_SHARE`` is for the rounds,
  because instructions that are written from mistakes mostly gain more than
  further combinations do. ``search_budget.py`` says how the budget decides.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.evaluate import cancel_all, first_result, gather
from pytest_mipro.optimize.mipro.acquisition import Acquisition
from pytest_mipro.optimize.mipro.measurements import Measurements
from pytest_mipro.optimize.mipro.rounds import LEAST_GAIN, PATIENCE
from pytest_mipro.optimize.mipro.search_budget import SearchBudget
from pytest_mipro.optimize.mipro.search_limits import (
    DRAFT_ROWS,
    OPENING_ROWS,
    PROMISING,
    PROMISING_ROWS,
    RIVAL_TURNS,
    RIVALS,
    UNDER_WAY,
    WRITERS,
)
from pytest_mipro.records import Candidate, Progress, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import dspy

    from pytest_mipro.evaluate import StoredRows
    from pytest_mipro.optimize.mipro.measurements import Minibatch
    from pytest_mipro.optimize.mipro.rounds import Draft, Rounds
    from pytest_mipro.optimize.mipro.search_limits import SearchLimits
    from pytest_mipro.optimize.mipro.space import Space
    from pytest_mipro.records import Row

_ROUNDS_SHARE = 2 / 3
"""Share of the rows that a budget allows before the final that is left for rounds."""
_ENOUGH_FOR_RIVALS = 0.6
"""Share of the validation rows after which the best candidate's rivals are chosen."""
_FIRST_OF_RIVAL = 0.25
"""Share of the validation rows that a rival is measured on at least."""


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        winner: The best candidate on the full validation set.
        trials: Every candidate measured but the baseline, in the order they were first chosen.
        cut: The limit that ended the search early; empty if none did.
        scores: Of every candidate measured, its scores on a prefix of the row order.
        space: The space that was searched at last.
        drafts: The candidates that the rounds added.
    """

    winner: Candidate
    trials: tuple[Trial, ...]
    cut: str
    scores: dict[Candidate, list[float]] = field(hash=False)
    space: Space = field(hash=False, compare=False)
    drafts: tuple[Draft, ...] = field(default=(), hash=False, compare=False)


class Search:
    """Finds the best candidate of a space on a validation set."""

    def __init__(
        self,
        rows: StoredRows,
        valset: Sequence[dspy.Example],
        limits: SearchLimits,
        on_progress: Callable[[Progress], None],
        budget: SearchBudget | None = None,
    ) -> None:
        """Prepare a search.

        Args:
            rows: Evaluates programs.
            valset: The examples that candidates are measured on.
            limits: How much to search.
            on_progress: Called with the progress of the search.
            budget: The most that the search may spend.
        """
        self._budget = budget or SearchBudget()
        self._rows = rows
        self._valset = random.Random(limits.seed).sample(list(valset), len(valset))
        self._limits = limits
        self._on_progress = on_progress

    async def first_rows(self, program: dspy.Module, count: int) -> list[Row]:
        """Return the rows of ``program`` that every search begins with, at most ``count``."""
        return await self._rows.evaluate(program, self._valset[:count])

    async def prefetch(self, space: Space) -> None:
        """Evaluate the rows that every search of a space with these demo sets begins with."""
        rows = self._valset[:OPENING_ROWS]
        programs = [space.program(candidate) for candidate in space.opening]
        await gather([self._rows.evaluate(program, rows) for program in programs])

    async def run(self, space: Space, rounds: Rounds | None = None) -> SearchResult:
        """Search ``space`` and return the winner.

        Args:
            space: The first options of each predictor.
            rounds: Writes further instructions; None writes none.

        Raises:
            BudgetExceeded: The budget does not suffice to begin and to measure a winner.
        """
        measurements = Measurements(space, self._rows, self._valset, self._budget)
        search = _SpaceSearch(space, measurements, self._limits, self._budget, self._on_progress)
        await search.explore(leave_for_rounds=rounds is not None)
        if rounds is not None:
            await search.learn(rounds)
        self._budget.reserve(0)
        winner = await search.choose_winner()
        scores = measurements.all_scores()
        return SearchResult(
            winner, search.trials(), search.any_cut, scores, search.space, tuple(search.drafts)
        )


class _SpaceSearch:
    """The search of one space."""

    def __init__(
        self,
        space: Space,
        measurements: Measurements,
        limits: SearchLimits,
        budget: SearchBudget,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.cut = self._cut_of_exploring = self._cut_of_rounds = ""
        self.drafts: list[Draft] = []
        self.space = space
        self._measurements = measurements
        self._limits = limits
        self._budget = budget
        self._on_progress = on_progress
        self._full = full = measurements.full
        self._acquisition = Acquisition(space, limits.seed, measurements)
        all_rows = min(space.size, limits.candidates + 1) * full
        self._row_budget = min(limits.row_budget(sum(space.sizes), full), all_rows)
        self._most_candidates = limits.candidates
        self._begun = self._left_for_rounds = 0

    @property
    def any_cut(self) -> str:
        """The limit that ended the search early, or a part of it."""
        return self.cut or self._cut_of_rounds or self._cut_of_exploring

    async def explore(self, *, leave_for_rounds: bool) -> None:
        """Spend the row budget, with a share of its rows under way at a time."""
        if leave_for_rounds:
            most = self._limits.most_rows_of_rounds(len(self.space.instructions), self._full)
            self._left_for_rounds = self._budget.part(_ROUNDS_SHARE, most, beside=self._full)
        begun = self.space.opening[: self._limits.candidates + 1]
        self._refuse_unaffordable(begun)
        await self._measurements.extend(begun, OPENING_ROWS)
        for candidate in begun:
            self._acquisition.learn(candidate)
        await self._explore_on()

    async def _explore_on(self) -> None:
        self._cut_of_exploring = ""
        try:
            await self._measure_minibatches()
        except BudgetExceeded as error:
            # Rows cost more than the rows before them; the recorded ones decide.
            self.cut = error.limit

    async def learn(self, rounds: Rounds) -> None:
        """Measure what each round writes, while a further one is expected to gain something."""
        without_gain = 0
        try:
            while rounds.remain and without_gain < PATIENCE:
                draft = await self._learn_once(rounds)
                if draft is None or self._cut_of_rounds:
                    break
                without_gain = 0 if self._has_gained(draft) else without_gain + 1
        except BudgetExceeded as error:
            self.cut = self.cut or error.limit
        if self._cut_of_exploring and not self.cut:  # Of what is left, no round may be possible.
            self._left_for_rounds = 0
            await self._explore_on()

    async def _learn_once(self, rounds: Rounds) -> Draft | None:
        """Run a round, and return its candidates; None if there are none, or the budget ends it."""
        leader = self._ranking()[0]
        attempts = rounds.attempts(leader)
        requests = WRITERS * len(self.space.instructions)
        runs = rounds.count_new(self.space, leader, attempts)
        measured = WRITERS * min(DRAFT_ROWS, self._full)  # Else what is written is of no use.
        if not self._affords(requests + runs + measured):
            return None
        draft = await rounds.draft(self.space, leader, attempts)
        self._budget.count_phases(rounds.spent)
        if draft is None:
            return None
        self._extend_space(draft)
        if await self._compare([leader, *draft.candidates], DRAFT_ROWS):
            self.drafts.append(draft)
            await self._compare(self._ranking()[:PROMISING], PROMISING_ROWS)
        return draft

    def _extend_space(self, draft: Draft) -> None:
        self.space = draft.space
        self._measurements.extend_space(draft.space)
        self._acquisition.extend(draft.space)
        self._most_candidates += 1 + len(draft.candidates) + PROMISING

    async def _compare(self, candidates: Sequence[Candidate], rows: int) -> bool:
        """Measure candidates on their first rows, and return whether the budget allows that."""
        measurements = self._measurements
        minibatches = [measurements.minibatch(candidate, rows) for candidate in candidates]
        if not self._affords(sum(map(measurements.count_new, minibatches))):
            return False
        self._row_budget += sum(max(0, batch.stop - batch.start) for batch in minibatches)
        await measurements.extend(candidates, rows)
        self._on_progress(self._progress())
        return True

    def _has_gained(self, draft: Draft) -> bool:
        expected = self._acquisition.expected(measured_only=False)
        best = next(iter(expected))
        return expected[best] - expected[draft.leader] > LEAST_GAIN

    def _affords(self, new: int) -> bool:
        """Return whether the budget allows ``new`` rows; end the rounds if it does not."""
        if (limit := self._budget.limit_against(new + self._full)) is not None:
            self._cut_of_rounds = str(limit)
        return limit is None

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
        self._acquisition.learn(minibatch.candidate)
        self._on_progress(self._progress())

    def _choose(self, number: int) -> Minibatch | None:
        """Choose minibatch ``number``; None if the rows, the candidates or the budget are spent."""
        begun = self._measurements.begun
        is_spent = sum(begun.values()) >= self._row_budget
        is_cut = self.cut or self._cut_of_exploring
        if is_cut or (is_spent and number >= self._acquisition.introductions):
            return None
        for candidate in self._acquisition.proposals(number):
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
        leader = self._ranking()[0]
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
        for candidate in takewhile(lambda candidate: candidate != baseline, self._ranking()):
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
        ahead = takewhile(lambda candidate: candidate not in measured, self._ranking())
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

    def _ranking(self) -> list[Candidate]:
        return self._acquisition.ranking(measured_only=self._has_all_candidates)

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
