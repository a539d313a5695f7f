"""
The search: the third phase of MIPROv2.

Optuna's tree-structured Parzen estimator (Bergstra et al., 2011) proposes
candidates, as in the paper. What differs, and why:

- Rows come in one fixed order, and a candidate is measured on a prefix of it.
  Any two candidates therefore share rows, and their difference is paired,
  which shows a worse one after far fewer rows than two separate means would.
- A trial races the incumbent in chunks and is dropped as soon as the paired
  comparison says it is behind. A chunk both have been measured on is free.
- Trial *n* is asked knowing exactly the trials up to *n* - ``WINDOW``, whatever
  has finished by then. So there is no barrier between trials, and the outcome
  is the same at any parallelism.
- A mean over few rows is shrunk towards the mean over all rows before it
  guides the sampler or picks the incumbent.
- The winner is picked among the trials that were not dropped, on the full
  validation set, by successive elimination; ties go to the simpler program.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import optuna

from pytest_mipro.evaluate.workers import abandon, first_of, together
from pytest_mipro.records import Candidate, Progress, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dspy

    from pytest_mipro.evaluate.runner import Rows
    from pytest_mipro.optimize.space import Space

WINDOW = 8
"""Trials under way at most; fixed, since it decides what each trial knows."""
CHUNK = 10
"""Rows measured between two looks at a race."""
BEHIND = 1.3
"""Standard errors a candidate may be behind before it is dropped from a race."""
PRIOR_ROWS = 5
"""How many rows of the overall mean a candidate's own mean is shrunk by."""
FINALISTS = 5
_REDRAWS = 20


@dataclass(frozen=True)
class Effort:
    """
    How much to search.

    Attributes:
        trials: Candidates to propose.
        rows: Validation rows a trial is measured on at most.
        seed: Decides every draw.

    """

    trials: int
    rows: int
    seed: int


@dataclass(frozen=True)
class Found:
    """
    What a search came to.

    Attributes:
        winner: The best candidate on the full validation set.
        trials: All trials by number; the baseline is not one of them.
        scores: Of every candidate measured, its scores on the prefix of the
            row order it was measured on.

    """

    winner: Candidate
    trials: tuple[Trial, ...]
    scores: dict[Candidate, list[float]] = field(hash=False)


class Search:
    """Finds the best candidate of a space on a validation set."""

    def __init__(
        self,
        space: Space,
        rows: Rows,
        valset: Sequence[dspy.Example],
        effort: Effort,
        on_progress: Callable[[Progress], None],
    ) -> None:
        """
        Prepare a search.

        Args:
            space: What to choose from.
            rows: Evaluates programs.
            valset: What candidates are measured on.
            effort: How much to search.
            on_progress: Told after every trial.

        """
        self._space = space
        self._rows = rows
        order = random.Random(effort.seed)
        self._valset = order.sample(list(valset), len(valset))
        self._effort = effort
        self._on_progress = on_progress
        self._sampler = _Sampler(space, effort.seed)
        self._scores: dict[Candidate, list[float]] = {}
        self._programs: dict[Candidate, dspy.Module] = {}
        self._trials: dict[int, Trial] = {}
        self._incumbent = space.baseline

    async def run(self) -> Found:
        """Propose and race all trials, then pick the winner."""
        races: list[asyncio.Task[Trial]] = []
        baseline = asyncio.ensure_future(self._measure(self._space.baseline, CHUNK))
        try:
            for number in range(self._effort.trials):
                if number >= WINDOW:
                    self._settle(await first_of(races[number - WINDOW :]))
                candidate = self._sampler.ask(number)
                if candidate is None:
                    break
                races.append(asyncio.ensure_future(self._race(number, candidate, self._incumbent)))
            while len(self._trials) < len(races):
                self._settle(await first_of(races[len(self._trials) :]))
            await baseline
            winner = await self._final()
        finally:
            abandon([baseline, *races])
        trials = tuple(self._trials[number] for number in sorted(self._trials))
        return Found(winner, trials, dict(self._scores))

    async def _measure(self, candidate: Candidate, count: int) -> list[float]:
        """Return the candidate's scores on the first ``count`` rows of the order."""
        count = min(count, len(self._valset))
        known = self._scores.setdefault(candidate, [])
        if len(known) < count:
            if candidate not in self._programs:
                self._programs[candidate] = self._space.program(candidate)
            measured = await self._rows.evaluate(self._programs[candidate], self._valset[:count])
            scores = [row.score for row in measured]
            if len(scores) > len(self._scores[candidate]):
                self._scores[candidate] = scores
        return self._scores[candidate][:count]

    async def _race(self, number: int, candidate: Candidate, incumbent: Candidate) -> Trial:
        size = 0
        while size < self._effort.rows:
            size = min(size + CHUNK, self._effort.rows)
            own, other = await together(
                [self._measure(candidate, size), self._measure(incumbent, size)]
            )
            if is_behind(own, other):
                return Trial(number, candidate, len(own), _mean(own), dropped=True)
        return Trial(number, candidate, len(own), _mean(own), dropped=False)

    def _settle(self, trial: Trial) -> None:
        """Take a trial into account: for the sampler, and as a possible incumbent."""
        self._trials[trial.number] = trial
        self._sampler.tell(trial.number, self._shrunk(trial))
        standing = [each for each in self._trials.values() if not each.dropped]
        best = max(standing, key=self._shrunk, default=None)
        if best is not None:
            self._incumbent = best.candidate
        self._on_progress(
            Progress(
                "search",
                len(self._trials),
                self._effort.trials,
                best=None if best is None else best.score,
            )
        )

    def _shrunk(self, trial: Trial) -> float:
        rows = sum(each.rows for each in self._trials.values())
        pool = math.fsum(each.score * each.rows for each in self._trials.values()) / rows
        return (trial.score * trial.rows + pool * PRIOR_ROWS) / (trial.rows + PRIOR_ROWS)

    async def _final(self) -> Candidate:
        """Measure the finalists on ever more rows, and drop who is behind the leader."""
        standing = [trial for trial in self._trials.values() if not trial.dropped]
        standing.sort(key=lambda trial: (-self._shrunk(trial), trial.number))
        candidates = dict.fromkeys(trial.candidate for trial in standing[:FINALISTS])
        finalists = [self._space.baseline, *(each for each in candidates if not each.is_baseline)]
        size = 0
        while size < len(self._valset):
            size = min(size + CHUNK, len(self._valset))
            scores = await together([self._measure(each, size) for each in finalists])
            measured = dict(zip(finalists, scores, strict=True))
            leader = max(finalists, key=lambda each: (_mean(measured[each]), finalists.index(each)))
            finalists = [
                each for each in finalists if not is_behind(measured[each], measured[leader])
            ]
        return min(
            finalists,
            key=lambda each: (-_mean(self._scores[each]), *self._space.complexity(each)),
        )


class _Sampler:
    """Optuna, asked for one trial at a time, with a fresh seed for each."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._distributions = _distributions(space)
        self._asked: dict[int, optuna.Trial] = {}
        self._proposed = {space.baseline}
        self._study = _study()

    def ask(self, number: int) -> Candidate | None:
        """Return a candidate not proposed before, or None if there is none left."""
        if len(self._proposed) >= self._space.size:
            return None
        for attempt in range(_REDRAWS):
            trial = self._ask(number, attempt)
            candidate = self._candidate(trial)
            if candidate not in self._proposed:
                break
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            candidate = self._unseen(number)
            trial = self._enqueue(candidate)
        self._proposed.add(candidate)
        self._asked[number] = trial
        return candidate

    def tell(self, number: int, value: float) -> None:
        """Report what trial ``number`` came to."""
        self._study.tell(self._asked[number], value)

    def _ask(self, number: int, attempt: int) -> optuna.Trial:
        seed = random.Random(f"{self._seed}/{number}/{attempt}").randrange(2**32)
        with warnings.catch_warnings():
            # The options are pinned because their defaults change between versions.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=True
            )
        return self._study.ask(self._distributions)

    def _unseen(self, number: int) -> Candidate:
        rng = random.Random(f"{self._seed}/{number}")
        while True:
            candidate = Candidate(
                tuple(rng.randrange(len(choices)) for choices in self._space.instructions),
                tuple(rng.randrange(len(choices)) for choices in self._space.demos),
            )
            if candidate not in self._proposed:
                return candidate

    def _enqueue(self, candidate: Candidate) -> optuna.Trial:
        values = (*candidate.instructions, *candidate.demos)
        self._study.enqueue_trial(dict(zip(self._distributions, values, strict=True)))
        return self._study.ask(self._distributions)

    def _candidate(self, trial: optuna.Trial) -> Candidate:
        values = [trial.params[name] for name in self._distributions]
        predictors = len(self._space.instructions)
        return Candidate(tuple(values[:predictors]), tuple(values[predictors:]))


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


def _distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    choices = {
        **{f"{index}_instruction": len(each) for index, each in enumerate(space.instructions)},
        **{f"{index}_demos": len(each) for index, each in enumerate(space.demos)},
    }
    return {
        name: optuna.distributions.CategoricalDistribution(range(count))
        for name, count in choices.items()
    }


def is_behind(own: Sequence[float], other: Sequence[float]) -> bool:
    """
    Whether scores are lower than others on the same rows, by more than chance.

    The mean difference has to be below zero by ``BEHIND`` standard errors. One
    imagined row on either side keeps the spread of a few equal rows from
    counting as certainty.
    """
    pairs = [mine - theirs for mine, theirs in zip(own, other, strict=True)]
    reach = max(map(abs, pairs), default=0.0)
    if reach == 0:
        return False
    padded = [*pairs, reach, -reach]
    mean = math.fsum(padded) / len(padded)
    variance = math.fsum((pair - mean) ** 2 for pair in padded) / (len(padded) - 1)
    return mean + BEHIND * math.sqrt(variance / len(padded)) < 0


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)
