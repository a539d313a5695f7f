"""Group-sequential verdicts: after each batch of held-out examples, stop or ask the next batch.

A design has a few interim analyses of growing numbers of examples. The boundaries of
PASS and of FAIL spend alpha over the analyses by the function of Lan and DeMets
(1983), Biometrika 70, 659-663, that resembles O'Brien and Fleming (1979),
Biometrics 35, 549-556: hardly any at first, so that the last analysis is nearly as
strict as a single one. Futility bounds spend what power may be missed in the
same way. They are not binding: alpha is kept whether or not asking stops there.

A verdict at any analysis has the repeated p-value and the repeated confidence
interval of Jennison and Turnbull (2000), Group Sequential Methods, chapter 9,
which hold at all analyses at once, for whatever reason asking stopped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from pytest_mipro.gate.distributions import least
from pytest_mipro.gate.paired import POWER, compare

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from pytest_mipro.records import PairedComparison

    Numbers: TypeAlias = NDArray[np.float64]

_MISSED = 0.05
"""The total chance of a miss that decides the futility bounds; a power of 0.8 loses 0.025."""
_NORMAL = NormalDist()
_NODES = 96
_ROOT_OF_TWO = math.sqrt(2)
_FARTHEST = 9.0
"""Standard deviations beyond which nothing is left of a normal distribution."""
_P_HALVINGS = 16
_MOST_STEPS, _PRECISION = 50, 1e-11
"""The end of a search for a bound."""
_LEAST_P, _NO_CHANCE = 1e-15, 1e-300


@dataclass(frozen=True)
class SequentialDesign:
    """The interim analyses of growing numbers of held-out examples.

    Attributes:
        sizes: The number of examples at each analysis; the last is all of them.
        alpha: The level of PASS over all analyses, and that of FAIL.
    """

    sizes: tuple[int, ...]
    alpha: float

    @cached_property
    def fractions(self) -> tuple[float, ...]:
        """The share of all examples at each analysis."""
        return tuple(size / self.sizes[-1] for size in self.sizes)

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """The level of each analysis."""
        return tuple(_upper_tail(bound) for bound in boundaries(self.fractions, self.alpha))

    @cached_property
    def futile(self) -> tuple[float, ...]:
        """The p-value at each analysis above which a test will hardly be significant at the end."""
        return tuple(_upper_tail(bound) for bound in self._futility)

    @cached_property
    def inflation(self) -> float:
        """How many times as large a difference has to be for the power of a single analysis."""
        return inflation(self.fractions, self.alpha)

    @property
    def _futility(self) -> tuple[float, ...]:
        return _futility(self.fractions, self.alpha)


@dataclass(frozen=True)
class InterimAnalysis:
    """An analysis of a design; the last one is of all examples.

    Attributes:
        design: The design.
        number: Its number, from 1.
    """

    design: SequentialDesign
    number: int

    @property
    def level(self) -> float:
        """The level of this analysis."""
        return self.design.levels[self.number - 1]

    @property
    def is_last(self) -> bool:
        """Whether all examples are asked."""
        return self.number == len(self.design.sizes)

    def is_futile(self, comparison: PairedComparison, awaited: Literal["PASS", "FAIL"]) -> bool:
        """Return whether more examples would hardly give the awaited word.

        The opposite test has to say it, too: the p-value of a few right and wrong answers is
        large also where they say nothing.

        Args:
            comparison: The comparison of the examples so far, by ``compare_at``.
            awaited: The word that changes what happens: for an assert that only
                PASS satisfies, PASS; for one that only FAIL breaks, FAIL.
        """
        p_values = comparison.p_value, comparison.p_opposite
        p_value, p_opposite = p_values if awaited == "PASS" else reversed(p_values)
        least, most = self._repeated_futile
        return p_value > least and p_opposite < most

    @cached_property
    def _repeated_futile(self) -> tuple[float, float]:
        """The repeated p-values at the futility bound: of the test, and of the opposite one."""
        bound = self.design.futile[self.number - 1]
        return self.repeated_p(bound), self.repeated_p(1 - bound)

    def repeated_p(self, p_value: float) -> float:
        """Return the least level of all analyses at which this one's p-value is significant."""
        alpha = self.design.alpha
        fractions = self.design.fractions[: self.number]
        statistic = _NORMAL.inv_cdf(1 - min(max(p_value, _LEAST_P), 1 - _LEAST_P))
        # The search starts at alpha, so that rounding does not change the word.
        low, high = (_LEAST_P, alpha) if p_value < self.level else (alpha, 1.0)
        for _ in range(_P_HALVINGS):
            middle = math.sqrt(low * high)
            is_reached = middle < 1 and boundaries(fractions, middle)[-1] < statistic
            low, high = (low, middle) if is_reached else (middle, high)
        return low if p_value < self.level else high


def compare_at(  # ruff: ignore[too-many-arguments] - what a comparison is made of
    analysis: InterimAnalysis,
    comparator: Sequence[float],
    compiled: Sequence[float],
    *,
    margin: float = 0.0,
    clusters: Sequence[Hashable] = (),
    worse: bool = False,
) -> PairedComparison:
    """Compare two programs' scores on the examples of one analysis; see ``compare``.

    P-values and interval are repeated ones. What is detectable refers to the
    whole design, with all of its examples.
    """
    alpha = analysis.design.alpha
    single = compare(
        comparator, compiled, margin=margin, alpha=alpha, clusters=clusters, worse=worse
    )
    repeated = compare(
        comparator, compiled, margin=margin, alpha=analysis.level, clusters=clusters, worse=worse
    )
    share = analysis.design.fractions[analysis.number - 1]
    return replace(
        single,
        low=repeated.low,
        high=repeated.high,
        p_value=analysis.repeated_p(single.p_value),
        p_opposite=analysis.repeated_p(single.p_opposite),
        detectable=single.detectable * math.sqrt(share) * analysis.design.inflation,
        sufficient=single.sufficient * analysis.design.inflation**2,
    )


def spent(total: float, fraction: float) -> float:
    """Return how much of an error probability is spent once a share of examples is asked."""
    if fraction >= 1:
        return total
    return 2 * _upper_tail(_NORMAL.inv_cdf(1 - total / 2) / math.sqrt(fraction))


@lru_cache(maxsize=512)
def boundaries(fractions: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """Return the least significant statistic at each analysis, with a total level of ``alpha``."""
    bounds: list[float] = []
    paths, already = _Paths.start(), 0.0
    for fraction in fractions:
        following, total = _Step(paths, fraction, 0.0), spent(alpha, fraction)
        bounds.append(following.bound_above(total - already))
        if len(bounds) < len(fractions):  # After the last analysis, nothing goes on.
            paths, already = following.between(-math.inf, bounds[-1]), total
    return tuple(bounds)


@lru_cache(maxsize=64)
def futility(
    fractions: tuple[float, ...], alpha: float, misses: tuple[float, ...]
) -> tuple[tuple[float, ...], float]:
    """Return the futility bounds of a design, and the drift at which misses are as rare as said.

    The drift is the expected statistic of all examples. At the last analysis the
    futility bound is the boundary, and that decides the drift.

    Args:
        fractions: The share of all examples at each analysis.
        alpha: The total level.
        misses: The chance of a miss up to each analysis.
    """
    upper = boundaries(fractions, alpha)
    drift = least(lambda value: _lower_bounds(fractions, upper, misses, value)[-1] >= upper[-1])
    return _lower_bounds(fractions, upper, misses, drift), drift


def _futility(fractions: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    misses = tuple(spent(_MISSED, fraction) for fraction in fractions)
    return futility(fractions, alpha, misses)[0]


@lru_cache(maxsize=64)
def inflation(fractions: tuple[float, ...], alpha: float) -> float:
    """Return how many times as large a difference has to be for the power of a single analysis."""
    upper, lower = boundaries(fractions, alpha), _futility(fractions, alpha)
    drift = least(lambda value: power(fractions, upper, lower, value) >= POWER)
    return drift / (_NORMAL.inv_cdf(1 - alpha) + _NORMAL.inv_cdf(POWER))


def _lower_bounds(
    fractions: tuple[float, ...],
    upper: tuple[float, ...],
    misses: tuple[float, ...],
    drift: float,
) -> tuple[float, ...]:
    """Return the statistics below which asking stops, so that misses are as rare as said."""
    bounds: list[float] = []
    paths, already = _Paths.start(), 0.0
    for fraction, high, total in zip(fractions, upper, misses, strict=True):
        following = _Step(paths, fraction, drift)
        low = following.bound_below(total - already)
        paths, already = following.between(low, high), total
        bounds.append(low)
    return tuple(bounds)


def power(
    fractions: tuple[float, ...],
    upper: tuple[float, ...],
    lower: tuple[float, ...],
    drift: float,
) -> float:
    """Return the chance that the statistic crosses a boundary before a futility bound."""
    paths, total = _Paths.start(), 0.0
    for fraction, high, low in zip(fractions, upper, lower, strict=True):
        following = _Step(paths, fraction, drift)
        total += following.above(high)
        paths = following.between(low, high)
    return total


class _Paths(NamedTuple):
    """The distribution of the sum of evidence over all paths that have not stopped."""

    fraction: float
    sums: Numbers
    chances: Numbers

    @classmethod
    def start(cls) -> _Paths:
        """Return the distribution before the first example."""
        return cls(0.0, np.zeros(1), np.ones(1))


class _Step(NamedTuple):
    """The way from one analysis to the next: the sum grows by a normal deviate.

    Armitage, McPherson and Rowe (1969), Journal of the Royal Statistical
    Society A 132, 235-244, with Gauss and Legendre's rule.
    """

    paths: _Paths
    fraction: float
    drift: float

    def above(self, bound: float) -> float:
        """Return the chance of a statistic above a bound."""
        return self._tail(self._distances(bound))

    def bound_above(self, chance: float) -> float:
        """Return the least bound that the statistic exceeds with no more than a chance."""
        return self._bound(chance, 1)

    def bound_below(self, chance: float) -> float:
        """Return the least bound that the statistic is below with at least a chance."""
        return self._bound(chance, -1)

    def _bound(self, chance: float, side: Literal[1, -1]) -> float:
        """Return the bound beyond which, on a side, the statistic is with a chance.

        Newton's method, as the logarithm of a tail is nearly a parabola.
        """
        if chance >= float(np.sum(self.paths.chances)):
            return -side * _FARTHEST
        if chance <= _NO_CHANCE:
            return side * _FARTHEST
        root = math.sqrt(self.fraction)
        bound = self.drift * root - side * _NORMAL.inv_cdf(chance)
        for _ in range(_MOST_STEPS):
            distances = side * self._distances(bound)
            tail = max(self._tail(distances), _NO_CHANCE)
            density = float(np.exp(-(distances**2) / 2) @ self.paths.chances)
            slope = max(density * root / (self._spread * math.sqrt(2 * math.pi)), _NO_CHANCE)
            step = tail / slope * math.log(tail / chance)
            bound += side * step
            if abs(step) < _PRECISION:
                break
        return min(max(bound, -_FARTHEST), _FARTHEST)

    def between(self, low: float, high: float) -> _Paths:
        """Return the distribution of what goes on between two bounds."""
        root, mean = math.sqrt(self.fraction), self.drift * self.fraction
        least = max(low * root, mean - _FARTHEST * root)
        most = max(min(high * root, mean + _FARTHEST * root), least)
        points, weights = _rule()
        sums = (most - least) / 2 * points + (most + least) / 2
        deviates = (sums[:, np.newaxis] - self._means) / self._spread
        densities = np.exp(-(deviates**2) / 2) @ self.paths.chances
        densities /= self._spread * math.sqrt(2 * math.pi)
        return _Paths(self.fraction, sums, (most - least) / 2 * weights * densities)

    @property
    def _spread(self) -> float:
        return math.sqrt(self.fraction - self.paths.fraction)

    @property
    def _means(self) -> Numbers:
        return self.paths.sums + self.drift * (self.fraction - self.paths.fraction)

    def _distances(self, bound: float) -> Numbers:
        distances: Numbers = (bound * math.sqrt(self.fraction) - self._means) / self._spread
        return distances

    def _tail(self, distances: Numbers) -> float:
        # Called a thousand times for one p-value: no step of it is Python's for each number.
        tails = np.fromiter(
            map(math.erfc, (distances / _ROOT_OF_TWO).tolist()), float, len(distances)
        )
        return float(np.dot(tails / 2, self.paths.chances))


@lru_cache(maxsize=1)
def _rule() -> tuple[Numbers, Numbers]:
    """Return the points between -1 and 1 and the weights of Gauss and Legendre's rule."""
    points, weights = np.polynomial.legendre.leggauss(_NODES)
    return points, weights


def _upper_tail(value: float) -> float:
    return math.erfc(value / math.sqrt(2)) / 2
