"""Error rates, coverage and power of verdicts, by simulation.

Scores or costs of programs with a known true difference are drawn many times
and judged by the rules of ``mipro.beats_baseline``, ``mipro.no_regression`` and
``mipro.costs_no_more``. No model is called. README.md beside this file
describes the columns.

    python benchmarks/verdicts.py
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # more threads only cost time on small matrices

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.printing import Listed, Table
from pytest_mipro.gate import (
    AcceptedScores,
    CostComparator,
    InterimAnalysis,
    SequentialDesign,
    beats_baseline,
    compare,
    compare_at,
    costs_no_more,
    no_regression,
)
from pytest_mipro.records import ExampleCost, PairedComparison, Scorecard, Usage, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Clusters: TypeAlias = NDArray[np.intp]
    Numbers: TypeAlias = NDArray[np.float64]
    Shape: TypeAlias = tuple[int, int, int]

COLUMNS = {
    "scores": 12,
    "rollouts": 0,
    "clusters": 0,
    "n": 4,
    "false pass": 0,
    "false block": 0,
    "covered": 0,
    "lost, pass": 0,
    "lost, block": 0,
    "lost, covered": 0,
    "warned": 0,
    "detectable": 0,
    "power": 7,
    "decides": 0,
    "val went up": 0,
}
SEQUENTIAL_COLUMNS = {
    "scores": 12,
    "true difference": 0,
    "n": 4,
    "passes at once": 0,
    "passes sequentially": 0,
    "examples asked": 0,
}
ALPHA = 0.05
TOLERANCE = 0.02
RATIO = 1.2
CANDIDATES = 10
"""Candidates that a plain optimizer measures beside the baseline."""
_LARGE = 200_000
"""Examples from which a mean score is estimated."""
_MOST_EXTENDED = 50
"""Examples up to which four times as many are tried out."""
_DEAR_SHARE = 0.03
_COVERAGE = 1 - 2 * ALPHA - 0.01
_MISSES = "can miss"
"""A part of the warning that a sample need not have what would reverse the verdict."""


@dataclass(frozen=True)
class Population:
    """Examples and programs of one kind.

    Attributes:
        kind: A key of ``DRAWS``.
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
        clusters = np.arange(n)
        if self.clustered:
            clusters = np.repeat(clusters, rng.integers(1, 5, n))[:n]
        scores = DRAWS[self.kind](rng, clusters, (programs, self.rollouts, n), gain)
        return scores.mean(axis=1), clusters

    @property
    def lack(self) -> float:
        """The mean difference at a ``gain`` of 1."""
        return _lack(self.kind) if self.kind in {"binary", "continuous", "ceiling"} else 1.0


def _quality(rng: np.random.Generator, clusters: Clusters, shape: Shape) -> Numbers:
    """Return what all programs share of an example, and what each is better or worse at."""
    programs, _, n = shape
    preference = rng.normal(0, 0.7, (programs, n))[:, clusters]
    quality: Numbers = (rng.normal(0, 1.2, n) + preference)[:, np.newaxis, :]
    return quality


def _binary(rng: np.random.Generator, clusters: Clusters, shape: Shape, gain: float) -> Numbers:
    lacking = 1 - _sigmoid(_quality(rng, clusters, shape))
    lacking[1:] *= 1 - gain
    return (rng.random(shape) >= lacking).astype(float)


def _graded(
    level: float, rng: np.random.Generator, clusters: Clusters, shape: Shape, gain: float
) -> Numbers:
    quality = _quality(rng, clusters, shape)
    scores = np.minimum(1.1 * _sigmoid(level + quality + rng.normal(0, 0.7, shape)), 1)
    scores[1:] += gain * (1 - scores[1:])
    return scores


def _skewed(rng: np.random.Generator, clusters: Clusters, shape: Shape, gain: float) -> Numbers:
    quality = _quality(rng, clusters, shape)
    scores = 0.2 + 0.4 * _sigmoid(quality + rng.normal(0, 0.2, shape))
    scores[1:] += np.where(rng.random(shape[-1]) < 0.2, 0.24, -0.06) + gain
    return scores


def _alike(rng: np.random.Generator, clusters: Clusters, shape: Shape, gain: float) -> Numbers:
    scores = np.zeros(shape)
    scores[1:] = rng.random(shape[-1])[clusters] < gain
    return scores


def _alike_graded(
    rng: np.random.Generator, clusters: Clusters, shape: Shape, gain: float
) -> Numbers:
    scores = np.tile(rng.uniform(0.0, 0.5, shape[-1]), (shape[0], shape[1], 1))
    scores[1:] += 0.5 * (rng.random(shape[-1])[clusters] < 2 * gain)
    return scores


def _rare(
    sign: int, rng: np.random.Generator, clusters: Clusters, shape: Shape, gain: float
) -> Numbers:
    scores = 0.5 + rng.normal(0, 0.03, shape)
    scores[1:] += sign * np.where(rng.random(shape[-1])[clusters] < 0.04, 0.48, -0.02) + gain
    return scores


DRAWS: dict[str, Callable[[np.random.Generator, Clusters, Shape, float], Numbers]] = {
    "binary": _binary,
    "continuous": partial(_graded, 0.0),
    "ceiling": partial(_graded, 1.8),
    "skewed": _skewed,
    "alike": _alike,
    "alike graded": _alike_graded,
    "rare gain": partial(_rare, 1),
    "rare loss": partial(_rare, -1),
}


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
        equal, detectable = self._equal()
        lost = self._rates(self._lost, -TOLERANCE)
        return [
            population.kind,
            population.rollouts,
            "1 to 4" if population.clustered else "",
            self._n,
            *equal.shares(),
            *lost.shares(),
            f"{max(equal.warned(), lost.warned()):.1%}",
            *self._power(detectable, equal.mark),
            self._decides(detectable, equal.mark),
            f"{self._went_up():.1%}",
        ]

    def _equal(self) -> tuple[Rates, float]:
        """Return the rates of equal programs, and the difference that verdicts say shows."""
        detectable: list[float] = []

        def judge() -> Verdict:
            verdict = self._improvement(0.0)
            detectable.append(_comparison_of(verdict).detectable)
            return verdict

        return self._rates(judge, 0.0), median(detectable)

    def _rates(self, judge: Callable[[], Verdict], truth: float) -> Rates:
        rates = Rates()
        for _ in range(self._repetitions):
            rates.count(judge(), truth)
        return rates

    def _lost(self) -> Verdict:
        """Judge a program with exactly the tolerated loss."""
        compiled, accepted = self._pair(self._n, TOLERANCE)
        return _judge_regression(accepted, compiled, TOLERANCE)

    def _power(self, detectable: float, mark: str) -> tuple[str, str]:
        """Return the difference that shows, and how often a program better by it passes."""
        if detectable >= self._population.lack:
            return f"{detectable:.3f}", ""
        passed = sum(self._improvement(detectable).word == "PASS" for _ in range(self._repetitions))
        return f"{detectable:.3f}", f"{passed / self._repetitions:.1%}{mark}"

    def _decides(self, detectable: float, mark: str) -> str:
        """Return how often an equal program passes with as many examples as promised."""
        if not math.isfinite(detectable) or self._n > _MOST_EXTENDED:
            return ""
        tolerance, repetitions = detectable / 2, max(self._repetitions // 5, 5)
        judged = [self._regression(self._n, tolerance) for _ in range(repetitions)]
        n = math.ceil(median(_comparison_of(verdict).sufficient for verdict in judged))
        passed = sum(self._regression(n, tolerance).word == "PASS" for _ in range(repetitions))
        return f"{passed / repetitions:.1%}{mark}"

    def _improvement(self, difference: float) -> Verdict:
        baseline, compiled = self._pair(self._n, difference)
        return beats_baseline(baseline, compiled, margin=0.0, alpha=ALPHA, unchanged=False)

    def _regression(self, n: int, tolerance: float) -> Verdict:
        return _judge_regression(*self._pair(n, 0.0), tolerance)

    def _went_up(self) -> float:
        """Return how often the best of equal candidates has a higher mean than the baseline."""
        means = [
            self._population.draw(self._rng, self._n, programs=1 + CANDIDATES)[0].mean(axis=1)
            for _ in range(self._repetitions)
        ]
        return sum(float(mean[1:].max() > mean[0]) for mean in means) / len(means)

    def _pair(self, n: int, difference: float) -> tuple[Scorecard, Scorecard]:
        gain = difference / self._population.lack
        scores, clusters = self._population.draw(self._rng, n, gain=gain)
        names = tuple(map(str, clusters)) if self._population.clustered else ()
        baseline, compiled = (_scorecard(program, names) for program in scores)
        return baseline, compiled


class Rates:
    """How often verdicts are wrong, with and without a warning, and intervals hold the truth."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, verdict: Verdict, truth: float) -> None:
        """Count a verdict on programs of which neither PASS nor FAIL is true."""
        comparison = _comparison_of(verdict)
        warned = " warned" if verdict.word != "INCONCLUSIVE" and _MISSES in verdict.sentence else ""
        self._counts[verdict.word + warned] += 1
        self._counts["reserved"] += "warning: " in verdict.sentence
        self._counts["covered"] += comparison.low <= truth <= comparison.high
        self._counts["all"] += 1

    def shares(self) -> list[str]:
        """Return the shares of PASS and of FAIL without a warning, and of intervals that cover.

        The last has a mark if it is too low, and would not be without what has a warning.
        """
        counts = self._counts
        passed, failed, covered = (
            counts[event] / counts["all"] for event in ("PASS", "FAIL", "covered")
        )
        is_warned = covered < _COVERAGE <= 1 - passed - failed
        return [f"{passed:.1%}", f"{failed:.1%}", f"{covered:.1%}{'*' if is_warned else ''}"]

    @property
    def mark(self) -> str:
        """The mark of figures that at least half of the verdicts, those of this kind, warn of."""
        return "*" if 2 * self._counts["reserved"] >= self._counts["all"] else ""

    def warned(self) -> float:
        """Return how often PASS or FAIL, the worse of both, has a warning."""
        counts = self._counts
        return max(counts["PASS warned"], counts["FAIL warned"]) / counts["all"]


def _scorecard(scores: Numbers, clusters: tuple[str, ...]) -> Scorecard:
    examples = tuple(map(str, range(len(scores))))
    return Scorecard(examples, tuple(scores.tolist()), Usage(), clusters=clusters)


def _judge_regression(accepted: Scorecard, compiled: Scorecard, tolerance: float) -> Verdict:
    return no_regression(AcceptedScores(accepted, ""), compiled, tolerance=tolerance, alpha=ALPHA)


def _comparison_of(verdict: Verdict) -> PairedComparison:
    assert verdict.comparison is not None
    return verdict.comparison


def _cost_row(kind: str, n: int, repetitions: int) -> list[object]:
    """Return the row of programs whose answers take exactly as much as is allowed.

    Args:
        kind: ``costs``: of any amount. ``dear``: three in a hundred of the
            compiled program's answers take twenty times as much.
        n: Number of held-out examples.
        repetitions: Number of samples for each figure.
    """
    rng, rates = np.random.default_rng([COSTS.index(kind), n]), Rates()
    for _ in range(repetitions):
        baseline = rng.lognormal(4, 0.5, n)
        factors = rng.lognormal(-0.02, 0.2, n)
        if kind == "dear":
            factors *= np.where(rng.random(n) < _DEAR_SHARE, 20, 1) / (1 + 19 * _DEAR_SHARE)
        comparator = CostComparator("baseline", _priced(baseline), "", "")
        compiled = _priced(RATIO * baseline * factors)
        verdict = costs_no_more(comparator, compiled, ratio=RATIO, unit="tokens", alpha=ALPHA)
        rates.count(verdict, (RATIO - 1) * _comparison_of(verdict).comparator)
    shares = [*rates.shares(), f"{rates.warned():.1%}"]
    return [kind, 1, "", n, *[""] * 3, *shares, *[""] * 4]


def _sequential_row(kind: str, difference: float, n: int, repetitions: int) -> list[object]:
    """Return the row of scores that are asked for in batches until PASS is decided."""
    design = SequentialDesign(tuple(n * batches // 4 for batches in range(1, 5)), ALPHA)
    population = Population(kind)
    rng = np.random.default_rng(n)
    at_once = sequentially = examples = 0
    for _ in range(repetitions):
        scores, _ = population.draw(rng, n, gain=difference / population.lack)
        at_once += compare(*scores.tolist(), alpha=ALPHA).p_value < ALPHA
        for number, size in enumerate(design.sizes, 1):
            analysis = InterimAnalysis(design, number)
            comparison = compare_at(analysis, *scores[:, :size].tolist())
            passes = comparison.p_value < ALPHA
            if passes or analysis.is_futile(comparison, "PASS") or analysis.is_last:
                sequentially += passes
                examples += size
                break
    shares = (f"{passed / repetitions:.1%}" for passed in (at_once, sequentially))
    return [kind, f"{difference:.3f}", n, *shares, f"{examples / repetitions / n:.1%}"]


def _priced(tokens: Numbers) -> Scorecard:
    card = _scorecard(np.ones(len(tokens)), ())
    return replace(card, costs=tuple(ExampleCost(count, None) for count in tokens.tolist()))


POPULATIONS = (
    *(Population(kind) for kind in DRAWS),
    *(Population(kind, rollouts=3) for kind in ("binary", "ceiling")),
    *(Population(kind, clustered=True) for kind in ("binary", "ceiling", "alike", "alike graded")),
)
COSTS = ("costs", "dear")
SEQUENTIAL = ("binary", "continuous")
DIFFERENCES = (0.0, 0.025, 0.05, 0.1)
"""True differences of programs whose examples are asked for in batches."""
KINDS = (*DRAWS, *COSTS)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--scores", type=Listed(str, KINDS), default=list(KINDS))
    parser.add_argument("--sizes", type=Listed(int), default=[20, 50, 200])
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.sizes, arguments.repetitions = [20], 2
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run the simulations and print two tables of their figures."""
    arguments = _arguments(argv)
    table = Table(COLUMNS)
    for population in POPULATIONS:
        if population.kind in arguments.scores:
            for n in arguments.sizes:
                table.row(Study(population, n, arguments.repetitions).row())
    for kind in COSTS:
        if kind in arguments.scores:
            for n in arguments.sizes:
                table.row(_cost_row(kind, n, arguments.repetitions))
    print()
    table = Table(SEQUENTIAL_COLUMNS)
    for kind in SEQUENTIAL:
        if kind in arguments.scores:
            for difference in DIFFERENCES:
                n, repetitions = max(arguments.sizes), arguments.repetitions
                table.row(_sequential_row(kind, difference, n, repetitions))


if __name__ == "__main__":
    main()
