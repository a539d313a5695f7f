"""Paired scores of any kind: sign flips, a studentized bootstrap, Student's interval.

A sampling *unit* is drawn independently of all others: an example, or all
examples of one cluster. A unit has the sum of its examples' differences, and
their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from pytest_mipro.gate import distributions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.float64]

ALL_FLIPS = 16
"""Units up to which every sign flip is tried, and nothing else."""
_MOST_UNITS = 1000
"""Units up to which the bootstrap is of use; with more, sums are close to normal."""
_RESAMPLES = 3000
_SEED = 0
_TINY = 1e-12
_PRECISION = 1e-9
"""Differences that are closer are equal; as a part of the largest difference."""
_ROUNDING = 1e-6
_GRID, _GRID_PER_UNIT, _GRID_MOST = 4096, 16, 2**17
"""Steps of the grid of totals: its rounding is a small part of their spread."""


class PValues(NamedTuple):
    """One-sided p-values for a difference above and below a margin, and the test's name."""

    above: float
    below: float
    method: str


@dataclass(frozen=True, eq=False)
class SamplingUnits:
    """The differences of one comparison, by sampling unit.

    Attributes:
        sums: Sum of the differences of each unit's examples.
        sizes: Number of examples of each unit.
    """

    sums: Numbers
    sizes: Numbers

    def __len__(self) -> int:
        return len(self.sums)

    @cached_property
    def mean(self) -> float:
        """The mean difference over all examples."""
        return math.fsum(self.sums) / float(np.sum(self.sizes))

    @cached_property
    def standard_error(self) -> float:
        """The standard error of the mean, by the jackknife; infinite for one unit.

        It equals the textbook's for units of one size, and is the one to prefer
        for clusters of several sizes: MacKinnon, Nielsen and Webb (2023),
        Journal of Applied Econometrics 38, 671-694 (their CV3).
        """
        if len(self) == 1:
            return math.inf
        left_out = (np.sum(self.sums) - self.sums) / (np.sum(self.sizes) - self.sizes)
        factor = (len(self) - 1) / len(self)
        return math.sqrt(factor * float(np.sum((left_out - self.mean) ** 2)))

    @cached_property
    def pivot_error(self) -> float:
        """The standard error that pivots are in, which needs no correction for few units."""
        return float(self._resampled(np.ones((len(self), 1)))[1][0])

    @cached_property
    def pivots(self) -> Numbers:
        """Differences of the resamples' means to the mean, by their standard errors, in order.

        Efron and Tibshirani (1993), An Introduction to the Bootstrap, section
        12.5. Empty where the units are too few, too many, or all the same.
        """
        if not ALL_FLIPS < len(self) <= _MOST_UNITS or self.pivot_error <= _TINY:
            return np.empty(0)
        deviations, errors = self._resampled(_resamples(len(self)))
        # A resample of equal differences has no spread to divide by.
        usable = errors > self.pivot_error * _PRECISION
        pivots: Numbers = np.sort(deviations[usable] / errors[usable])
        return pivots

    def _resampled(self, counts: Numbers) -> tuple[Numbers, Numbers]:
        """Return how far the mean of each resample deviates, and its standard error."""
        order = np.lexsort((self.sizes, self.sums))
        # Centred on the mean, so that squares keep their digits.
        sums, sizes = (self.sums - self.mean * self.sizes)[order], self.sizes[order]
        columns = np.stack((sums, sums**2, sizes, sums * sizes, sizes**2))
        total, squares, size, products, size_squares = columns @ counts
        deviations = total / size
        variance = squares - 2 * deviations * products + deviations**2 * size_squares
        return deviations, np.sqrt(np.maximum(variance, 0)) / size


def interval(units: SamplingUnits, confidence: float) -> tuple[float, float]:
    """Return an interval of the mean difference: Student's, or the bootstrap's where that is wider.

    Student's covers too seldom where differences are skewed, as near a score
    that cannot be exceeded. The studentized bootstrap covers there, and is a
    little narrow where they are not skewed.
    """
    if len(units) == 1:
        return -math.inf, math.inf
    tail = (1 - confidence) / 2
    reach = distributions.student_critical(tail, len(units) - 1) * units.standard_error
    low, high = units.mean - reach, units.mean + reach
    if len(units.pivots):
        least, most = np.quantile(units.pivots, [tail, 1 - tail]) * units.pivot_error
        low, high = min(low, units.mean - float(most)), max(high, units.mean - float(least))
    return low, high


def p_values(units: SamplingUnits, margin: float) -> PValues:
    """Test whether the mean difference is above ``margin``, and whether it is below.

    If two programs are equally good, each unit's difference is as likely with
    the opposite sign, whatever the scores: the sign-flip permutation test. But
    means can be equal while differences are skewed, and then it rejects more
    often than its level. Where there are enough units for a studentized
    bootstrap, the result is the larger p-value of the two.
    """
    above, below = _sign_flips(units.sums - margin * units.sizes)
    method = f"{'exact ' if len(units) <= ALL_FLIPS else ''}sign-flip permutation test"
    if not len(units.pivots):
        return PValues(above, below, method)
    observed = (units.mean - margin) / units.pivot_error
    bootstrap_above = _share(units.pivots >= observed - _TINY)
    bootstrap_below = _share(units.pivots <= observed + _TINY)
    if bootstrap_above > above:
        method = "studentized bootstrap test"
    return PValues(max(above, bootstrap_above), max(below, bootstrap_below), method)


def _share(is_extreme: NDArray[np.bool_]) -> float:
    """Return a bootstrap p-value; 0 if no resample is as extreme, so that sign flips decide."""
    count = int(np.sum(is_extreme))
    return (count + 1) / (len(is_extreme) + 1) if count else 0.0


def detectable(units: SamplingUnits, alpha: float, power: float) -> float:
    """Return how far beyond the margin a true difference is shown with probability ``power``.

    It is the noncentrality with which Student's one-sided test at ``alpha``
    has this power, in standard errors. Where differences come in steps, so do
    the totals of sign flips, and the difference has to be up to a step larger.
    Infinite where a gain of every unit would not be shown.
    """
    freedom = len(units) - 1
    if not freedom or 0.5 ** len(units) >= alpha:
        return math.inf
    critical = distributions.student_critical(alpha, freedom)
    reach = distributions.noncentrality(power, critical, freedom) * units.standard_error
    return reach + _step(units.sums) / float(np.sum(units.sizes))


def _step(sums: Numbers) -> float:
    """Return the step that all ``sums`` are multiples of; 0 if there is none."""
    nonzero = np.abs(sums)[np.abs(sums) > _TINY]
    if not len(nonzero):
        return 0.0
    multiples = nonzero / np.min(nonzero)
    are_whole = np.all(np.abs(multiples - np.rint(multiples)) < _ROUNDING)
    return float(np.min(nonzero)) if are_whole else 0.0


def _sign_flips(sums: Numbers) -> tuple[float, float]:
    """Return the shares of sign flips whose total is at least, and at most, the observed one.

    With many units the flips are counted on a grid instead of drawn: the
    distribution of the total is the convolution of those of its terms (Pagano
    and Tritchler, 1983, Journal of the American Statistical Association 78,
    435-440). That is as exact as the grid is fine, and a hundred times as fast
    as drawing them.
    """
    nonzero = sums[np.abs(sums) > _TINY]
    if not len(nonzero):
        return 1.0, 1.0
    if len(nonzero) > ALL_FLIPS:
        return _convolved(nonzero)
    # Sums of whole numbers are exact, so equal totals are ties in whatever order they add up.
    steps = np.rint(nonzero / (np.max(np.abs(nonzero)) * _PRECISION))
    totals = np.zeros(1)
    for step in steps:
        totals = np.concatenate((totals + step, totals - step))
    observed = np.sum(steps)
    return float(np.mean(totals >= observed)), float(np.mean(totals <= observed))


def _convolved(nonzero: Numbers) -> tuple[float, float]:
    """Return the two shares of ``_sign_flips`` from the distribution of totals on a grid."""
    grid = min(_GRID + _GRID_PER_UNIT * len(nonzero), _GRID_MOST)
    steps = np.rint(nonzero / (np.sum(np.abs(nonzero)) / grid)).astype(int)
    probabilities = np.ones(1)  # of each sum of the steps that are positive
    for step in np.abs(steps):
        convolved = np.zeros(len(probabilities) + step)
        convolved[: len(probabilities)] = probabilities / 2
        convolved[step:] += probabilities / 2
        probabilities = convolved
    observed = int(np.sum(steps[steps > 0]))
    # Two standard deviations of the rounding of a total: totals that are closer count as ties.
    slack = math.ceil(math.sqrt(len(nonzero) / 12))
    above = float(np.sum(probabilities[max(observed - slack, 0) :]))
    below = float(np.sum(probabilities[: observed + slack + 1]))
    return min(above, 1.0), min(below, 1.0)


@lru_cache(maxsize=4)
def _resamples(n: int) -> Numbers:
    """Return how often each of ``n`` units, one per row, is in each resample."""
    counts = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), size=_RESAMPLES // 2)
    # Units are in order, so with each resample in reverse the opposite differences mirror p-values.
    return np.ascontiguousarray(np.concatenate((counts, counts[:, ::-1])).T, dtype=float)
