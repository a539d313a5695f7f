"""Paired scores of any kind: sign flips, Student's t, a studentized bootstrap.

A sampling *unit* is drawn independently of all others: an example, or all
examples of one cluster. A unit has a total and a size, and what is compared
with a margin is the ratio of the two sums: for scores, the sum of differences
and the number of examples; for costs, what the compiled program and what the
baseline took.

Each test is about the *excess* of a unit, its total minus the margin times its
size, which has a mean of 0 if the ratio is exactly the margin. Its inversion is
Fieller's interval: Fieller (1954), Journal of the Royal Statistical Society B
16, 175-185.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pytest_mipro.gate import distributions
from pytest_mipro.gate.inversion import PairedTest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.float64]

ALL_FLIPS = 16
"""Units up to which every sign flip is tried, and nothing else."""
_MOST_RESAMPLED = 500
"""Units up to which the bootstrap is of use; with more, sums are close to normal."""
_RESAMPLES = 3000
_SEED = 0
_FIXED_POINT_STEPS = 4
_TINY = 1e-12
_PRECISION = 1e-9
"""Differences that are closer are equal; as a part of the largest difference."""


@dataclass(frozen=True, eq=False)
class SamplingUnits:
    """The paired results of one comparison, by sampling unit.

    Attributes:
        totals: What is summed up of each unit, e.g. the differences of its examples.
        sizes: What the sum is divided by, e.g. the number of its examples.
    """

    totals: Numbers
    sizes: Numbers

    def __len__(self) -> int:
        return len(self.totals)

    @cached_property
    def ratio(self) -> float:
        """The sum of all totals by that of all sizes: the mean difference, or a ratio of means."""
        return math.fsum(self.totals) / math.fsum(self.sizes)

    def excess(self, margin: float) -> Numbers:
        """Return by how much each unit's total exceeds ``margin`` times its size."""
        return self.totals - margin * self.sizes

    @cached_property
    def deviation(self) -> float:
        """The standard deviation of a unit's excess over the observed ratio, by the mean size."""
        if len(self) == 1:
            return math.inf
        spread = float(np.std(self.excess(self.ratio), ddof=1))
        return spread / float(np.mean(self.sizes))

    @cached_property
    def resampled(self) -> _Moments:
        """The moments of each bootstrap resample; of totals about the observed ratio."""
        order = np.lexsort((self.sizes, self.totals))
        # About the observed ratio, so that squares keep their digits.
        totals, sizes = self.excess(self.ratio)[order], self.sizes[order]
        columns = np.stack((totals, sizes, totals**2, totals * sizes, sizes**2))
        return _Moments(*(columns @ _resamples(len(self)) / len(self)))


@dataclass(frozen=True, eq=False)
class _Moments:
    """Means over the units of a resample, one for each resample."""

    totals: Numbers
    sizes: Numbers
    total_squares: Numbers
    products: Numbers
    size_squares: Numbers

    def excess(self, margin: float) -> tuple[Numbers, Numbers]:
        """Return mean and standard deviation of the excess over ``margin``."""
        means = self.totals - margin * self.sizes
        squares = self.total_squares - 2 * margin * self.products + margin**2 * self.size_squares
        return means, np.sqrt(np.maximum(squares - means**2, 0))


def paired_test(units: SamplingUnits) -> PairedTest:
    """Return the tests whether the ratio is above a margin, and whether it is below.

    With few units every sign flip is tried: if two programs are equally good,
    each unit's difference is as likely with the opposite sign. With more, the
    larger p-value of Student's t and of a studentized bootstrap counts, as the
    former rejects too often where differences are skewed, and the latter a
    little where they are not.
    """
    one_sided = _sign_flip if len(units) <= ALL_FLIPS else _studentized
    method = "exact sign-flip permutation test"
    if len(units) > ALL_FLIPS:
        method = "studentized bootstrap and t test"
    if len(units) > _MOST_RESAMPLED:
        method = "t test"
    return PairedTest(
        lambda margin: one_sided(units, margin, 1),
        lambda margin: one_sided(units, margin, -1),
        method,
    )


def _sign_flip(units: SamplingUnits, margin: float, sign: int) -> float:
    """Return the share of sign flips whose total is at least the observed one."""
    excess = sign * units.excess(margin)
    largest = np.max(np.abs(excess))
    if largest <= _TINY:
        return 1.0
    # Sums of whole numbers are exact, so equal totals are ties in whatever order they add up.
    steps = np.rint(excess / (largest * _PRECISION))
    totals = np.zeros(1)
    for step in steps:
        totals = np.concatenate((totals + step, totals - step))
    return float(np.mean(totals >= np.sum(steps)))


def _studentized(units: SamplingUnits, margin: float, sign: int) -> float:
    """Return the larger p-value of Student's t and of the studentized bootstrap."""
    excess = sign * units.excess(margin)
    mean, spread = float(np.mean(excess)), float(np.std(excess))
    # No sample is better evidence than the likeliest sign flip.
    least = 0.5 ** len(units)
    if spread <= _PRECISION * float(np.max(np.abs(excess))):
        return least if mean > 0 else 1.0
    statistic = mean / spread
    student = distributions.student_tail(statistic * math.sqrt(len(units) - 1), len(units) - 1)
    return max(least, student, _bootstrap(units, margin, sign, statistic))


def _bootstrap(units: SamplingUnits, margin: float, sign: int, statistic: float) -> float:
    """Return the share of resamples whose statistic is as extreme; 0 if none is.

    Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 12.5.
    """
    if len(units) > _MOST_RESAMPLED:
        return 0.0
    shift = margin - units.ratio
    means, spreads = units.resampled.excess(shift)
    deviations = sign * (means + shift * float(np.mean(units.sizes)))
    # A resample of equal differences has no spread, and is as extreme as can be.
    is_extreme = deviations >= (statistic - _TINY) * spreads
    count = int(np.sum(is_extreme))
    return (count + 1) / (len(deviations) + 1) if count else 0.0


@lru_cache(maxsize=4)
def _resamples(n: int) -> Numbers:
    """Return how often each of ``n`` units, one per row, is in each resample."""
    half = _RESAMPLES // 2
    drawn = np.random.default_rng(_SEED).integers(n, size=(half, n)) + n * np.arange(half)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=half * n).reshape(half, n)
    # Units are in order, so with each resample in reverse the opposite differences mirror p-values.
    return np.ascontiguousarray(np.concatenate((counts, counts[:, ::-1])).T, dtype=float)


def detectable(n: int, deviation: Callable[[float], float], alpha: float, power: float) -> float:
    """Return how far beyond the margin a true difference is shown with probability ``power``.

    It is the noncentrality with which Student's one-sided test at ``alpha``
    has this power, in standard errors. Infinite where a gain of every unit
    would not be shown.

    Args:
        n: Sampling units.
        deviation: Returns the standard deviation of a unit at a distance from the margin.
        alpha: The level of the test.
        power: A probability.
    """
    freedom = n - 1
    if not freedom or 0.5**n >= alpha:
        return math.inf
    critical = distributions.student_critical(alpha, freedom)
    errors = distributions.noncentrality(power, critical, freedom) / math.sqrt(n)
    distance = 0.0
    for _ in range(_FIXED_POINT_STEPS):
        distance = errors * deviation(distance)
    return distance


def typical_shortfall(n: int) -> float:
    """Return which part of the true standard deviation that of ``n`` units exceeds as often as not.

    The median of chi-square by Wilson and Hilferty (1931), Proceedings of the
    National Academy of Sciences 17, 684-688.
    """
    return math.pow(1 - 2 / (9 * max(n - 1, 1)), 1.5)


def sufficient(deviation: float, distance: float, alpha: float, power: float) -> float:
    """Return how many units show with ``power`` that the margin is at a ``distance``."""
    if distance <= deviation * _TINY or not math.isfinite(deviation):
        return math.inf
    normal = NormalDist()
    reach = normal.inv_cdf(1 - alpha) + normal.inv_cdf(power)
    # The second term is what Student's t takes instead of a normal deviate.
    return (deviation * reach / distance) ** 2 + normal.inv_cdf(1 - alpha) ** 2 / 2
