"""The surrogate: a model of the score of every candidate, measured or not.

A candidate's score is modelled as a sum: a level, an effect of each of its
choices (an instruction or a demo set of a predictor), and an effect of its own.
The parts have Gaussian priors around zero, so a few rows show which choices
help, across all candidates that share them. The effect of an instruction that was
written from another one has its prior around the effect of that one.

Rows differ in difficulty, which is estimated at the same time and subtracted, so
that candidates measured on different numbers of rows can be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

Choices: TypeAlias = "tuple[int, ...]"

LEVEL, INSTRUCTION, DEMOS, OWN = 1.0, 0.2, 0.3, 0.12
"""Prior standard deviations of the parts, in standard deviations of a score."""
_SWEEPS = 3
_LEAST_NOISE = 0.02
_LARGEST_POOL = 512


@dataclass(frozen=True)
class Layout:
    """The choices that a candidate consists of.

    Attributes:
        sizes: How many options each choice has.
        spreads: The prior standard deviation of each choice's effects.
        inheritance: Choice, option and parent of each option that is made from
            another one of the same choice.
    """

    sizes: tuple[int, ...]
    spreads: tuple[float, ...]
    inheritance: tuple[tuple[int, int, int], ...] = ()

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """The index of each choice's first effect, and the index after the last effect."""
        return np.cumsum((1, *self.sizes))

    def columns(self, candidates: Sequence[Choices]) -> NDArray[np.intp]:
        """Return the indexes of each candidate's effects, the level's first: a row each."""
        level = np.zeros((len(candidates), 1), dtype=np.intp)
        return np.hstack([level, np.array(candidates, dtype=np.intp) + self.starts[:-1]])

    @property
    def width(self) -> int:
        """How many effects there are, the level included."""
        return 1 + sum(self.sizes)

    def prior(self) -> list[float]:
        """Return the prior standard deviation of each effect, the level first."""
        pairs = zip(self.sizes, self.spreads, strict=True)
        return [LEVEL, *(spread for size, spread in pairs for _ in range(size))]

    def increments(self, more: int) -> Array:
        """Return the matrix that turns effects, and ``more`` others, into what the prior is of.

        That is an effect itself, or its difference from that of its parent.
        """
        matrix = np.eye(self.width + more)
        for choice, option, parent in self.inheritance:
            start = self.starts[choice]
            matrix[start + option, start + parent] = -1.0
        return matrix


class Surrogate:
    """The posterior over the scores of all candidates, given the scores of some."""

    def __init__(self, layout: Layout, scores: Mapping[Choices, Sequence[float]]) -> None:
        """Fit the model.

        Args:
            layout: The choices of a candidate.
            scores: Per candidate, its scores on a prefix of the one row order;
                there is at least one candidate, and each has at least one score.
        """
        self._layout = layout
        self.measured = list(scores)
        means, counts, noise, scale = _without_difficulty([*map(np.asarray, scores.values())])
        self._own = OWN * scale
        self._center = float(np.average(means, weights=counts))
        design = self._design()
        weights = counts / noise
        deviations = np.array([*layout.prior(), *(OWN,) * len(self.measured)]) * scale
        increments = layout.increments(len(self.measured))
        prior = (increments.T / deviations**2) @ increments
        precision = prior + (design.T * weights) @ design
        self._root = np.linalg.cholesky(precision)
        right = design.T @ (weights * (means - self._center))
        self._mean = np.linalg.solve(self._root.T, np.linalg.solve(self._root, right))

    def pool(self) -> list[Choices]:
        """Return the candidates to compare: all, or the most promising of very many."""
        return self._pool(self._mean)

    def means(self, candidates: Sequence[Choices]) -> Array:
        """Return the expected mean score of each candidate."""
        return self._values(self._mean, candidates)

    def draw(self, rng: np.random.Generator) -> list[Choices]:
        """Return candidates by a sample from the posterior, the best first.

        Taking the first is Thompson sampling: a candidate is chosen with the
        probability that it is the best.
        """
        sample = self._mean + np.linalg.solve(self._root.T, rng.normal(size=len(self._mean)))
        pool = self._pool(sample)
        measured = set(self.measured)
        own = rng.normal(0, self._own, len(pool))
        values = self._values(sample, pool) + own * [choices not in measured for choices in pool]
        return [pool[int(index)] for index in np.argsort(-values, kind="stable")]

    def _design(self) -> Array:
        width, count = self._layout.width, len(self.measured)
        design = np.zeros((count, width + count))
        rows = np.arange(count)
        design[rows[:, None], self._layout.columns(self.measured)] = 1.0
        design[rows, width + rows] = 1.0
        return design

    def _values(self, effects: Array, candidates: Sequence[Choices]) -> Array:
        own = dict(zip(self.measured, effects[self._layout.width :], strict=True))
        values: Array = effects[self._layout.columns(candidates)].sum(axis=1) + self._center
        values += [own.get(choices, 0.0) for choices in candidates]
        return values

    def _pool(self, effects: Array) -> list[Choices]:
        """Return the measured candidates, and all combinations of each choice's best options."""
        spans = pairwise(self._layout.starts)
        ranked = [np.argsort(-effects[start:end], kind="stable") for start, end in spans]
        keep = max(self._layout.sizes)
        while math.prod(min(keep, len(options)) for options in ranked) > _LARGEST_POOL and keep > 1:
            keep -= 1
        best = [sorted(map(int, options[:keep])) for options in ranked]
        return list(dict.fromkeys([*self.measured, *product(*best)]))


def _without_difficulty(scores: Sequence[Array]) -> tuple[Array, Array, float, float]:
    """Return means without the rows' difficulty, counts, noise variance and scale.

    The difficulty of a row is the mean difference of the scores on it from
    their candidates' means, shrunk by one imagined average score.
    """
    counts = np.array([len(row_scores) for row_scores in scores], dtype=float)
    means = np.array([row_scores.mean() for row_scores in scores])
    difficulty = np.zeros(int(counts.max()))
    candidates_per_row = np.array([(counts > row).sum() for row in range(len(difficulty))])
    for _ in range(_SWEEPS):
        total = np.zeros_like(difficulty)
        for row_scores, mean in zip(scores, means, strict=True):
            total[: len(row_scores)] += row_scores - mean
        difficulty = total / (candidates_per_row + 1)
        means = np.array(
            [(row_scores - difficulty[: len(row_scores)]).mean() for row_scores in scores]
        )
    residuals = [
        row_scores - mean - difficulty[: len(row_scores)]
        for row_scores, mean in zip(scores, means, strict=True)
    ]
    scale = max(float(np.concatenate(scores).std()), 1e-3)
    noise = max(float(np.concatenate(residuals).var()), _LEAST_NOISE * scale**2)
    return means, counts, noise, scale
