"""The acquisition of a search: which candidates to measure next, and which to expect most of."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from pytest_mipro.optimize.mipro.measurements import FIRST_MINIBATCH
from pytest_mipro.optimize.mipro.parzen import Parzen
from pytest_mipro.optimize.mipro.surrogate import DEMOS, INSTRUCTION, Layout, Surrogate
from pytest_mipro.records import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_mipro.optimize.mipro.measurements import Measurements
    from pytest_mipro.optimize.mipro.space import Space

TPE_EVERY = 6
"""Every how many minibatches the Parzen estimator is asked first."""


class Acquisition:
    """Proposes candidates by Thompson sampling from the surrogate.

    Attributes:
        introductions: How many of the first minibatches are for options that
            were not measured yet: instructions, then late demo sets.
    """

    def __init__(self, space: Space, seed: int, measurements: Measurements) -> None:
        """Prepare to propose candidates of ``space``.

        Args:
            space: The options of each predictor.
            seed: Decides every draw.
            measurements: The scores so far.
        """
        self._space = space
        self._seed = seed
        self._measurements = measurements
        self._layout = _layout(space)
        rng = random.Random(f"{seed}/instructions")
        self._new_instructions = [
            rng.sample(range(1, len(texts)), len(texts) - 1) for texts in space.instructions
        ]
        self._late_demo_sets = [
            range(early, len(demo_sets))
            for early, demo_sets in zip(space.early, space.demos, strict=True)
        ]
        self._instruction_turns = max(map(len, self._new_instructions))
        self.introductions = self._instruction_turns + max(map(len, self._late_demo_sets))
        self._first_sizes = self._layout.sizes
        self._estimator = Parzen(self._first_sizes, seed, prior=FIRST_MINIBATCH)

    def extend(self, space: Space) -> None:
        """Rank the candidates of ``space``, which has more instructions, from now on."""
        self._space = space
        self._layout = _layout(space)

    def learn(self, candidate: Candidate) -> None:
        """Show the Parzen estimator the scores of a candidate, as far as they are recorded.

        It takes the options that there are at first, and no instructions of the rounds.
        """
        choices, rows = _choices(candidate), self._measurements.recorded[candidate]
        if all(choice < size for choice, size in zip(choices, self._first_sizes, strict=True)):
            self._estimator.learn(choices, self._measurements.mean(candidate), rows)

    def proposals(self, number: int) -> Iterator[Candidate]:
        """Yield candidates for minibatch ``number``, the most promising first."""
        rng = np.random.default_rng([abs(self._seed), number])
        is_introduction = number < self.introductions
        if not is_introduction and number % TPE_EVERY == TPE_EVERY - 1:
            yield self._candidate(self._estimator.propose(number))
        samples = map(self._candidate, self._surrogate().draw(rng))
        if is_introduction:
            yield self._introduction(number, next(samples))
        yield from samples

    def ranking(self, *, measured_only: bool) -> list[Candidate]:
        """Return candidates by expected score, the simpler first among equals.

        Args:
            measured_only: Leave out candidates without a score.
        """
        return list(self.expected(measured_only=measured_only))

    def expected(self, *, measured_only: bool) -> dict[Candidate, float]:
        """Return candidates with their expected scores, in the order of ``ranking``."""
        surrogate = self._surrogate()
        pool = surrogate.measured if measured_only else surrogate.pool()
        # Rounded, because equal candidates may differ by rounding errors.
        means = np.round(surrogate.means(pool), 9)
        expected = sorted(
            (-mean, self._space.complexity(candidate), candidate)
            for mean, candidate in zip(means, map(self._candidate, pool), strict=True)
        )
        return {candidate: -float(mean) for mean, _, candidate in expected}

    def _introduction(self, number: int, sample: Candidate) -> Candidate:
        """Return a candidate with instructions that have no score, or with late demo sets."""
        turn = number - self._instruction_turns
        if turn < 0:
            return Candidate(_options_in_turn(self._new_instructions, number), sample.demos)
        own = self._space.baseline.instructions
        return Candidate(own, _options_in_turn(self._late_demo_sets, turn))

    def _surrogate(self) -> Surrogate:
        measurements = self._measurements
        scores = {
            _choices(candidate): measurements.scores(candidate)
            for candidate in measurements.recorded
        }
        return Surrogate(self._layout, scores)

    def _candidate(self, choices: Sequence[int]) -> Candidate:
        predictors = len(self._space.instructions)
        return Candidate(tuple(choices[:predictors]), tuple(choices[predictors:]))


def _layout(space: Space) -> Layout:
    return Layout(
        sizes=space.sizes,
        spreads=(INSTRUCTION,) * len(space.instructions) + (DEMOS,) * len(space.demos),
        inheritance=space.inheritance,
    )


def _choices(candidate: Candidate) -> tuple[int, ...]:
    return (*candidate.instructions, *candidate.demos)


def _options_in_turn(options: Sequence[Sequence[int]], turn: int) -> tuple[int, ...]:
    """Return an option per predictor: the one whose turn it is; 0 where there is no option."""
    return tuple(indexes[turn % len(indexes)] if indexes else 0 for indexes in options)
