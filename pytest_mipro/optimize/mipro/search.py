"""
The search: the third phase of MIPROv2.

The paper measures candidates that Optuna's tree-structured Parzen estimator
(Bergstra et al., 2011) proposes, each on a random minibatch, and the best of
them on the full validation set. What differs here, and why:

- Rows come in one fixed order, and a candidate is measured on a prefix of it,
  first a few rows, then twice as many. Any two candidates share rows, a row is
  evaluated once, and one that falls behind costs no more than it took to see.
- Demo sets come first, with the student's own instructions: they are there while
  the instructions are still being written. Those that take longer to make are
  introduced later, as the instructions are, and with as few rows.
- What to measure next is decided by Thompson sampling from an additive model of
  all rows so far (``surrogate.py``), because instructions and demo sets mostly
  help or hurt whatever they are combined with. The estimator (``parzen.py``)
  proposes every ``TPE_EVERY``-th candidate, for where they do not.
- Decision *n* knows exactly what decisions up to *n* - ``WINDOW`` came to,
  whatever has finished by then. So there is no barrier, and the outcome is the
  same at any parallelism.
- Instead of evaluating the best in full every few trials, this is done at the
  end: the candidate the model expects most of is measured on the full validation
  set, then whoever is expected to be better still, the first of them beside the
  last of its rows. Ties go to the simpler program, and the baseline is kept
  unless it is beaten.
- A budget may end it early. Enough is kept back to measure the best candidate so
  far and the baseline in full; see ``purse.py`` for what decides where that is.
"""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, field
from itertools import count, islice, takewhile
from typing import TYPE_CHECKING

import numpy as np

from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.evaluate import cancel_all, first_result, gather
from pytest_mipro.optimize.mipro.parzen import Parzen
from pytest_mipro.optimize.mipro.search_budget import SearchBudget
from pytest_mipro.optimize.mipro.surrogate import DEMOS, INSTRUCTION, Layout, Surrogate
from pytest_mipro.records import Candidate, Progress, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import dspy

    from pytest_mipro.evaluate import StoredRows
    from pytest_mipro.optimize.mipro.space import Space
    from pytest_mipro.records import Usage

WINDOW = 24
"""Decisions under way at most; fixed, since it decides what each decision knows."""
OPENING = 14
"""Rows every demo set is measured on while instructions are being written."""
CHUNK = 5
"""Rows a candidate is measured on at first; each further decision doubles them."""
SHARE = 0.16
"""Rows to search with, as a part of what the paper's schedule would evaluate."""
TPE_EVERY = 6
_ROWS_PER_OPTION = 10
_FULL_EVALUATIONS_EVERY = 5
RIVALS = 2
"""Candidates looked at side by side because they may be better than the best in full."""
ROUNDS = 6
"""Times this is done at most."""
_MOST_OF_IT = 0.6
"""Part of the validation rows after which the best is well enough known to see its rivals."""
_FIRST_LOOK = 0.25
"""Part of the validation rows that they are measured on at least."""


@dataclass(frozen=True)
class SearchLimits:
    """
    How much to search.

    Attributes:
        trials: Trials of the paper's schedule, which say how many rows to spend.
        rows: Validation rows each of those would be measured on.
        seed: Decides every draw.
        candidates: Most candidates to try besides the baseline.

    """

    trials: int
    rows: int
    seed: int
    candidates: int

    def budget(self, space: Space, valset: int) -> int:
        """
        Return how many rows to spend on telling candidates apart.

        A part of what the paper's schedule evaluates, but enough to try every
        option on a few rows; never more than the trials alone would take.
        """
        full = valset * (2 + self.trials // _FULL_EVALUATIONS_EVERY)
        share = SHARE * (self.trials * self.rows + full)
        options = sum(len(each) for each in (*space.instructions, *space.demos))
        return int(min(max(share, _ROWS_PER_OPTION * options), self.trials * self.rows))


@dataclass(frozen=True)
class SearchResult:
    """
    What a search came to.

    Attributes:
        winner: The best candidate on the full validation set.
        trials: Every candidate measured but the baseline, in the order they
            were first chosen.
        cut: The limit that ended the search early; empty if none did.
        scores: Of every candidate measured, its scores on a prefix of the row
            order.

    """

    winner: Candidate
    trials: tuple[Trial, ...]
    scores: dict[Candidate, list[float]] = field(hash=False)
    cut: str = ""


@dataclass(frozen=True)
class _Decision:
    """One candidate to be measured on its rows up to ``stop``, known or asked up to ``start``."""

    candidate: Candidate
    start: int
    stop: int


def opening(space: Space) -> list[Candidate]:
    """Return what every search begins with: the student's own instructions with early demo sets."""
    own = space.baseline.instructions
    return [
        Candidate(own, tuple(number % count for count in space.early))
        for number in range(max(space.early))
    ]


def _turns(options: Sequence[Sequence[int]], turn: int) -> tuple[int, ...]:
    return tuple(each[turn % len(each)] if each else 0 for each in options)


class Search:
    """Finds the best candidate of a space on a validation set."""

    def __init__(
        self,
        rows: StoredRows,
        valset: Sequence[dspy.Example],
        effort: SearchLimits,
        on_progress: Callable[[Progress], None],
        purse: SearchBudget | None = None,
    ) -> None:
        """
        Prepare a search.

        Args:
            rows: Evaluates programs.
            valset: What candidates are measured on.
            effort: How much to search.
            on_progress: Told where the search stands.
            purse: What it may spend.

        """
        self._purse = purse or SearchBudget()
        self._rows = rows
        self._valset = random.Random(effort.seed).sample(list(valset), len(valset))
        self._effort = effort
        self._on_progress = on_progress

    async def prefetch(self, space: Space) -> None:
        """Evaluate what every search of a space with these demo sets begins with."""
        rows = self._valset[:OPENING]
        await gather([self._rows.evaluate(space.program(each), rows) for each in opening(space)])

    async def run(self, space: Space) -> SearchResult:
        """
        Search ``space`` and return the winner.

        Raises:
            BudgetExceeded: There is not enough left to begin and to measure
                a winner.

        """
        contest = _Contest(space, self._rows, self._valset, self._effort, self._purse)
        await contest.run(self._on_progress)
        self._purse.keep(0)
        winner = await contest.final(self._on_progress)
        return SearchResult(winner, contest.trials(), contest.measured(), contest.cut)


class _Contest:
    """The state of one search: what was decided, what is known."""

    def __init__(
        self,
        space: Space,
        rows: StoredRows,
        valset: Sequence[dspy.Example],
        effort: SearchLimits,
        purse: SearchBudget,
    ) -> None:
        self.scores: dict[Candidate, list[float]] = {}
        self.cut = ""
        self._purse = purse
        self._new: dict[Candidate, list[Usage | None]] = {}
        self._space = space
        self._rows = rows
        self._valset = valset
        self._effort = effort
        self._layout = Layout(
            sizes=tuple(len(each) for each in (*space.instructions, *space.demos)),
            spreads=(INSTRUCTION,) * len(space.instructions) + (DEMOS,) * len(space.demos),
        )
        self._programs: dict[Candidate, dspy.Module] = {}
        self._asked: dict[Candidate, int] = {}
        self._known: dict[Candidate, int] = {}
        rng = random.Random(f"{effort.seed}/instructions")
        self._unknown = [
            rng.sample(range(1, len(each)), len(each) - 1) for each in space.instructions
        ]
        self._late = [
            range(early, len(sets)) for early, sets in zip(space.early, space.demos, strict=True)
        ]
        self._introductions = max(map(len, self._unknown)) + max(map(len, self._late))
        most = min(space.size, effort.candidates + 1) * len(valset)
        self._budget = min(effort.budget(space, len(valset)), most)
        self._estimator = Parzen(self._layout.sizes, effort.seed, prior=CHUNK)

    async def run(self, on_progress: Callable[[Progress], None]) -> None:
        """Spend the budget, ``WINDOW`` decisions at a time."""
        begun = opening(self._space)[: self._effort.candidates + 1]
        self._refuse_unaffordable(begun)
        await self._extend(begun, OPENING)
        for candidate in begun:
            self._tell_estimator(candidate)
        try:
            await self._decide_all(on_progress)
        except BudgetExceeded as error:
            # Rows cost more than those before let expect; what is known decides.
            self.cut = error.limit

    async def _decide_all(self, on_progress: Callable[[Progress], None]) -> None:
        decisions: list[_Decision] = []
        tasks: list[asyncio.Task[None]] = []
        try:
            for number in count():
                learned = number - WINDOW
                if 0 <= learned < len(tasks):
                    await first_result(tasks[learned:])
                    self._learn(decisions[learned])
                    on_progress(self._progress())
                decision = self._decide(number)
                if decision is not None:
                    decisions.append(decision)
                    tasks.append(asyncio.ensure_future(self._measure(decision)))
                elif learned + 1 >= len(tasks):
                    break
        finally:
            cancel_all(tasks)

    async def final(self, on_progress: Callable[[Progress], None]) -> Candidate:
        """Return the best candidate on all rows, once nothing is expected to be better."""
        full, baseline = len(self._valset), self._space.baseline
        leader = self._ranking()[0]
        begun = [leader, *self._undecided(leader)]
        # All of it is asked for at once, though most of it is enough to see the rivals.
        whole = gather([self._measure(self._look(each, full)) for each in begun])
        most = self._extend(begun, math.ceil(_MOST_OF_IT * full))
        tasks = [asyncio.ensure_future(each) for each in (most, whole)]
        try:
            await first_result(tasks)
            await self._meet_rivals(begun, on_progress)
        except BudgetExceeded as error:
            self.cut = self.cut or error.limit
        finally:
            cancel_all(tasks)
        await self._extend(begun, full)
        while self._undecided(self._best()) and self._known[baseline] < full:
            await self._extend([baseline], full)
        return self._best()

    async def _meet_rivals(
        self, begun: Sequence[Candidate], on_progress: Callable[[Progress], None]
    ) -> None:
        """
        Look at whoever is expected to be better than those measured in full.

        What is left of ``begun`` is measured beside the first of them.
        """
        full, baseline = len(self._valset), self._space.baseline
        for _ in range(ROUNDS):
            on_progress(self._progress())
            looks = self._looks(begun)
            if not looks:
                break
            left = [self._look(each, full) for each in begun]
            new = sum(map(self._count_new, [*looks, *left])) + full - self._known[baseline]
            if (short := self._purse.lacking(new)) is not None:
                self.cut = self.cut or str(short)
                break
            extended = [self._extend([each.candidate], each.stop) for each in looks]
            await gather([self._extend(begun, full), *extended])

    def _looks(self, begun: Sequence[Candidate]) -> list[_Decision]:
        full = len(self._valset)
        done = {*begun, *(each for each, known in self._known.items() if known == full)}
        ahead = takewhile(lambda each: each not in done, self._ranking())
        return [self._look(each, self._next_look(each)) for each in islice(ahead, RIVALS)]

    def trials(self) -> tuple[Trial, ...]:
        """Return every candidate but the baseline as a trial."""
        others = [each for each in self.measured() if each != self._space.baseline]
        return tuple(
            Trial(
                number,
                each,
                self._known[each],
                _mean(self.scores[each]),
                dropped=self._known[each] < len(self._valset),
            )
            for number, each in enumerate(others)
        )

    def measured(self) -> dict[Candidate, list[float]]:
        """Return the scores of every candidate, in the order they were first chosen."""
        # Where a budget ended the search, some were asked for and never known.
        known = [each for each in self._asked if each in self._known]
        return {each: self.scores[each][: self._known[each]] for each in known}

    def _decide(self, number: int) -> _Decision | None:
        """Choose what to measure next, or None if enough or everything has been."""
        full = len(self._valset)
        if number >= self._introductions and sum(self._asked.values()) >= self._budget:
            return None
        if self.cut:
            return None
        taken = len(self._asked) > self._effort.candidates
        for candidate in self._wishes(number):
            asked = self._asked.get(candidate, 0)
            if asked < full and not (taken and asked == 0):
                decision = _Decision(candidate, asked, min(max(2 * asked, CHUNK), full))
                return decision if self._take(decision) else None
        return None

    def _take(self, decision: _Decision) -> bool:
        """Take what a decision costs out of the purse, or say that there is not enough in it."""
        new = self._count_new(decision)
        if (short := self._purse.lacking(new + self._for_final)) is not None:
            self.cut = str(short)
            return False
        self._asked[decision.candidate] = decision.stop
        self._purse.take(new)
        return True

    def _refuse_unaffordable(self, begun: Sequence[Candidate]) -> None:
        new = sum(self._count_new(self._look(each, OPENING)) for each in begun)
        if (short := self._purse.lacking(new + self._for_final)) is not None:
            raise self._purse.exceeded(short)

    @property
    def _for_final(self) -> int:
        """Rows it takes at most to measure some candidate and the baseline in full."""
        full = len(self._valset)
        return 2 * full - max(self._known.get(self._space.baseline, 0), min(OPENING, full))

    def _look(self, candidate: Candidate, stop: int) -> _Decision:
        return _Decision(candidate, self._known.get(candidate, 0), min(stop, len(self._valset)))

    def _count_new(self, decision: _Decision) -> int:
        """Return how many rows of ``decision`` are not in the store already."""
        if not self._purse.is_limited:
            return 0
        rows = self._valset[decision.start : decision.stop]
        return self._rows.count_new(self._program(decision.candidate), rows)

    def _program(self, candidate: Candidate) -> dspy.Module:
        if candidate not in self._programs:
            self._programs[candidate] = self._space.program(candidate)
        return self._programs[candidate]

    def _wishes(self, number: int) -> Iterator[Candidate]:
        """Yield candidates worth measuring, the most wanted first."""
        rng = np.random.default_rng([abs(self._effort.seed), number])
        is_introduction = number < self._introductions
        if not is_introduction and number % TPE_EVERY == TPE_EVERY - 1:
            yield self._candidate(self._estimator.propose(number))
        drawn = map(self._candidate, self._surrogate().draw(rng))
        if is_introduction:
            yield self._introduced(number, next(drawn))
        yield from drawn

    def _introduced(self, number: int, drawn: Candidate) -> Candidate:
        """Return a candidate with what nothing is known of: instructions, then demo sets."""
        instructions = max(map(len, self._unknown))
        if number < instructions:
            return Candidate(_turns(self._unknown, number), drawn.demos)
        own = self._space.baseline.instructions
        return Candidate(own, _turns(self._late, number - instructions))

    def _learn(self, decision: _Decision) -> None:
        self._purse.learn(self._paid(decision))
        self._known[decision.candidate] = max(decision.stop, self._known.get(decision.candidate, 0))
        self._tell_estimator(decision.candidate)

    def _paid(self, decision: _Decision) -> list[Usage]:
        if not self._purse.is_limited:
            return []
        rows = self._new[decision.candidate][decision.start : decision.stop]
        return [usage for usage in rows if usage is not None]

    def _tell_estimator(self, candidate: Candidate) -> None:
        scores = self.scores[candidate][: self._known[candidate]]
        self._estimator.learn(_choices(candidate), _mean(scores), len(scores))

    async def _measure(self, decision: _Decision) -> None:
        candidate = decision.candidate
        rows = await self._rows.evaluate(self._program(candidate), self._valset[: decision.stop])
        if len(rows) > len(self.scores.get(candidate, ())):
            self.scores[candidate] = [row.score for row in rows]
            self._new[candidate] = [
                row.usage if self._rows.is_new(row.key) else None for row in rows
            ]

    async def _extend(self, candidates: Sequence[Candidate], rows: int) -> None:
        """Measure ``candidates`` side by side on their first ``rows`` rows."""
        looks = [self._look(each, rows) for each in dict.fromkeys(candidates)]
        behind = [look for look in looks if look.start < look.stop]
        for look in behind:
            self._asked[look.candidate] = look.stop
        await gather([self._measure(look) for look in behind])
        for look in behind:
            paid = self._paid(look)
            self._purse.take(len(paid))
            self._purse.learn(paid)
            self._known[look.candidate] = look.stop

    def _next_look(self, candidate: Candidate) -> int:
        first = math.ceil(_FIRST_LOOK * len(self._valset))
        return max(first, 2 * self._known.get(candidate, 0))

    def _best(self) -> Candidate:
        """Return the best of those measured in full, the simplest of them if they are equal."""
        full = len(self._valset)
        return min(
            (each for each, known in self._known.items() if known == full),
            key=lambda each: (-_mean(self.scores[each]), self._space.complexity(each)),
        )

    def _undecided(self, leader: Candidate) -> list[Candidate]:
        """Return the baseline, unless the leader is ahead of it on the rows both are known on."""
        baseline = self._space.baseline
        known = min(self._known.get(leader, 0), self._known[baseline])
        ahead = self._total(leader, known) > self._total(baseline, known)
        return [] if ahead or leader == baseline else [baseline]

    def _total(self, candidate: Candidate, rows: int) -> float:
        return math.fsum(self.scores[candidate][:rows]) if rows else 0.0

    def _ranking(self) -> list[Candidate]:
        """Return candidates by expected score, the simpler first among equals."""
        taken = len(self._asked) > self._effort.candidates
        surrogate = self._surrogate()
        pool = surrogate.measured if taken else surrogate.pool()
        # Rounded, so that candidates that are equal but for the arithmetic are equal.
        means = np.round(surrogate.means(pool), 9)
        expected = sorted(
            (-mean, self._space.complexity(each), each)
            for mean, each in zip(means, map(self._candidate, pool), strict=True)
        )
        return [each for _, _, each in expected]

    def _surrogate(self) -> Surrogate:
        seen = {_choices(each): self.scores[each][:known] for each, known in self._known.items()}
        return Surrogate(self._layout, seen)

    def _candidate(self, choices: Sequence[int]) -> Candidate:
        predictors = len(self._space.instructions)
        return Candidate(tuple(choices[:predictors]), tuple(choices[predictors:]))

    def _progress(self) -> Progress:
        means = [_mean(self.scores[each][:known]) for each, known in self._known.items()]
        done = min(sum(self._known.values()), self._budget)
        return Progress("search", done, self._budget, best=max(means))


def _choices(candidate: Candidate) -> tuple[int, ...]:
    return (*candidate.instructions, *candidate.demos)


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)
