"""Error rates, coverage and power of verdicts, by simulation.

Scores of programs with a known true difference are drawn many times and judged
by the rules of ``mipro.beats_baseline`` and ``mipro.no_regression``. No model is
called. README.md beside this file describes the columns.

    python benchmarks/verdicts.py
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, TypeAlias

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # more threads only cost time on small matrices

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.printing import Listed, Table
from pytest_mipro.gate import AcceptedScores, beats_baseline, no_regression
from pytest_mipro.records import PairedComparison, Scorecard, Usage, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.float64]

COLUMNS = {
    "scores": 10,
    "rollouts": 0,
    "clusters": 0,
    "n": 4,
    "false pass": 0,
    "false block": 0,
    "covered": 0,
    "lost, pass": 0,
    "lost, block": 0,
    "lost, covered": 0,
    "detectable": 0,
    "power": 0,
    "val went up": 0,
}
ALPHA = 0.05
TOLERANCE = 0.02
CANDIDATES = 10
"""Candidates that a plain optimizer measures beside the baseline."""
_LARGE = 200_000
"""Examples from which a mean score is estimated."""
_PILOTS = 3
"""Steps towards a difference that is detectable at itself."""


@dataclass(frozen=True)
class Population:
    """Examples and programs of one kind.

    All programs share the quality of an example. A program has a random effect
    on each example, or on each cluster of examples, and each answer has a random
    effect of its own.

    Attributes:
        kind: ``binary``: 0 or 1. ``continuous``: between 0 and 1, in the middle.
            ``ceiling``: near the best score, often at it. ``skewed``: in the
            middle, but all programs but the first score much more on a fifth of
            the examples and a little less on the rest; means are equal.
        rollouts: Number of answers that a score is the mean of.
        clustered: Whether examples come in clusters of one to four.
    """

    kind: str
    rollouts: int = 1
    clustered: bool = False

    def draw(
        self, rng: np.random.Generator, n: int, *, programs: int = 2, gain: float = 0.0
    ) -> tuple[Numbers, NDArray[np.intp]]:
        """Return a row of scores per program, and the cluster of each example.

        Args:
            rng: The source of random numbers.
            n: Number of examples.
            programs: Number of programs.
            gain: By how much all programs but the first are better, as a part of
                ``lack``.
        """
        clusters = self._clusters(rng, n)
        preference = rng.normal(0, 0.7, (programs, n))[:, clusters]
        quality = (rng.normal(0, 1.2, n) + preference)[:, np.newaxis, :]
        shape = (programs, self.rollouts, n)
        scores: Numbers
        if self.kind == "binary":
            lacking = 1 - _sigmoid(quality)
            lacking[1:] *= 1 - gain
            scores = (rng.random(shape) >= lacking).astype(float)
        elif self.kind == "skewed":
            scores = 0.2 + 0.4 * _sigmoid(quality + rng.normal(0, 0.2, shape))
            scores[1:] += np.where(rng.random(n) < 0.2, 0.24, -0.06) + gain
        else:
            level = 1.8 if self.kind == "ceiling" else 0
            scores = np.minimum(1.1 * _sigmoid(level + quality + rng.normal(0, 0.7, shape)), 1)
            scores[1:] += gain * (1 - scores[1:])
        return scores.mean(axis=1), clusters

    def _clusters(self, rng: np.random.Generator, n: int) -> NDArray[np.intp]:
        if not self.clustered:
            return np.arange(n)
        return np.repeat(np.arange(n), rng.integers(1, 5, n))[:n]

    @property
    def lack(self) -> float:
        """The mean difference at a ``gain`` of 1."""
        return 1.0 if self.kind == "skewed" else _lack(self.kind)


@lru_cache
def _lack(kind: str) -> float:
    scores, _ = Population(kind).draw(np.random.default_rng(0), _LARGE, programs=1)
    return 1 - float(scores.mean())


def _sigmoid(values: Numbers) -> Numbers:
    probabilities: Numbers = 1 / (1 + np.exp(-values))
    return probabilities


class Study:
    """Error rates, coverage and power for one population and number of examples.

    Args:
        population: The distribution of examples and programs.
        n: Number of held-out examples.
        repetitions: Number of samples for each figure.
    """

    def __init__(self, population: Population, n: int, repetitions: int) -> None:
        self._population = population
        self._n = n
        self._repetitions = repetitions
        seed = POPULATIONS.index(population)
        self._rng = np.random.default_rng([seed, n])

    def row(self) -> list[object]:
        """Return a row of the table."""
        population = self._population
        passed, blocked, covered = self._equal()
        lost = self._lost()
        detectable, power = self._power()
        return [
            population.kind,
            population.rollouts,
            "1 to 4" if population.clustered else "",
            self._n,
            *(f"{share:.1%}" for share in (passed, blocked, covered, *lost)),
            f"{detectable:.3f}",
            f"{power:.1%}",
            f"{self._went_up():.1%}",
        ]

    def _equal(self) -> tuple[float, float, float]:
        """Return the shares of equal programs that pass, are blocked, and are in the interval."""
        counts: Counter[str] = Counter()
        for _ in range(self._repetitions):
            baseline, compiled = self._pair(0.0)
            verdict = _judge_improvement(baseline, compiled)
            counts["passed"] += verdict.word == "PASS"
            counts["blocked"] += _judge_regression(baseline, compiled, 0.0).word == "FAIL"
            counts["covered"] += _covers(verdict, 0.0)
        return self._shares(counts)

    def _lost(self) -> tuple[float, float, float]:
        """Return the same shares for programs with exactly the tolerated loss."""
        counts: Counter[str] = Counter()
        for _ in range(self._repetitions):
            compiled, accepted = self._pair(TOLERANCE)
            verdict = _judge_regression(accepted, compiled, TOLERANCE)
            counts["passed"] += verdict.word == "PASS"
            counts["blocked"] += verdict.word == "FAIL"
            counts["covered"] += _covers(verdict, -TOLERANCE)
        return self._shares(counts)

    def _shares(self, counts: Counter[str]) -> tuple[float, float, float]:
        passed, blocked, covered = (
            counts[event] / self._repetitions for event in ("passed", "blocked", "covered")
        )
        return passed, blocked, covered

    def _power(self) -> tuple[float, float]:
        """Return a difference that verdicts call detectable, and how often it passes."""
        difference = 0.0
        for _ in range(_PILOTS):
            # The detectable difference depends on the scores, and these depend on the difference.
            pilot = [self._judged(difference) for _ in range(max(self._repetitions // 10, 5))]
            difference = min(_detectable(pilot), 0.99 * self._population.lack)
        verdicts = [self._judged(difference) for _ in range(self._repetitions)]
        return difference, fmean(verdict.word == "PASS" for verdict in verdicts)

    def _judged(self, difference: float) -> Verdict:
        return _judge_improvement(*self._pair(difference))

    def _went_up(self) -> float:
        """Return how often the best of equal candidates has a higher mean than the baseline."""
        means = (
            self._population.draw(self._rng, self._n, programs=1 + CANDIDATES)[0].mean(axis=1)
            for _ in range(self._repetitions)
        )
        return fmean(float(mean[1:].max() > mean[0]) for mean in means)

    def _pair(self, difference: float) -> tuple[Scorecard, Scorecard]:
        gain = difference / self._population.lack
        scores, clusters = self._population.draw(self._rng, self._n, gain=gain)
        names = tuple(map(str, clusters)) if self._population.clustered else ()
        baseline, compiled = (_scorecard(program, names) for program in scores)
        return baseline, compiled


def _scorecard(scores: Numbers, clusters: tuple[str, ...]) -> Scorecard:
    examples = tuple(map(str, range(len(scores))))
    return Scorecard(examples, tuple(scores.tolist()), Usage(), clusters=clusters)


def _judge_improvement(baseline: Scorecard, compiled: Scorecard) -> Verdict:
    return beats_baseline(baseline, compiled, margin=0.0, alpha=ALPHA, unchanged=False)


def _judge_regression(accepted: Scorecard, compiled: Scorecard, tolerance: float) -> Verdict:
    return no_regression(AcceptedScores(accepted, ""), compiled, tolerance=tolerance, alpha=ALPHA)


def _comparison_of(verdict: Verdict) -> PairedComparison:
    assert verdict.comparison is not None
    return verdict.comparison


def _covers(verdict: Verdict, difference: float) -> bool:
    comparison = _comparison_of(verdict)
    return comparison.low <= difference <= comparison.high


def _detectable(verdicts: Sequence[Verdict]) -> float:
    differences = [_comparison_of(verdict).detectable for verdict in verdicts]
    return median(differences) if math.inf in differences else fmean(differences)


POPULATIONS = (
    *(Population(kind) for kind in ("binary", "continuous", "ceiling", "skewed")),
    *(Population(kind, rollouts=3) for kind in ("binary", "ceiling")),
    *(Population(kind, clustered=True) for kind in ("binary", "ceiling")),
)
KINDS = tuple(dict.fromkeys(population.kind for population in POPULATIONS))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--scores", type=Listed(str, KINDS), default=list(KINDS))
    parser.add_argument("--sizes", type=Listed(int), default=[20, 50, 200])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.sizes, arguments.repetitions = [20], 20
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run the simulations and print a table of their figures."""
    arguments = _arguments(argv)
    populations = [population for population in POPULATIONS if population.kind in arguments.scores]
    table = Table(COLUMNS)
    for population, n in product(populations, arguments.sizes):
        table.row(Study(population, n, arguments.repetitions).row())


if __name__ == "__main__":
    main()
