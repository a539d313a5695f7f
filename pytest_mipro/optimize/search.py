"""
The search: the third phase of MIPROv2.

The paper measures candidates that Optuna's tree-structured Parzen estimator
(Bergstra et al., 2011) proposes, each on a random minibatch, and the best of
them on the full validation set. What differs here, and why:

- Rows come in one fixed order, and a candidate is measured on a prefix of it, a
  few rows at a time. Any two candidates share rows, a row is evaluated once,
  and one that falls behind costs no more than it took to see that.
- What to measure next is decided by Thompson sampling from an additive model of
  all rows so far (``surrogate.py``), because instructions and demo sets mostly
  help or hurt whatever they are combined with. The estimator proposes every
  ``TPE_EVERY``-th candidate, for where they do not.
- Decision *n* knows exactly what decisions up to *n* - ``WINDOW`` came to,
  whatever has finished by then. So there is no barrier, and the outcome is the
  same at any parallelism.
- The winner is the candidate the model expects most of, measured on the full
  validation set; while it is measured another may take the lead. Ties go to the
  simpler program, and the baseline is kept unless it is beaten.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import warnings
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import optuna

from pytest_mipro.evaluate.workers import abandon, first_of, together
from pytest_mipro.optimize.surrogate import DEMOS, INSTRUCTION, Layout, Surrogate
from pytest_mipro.records import Candidate, Progress, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import dspy

    from pytest_mipro.evaluate.runner import Rows
    from pytest_mipro.optimize.space import Space

WINDOW = 20
"""Decisions under way at most; fixed, since it decides what each decision knows."""
CHUNK = 5
"""Rows one decision measures."""
SHARE = 0.17
"""Rows to search with, as a part of what the paper's schedule would evaluate."""
TPE_EVERY = 6
_ROWS_PER_OPTION = 10
_FULL_EVALUATIONS_EVERY = 5
_LOOKS = 10
"""Times the lead may be measured further before it is final."""
_FIRST_LOOK = 20


@dataclass(frozen=True)
class Effort:
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
class Found:
    """
    What a search came to.

    Attributes:
        winner: The best candidate on the full validation set.
        trials: Every candidate measured but the baseline, in the order they
            were first chosen.
        scores: Of every candidate measured, its scores on a prefix of the row
            order.

    """

    winner: Candidate
    trials: tuple[Trial, ...]
    scores: dict[Candidate, list[float]] = field(hash=False)


@dataclass(frozen=True)
class _Decision:
    """One candidate to be measured on its first ``stop`` rows."""

    candidate: Candidate
    stop: int


def opening(space: Space, seed: int) -> Iterator[Candidate]:
    """
    Yield the candidates every search begins with.

    The baseline, then every demo set with the student's own instructions,
    then every demo set with one of the others.
    """
    rng = random.Random(f"{seed}/opening")
    most = max(map(len, space.demos))
    yield space.baseline
    others = [rng.sample(range(1, len(sets)), len(sets) - 1) for sets in space.demos]
    for turn in range(most - 1):
        yield Candidate(space.baseline.instructions, _turns(others, turn))
    instructions = [rng.sample(range(1, len(each)), len(each) - 1) for each in space.instructions]
    demos = [rng.sample(range(len(sets)), len(sets)) for sets in space.demos]
    for turn in range(max(most, *map(len, space.instructions)) if any(instructions) else 0):
        yield Candidate(_turns(instructions, turn), _turns(demos, turn))


def _turns(options: Sequence[Sequence[int]], turn: int) -> tuple[int, ...]:
    return tuple(each[turn % len(each)] if each else 0 for each in options)


class Search:
    """Finds the best candidate of a space on a validation set."""

    def __init__(
        self,
        rows: Rows,
        valset: Sequence[dspy.Example],
        effort: Effort,
        on_progress: Callable[[Progress], None],
    ) -> None:
        """
        Prepare a search.

        Args:
            rows: Evaluates programs.
            valset: What candidates are measured on.
            effort: How much to search.
            on_progress: Told where the search stands.

        """
        self._rows = rows
        self._valset = random.Random(effort.seed).sample(list(valset), len(valset))
        self._effort = effort
        self._on_progress = on_progress

    async def prefetch(self, space: Space) -> None:
        """Evaluate what every search of a space with these demo sets begins with."""
        decisions = self._effort.budget(space, len(self._valset)) // CHUNK
        first = islice(opening(space, self._effort.seed), max(1, decisions))
        candidates = list(dict.fromkeys(first))[: self._effort.candidates + 1]
        rows = self._valset[:CHUNK]
        await together([self._rows.evaluate(space.program(each), rows) for each in candidates])

    async def run(self, space: Space) -> Found:
        """Search ``space`` and return the winner."""
        contest = _Contest(space, self._rows, self._valset, self._effort)
        await contest.run(self._on_progress)
        winner = await contest.final()
        return Found(winner, contest.trials(), contest.measured())


class _Contest:
    """The state of one search: what was decided, what is known."""

    def __init__(
        self, space: Space, rows: Rows, valset: Sequence[dspy.Example], effort: Effort
    ) -> None:
        self.scores: dict[Candidate, list[float]] = {}
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
        self._opening = opening(space, effort.seed)
        self._estimator = _Estimator(self._layout, effort.seed)

    async def run(self, on_progress: Callable[[Progress], None]) -> None:
        """Spend the budget, ``WINDOW`` decisions at a time."""
        budget = self._effort.budget(self._space, len(self._valset))
        total = max(1, budget // CHUNK)
        decisions: list[_Decision] = []
        tasks: list[asyncio.Task[None]] = []
        try:
            for number in range(total + WINDOW):
                learned = number - WINDOW
                if 0 <= learned < len(tasks):
                    await first_of(tasks[learned:])
                    self._learn(decisions[learned])
                    on_progress(self._progress(learned + 1, total))
                decision = self._decide(number) if number < total else None
                if decision is not None:
                    decisions.append(decision)
                    tasks.append(asyncio.ensure_future(self._measure(decision)))
        finally:
            abandon(tasks)

    async def final(self) -> Candidate:
        """Return the leader once it has been measured in full and still leads."""
        full = len(self._valset)
        for _ in range(_LOOKS):
            leader = self._leader()
            known = self._known.get(leader, 0)
            if known == full:
                break
            await self._extend(leader, max(2 * known, _FIRST_LOOK))
        else:
            await self._extend(leader, full)
        await self._confirm(leader)
        finalists = [each for each, known in self._known.items() if known == full]
        return min(
            finalists,
            key=lambda each: (-_mean(self.scores[each]), self._space.complexity(each)),
        )

    def trials(self) -> tuple[Trial, ...]:
        """Return every candidate but the baseline as a trial."""
        others = [each for each in self._asked if each != self._space.baseline]
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
        return {each: self.scores[each][: self._known[each]] for each in self._asked}

    def _decide(self, number: int) -> _Decision | None:
        """Choose what to measure next, or None if everything has been."""
        full = len(self._valset)
        taken = len(self._asked) > self._effort.candidates
        for candidate in self._wishes(number):
            asked = self._asked.get(candidate, 0)
            if asked < full and not (taken and asked == 0):
                self._asked[candidate] = stop = min(asked + CHUNK, full)
                return _Decision(candidate, stop)
        return None

    def _wishes(self, number: int) -> Iterator[Candidate]:
        """Yield candidates worth measuring, the most wanted first."""
        rng = np.random.default_rng([abs(self._effort.seed), number])
        if (first := next(self._opening, None)) is not None:
            yield first
        elif not self._known:
            yield self._candidate([int(rng.integers(size)) for size in self._layout.sizes])
        elif number % TPE_EVERY == 0:
            yield self._candidate(self._estimator.propose(number))
        if self._known:
            yield from map(self._candidate, self._surrogate().draw(rng))
        else:
            yield from self._asked

    def _learn(self, decision: _Decision) -> None:
        self._known[decision.candidate] = max(decision.stop, self._known.get(decision.candidate, 0))
        scores = self.scores[decision.candidate][: decision.stop]
        self._estimator.learn(_choices(decision.candidate), _mean(scores), len(scores))

    async def _measure(self, decision: _Decision) -> None:
        candidate = decision.candidate
        if candidate not in self._programs:
            self._programs[candidate] = self._space.program(candidate)
        rows = await self._rows.evaluate(self._programs[candidate], self._valset[: decision.stop])
        if len(rows) > len(self.scores.get(candidate, ())):
            self.scores[candidate] = [row.score for row in rows]

    async def _extend(self, candidate: Candidate, rows: int) -> None:
        stop = min(rows, len(self._valset))
        decision = _Decision(candidate, stop)
        self._asked[candidate] = stop
        await self._measure(decision)
        self._known[candidate] = stop

    async def _confirm(self, leader: Candidate) -> None:
        """
        Measure what is simpler than the leader for as long as it may be as good.

        That is the baseline until the leader is ahead of it, and any other
        until a row shows it to be worse.
        """
        baseline, full = self._space.baseline, len(self._valset)
        while self._known[baseline] < full and self._ahead(baseline, leader) >= 0:
            await self._extend(baseline, 2 * self._known[baseline])
        simpler = sorted(self._known, key=self._space.complexity)
        for each in simpler[: simpler.index(leader)]:
            while self._known[each] < full and self._never_behind(each, leader):
                await self._extend(each, 2 * self._known[each])

    def _ahead(self, one: Candidate, other: Candidate) -> float:
        """Return by how much ``one`` is ahead on the rows both are known on."""
        return math.fsum(mine - theirs for mine, theirs in self._pairs(one, other))

    def _never_behind(self, one: Candidate, other: Candidate) -> bool:
        return all(mine >= theirs for mine, theirs in self._pairs(one, other))

    def _pairs(self, one: Candidate, other: Candidate) -> list[tuple[float, float]]:
        known = min(self._known[one], self._known[other])
        return list(zip(self.scores[one][:known], self.scores[other][:known], strict=True))

    def _leader(self) -> Candidate:
        taken = len(self._asked) > self._effort.candidates
        leaders = self._surrogate().leaders(only_measured=taken)
        return min(map(self._candidate, leaders), key=self._space.complexity)

    def _surrogate(self) -> Surrogate:
        seen = {_choices(each): self.scores[each][:known] for each, known in self._known.items()}
        return Surrogate(self._layout, seen)

    def _candidate(self, choices: Sequence[int]) -> Candidate:
        predictors = len(self._space.instructions)
        return Candidate(tuple(choices[:predictors]), tuple(choices[predictors:]))

    def _progress(self, done: int, total: int) -> Progress:
        means = [_mean(self.scores[each][:known]) for each, known in self._known.items()]
        return Progress("search", done, total, best=max(means))


class _Estimator:
    """Optuna's tree-structured Parzen estimator, with a fresh seed for each proposal."""

    def __init__(self, layout: Layout, seed: int) -> None:
        self._seed = seed
        self._distributions: dict[str, optuna.distributions.BaseDistribution] = {
            str(index): optuna.distributions.CategoricalDistribution(range(size))
            for index, size in enumerate(layout.sizes)
        }
        self._study = _study()
        self._total = 0.0
        self._rows = 0

    def learn(self, choices: Sequence[int], score: float, rows: int) -> None:
        """Take a mean score over some rows, shrunk towards the mean of all."""
        self._total += score * rows
        self._rows += rows
        pool = self._total / self._rows
        trial = optuna.trial.create_trial(
            params=dict(zip(self._distributions, choices, strict=True)),
            distributions=self._distributions,
            value=(score * rows + pool * CHUNK) / (rows + CHUNK),
        )
        self._study.add_trial(trial)

    def propose(self, number: int) -> list[int]:
        """Return the choices to try as decision ``number``."""
        seed = random.Random(f"{self._seed}/{number}").randrange(2**32)
        with warnings.catch_warnings():
            # The options are pinned because their defaults change between versions.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=False
            )
        trial = self._study.ask(self._distributions)
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return [int(trial.params[name]) for name in self._distributions]


def _study() -> optuna.Study:
    # Optuna announces every new study on stderr; its verbosity is the user's to set.
    announcer = logging.getLogger(optuna.storages.InMemoryStorage.__module__)
    announcer.addFilter(_deny)
    try:
        return optuna.create_study(direction="maximize")
    finally:
        announcer.removeFilter(_deny)


def _deny(_: logging.LogRecord) -> bool:
    return False


def _choices(candidate: Candidate) -> tuple[int, ...]:
    return (*candidate.instructions, *candidate.demos)


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)
