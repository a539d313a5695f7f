"""
Paired scores of any kind: sign flips, a studentized bootstrap, Student's interval.

What is drawn independently is a *unit*: an example, or all examples of one
cluster. A unit has the sum of its examples' differences, and their number.
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
"""What counts as equal, as a part of the largest difference."""
_ROUNDING = 1e-6
_GRID, _GRID_PER_UNIT, _GRID_MOST = 4096, 16, 2**17
"""How finely totals are told apart: a rounding error is a small part of their spread."""


class Evidence(NamedTuple):
    """One-sided p-values for a difference above and below a margin, and where they are from."""

    above: float
    below: float
    method: str


@dataclass(frozen=True, eq=False)
class Units:
    """
    The differences of one comparison, by unit.

    Attributes:
        sums: Sum of the differences of each unit's examples.
        sizes: How many examples each has.

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
    def error(self) -> float:
        """
        The standard error of the mean, by the jackknife; it takes two units.

        That of a textbook for units of one size, and the one to prefer for
        clusters of several: MacKinnon, Nielsen and Webb (2023), Journal of
        Applied Econometrics 38, 671-694 (their CV3).
        """
        if len(self) == 1:
            return math.inf
        others = (np.sum(self.sums) - self.sums) / (np.sum(self.sizes) - self.sizes)
        share = (len(self) - 1) / len(self)
        return math.sqrt(share * float(np.sum((others - self.mean) ** 2)))

    @cached_property
    def scale(self) -> float:
        """The standard error that pivots are in, which needs no correction for few units."""
        return float(self._resampled(np.ones((len(self), 1)))[1][0])

    @cached_property
    def pivots(self) -> Numbers:
        """
        Means of resamples less the mean, each by its own standard error, in order.

        Efron and Tibshirani (1993), An Introduction to the Bootstrap, section
        12.5. Empty where the units are too few, too many, or all the same.
        """
        if not ALL_FLIPS < len(self) <= _MOST_UNITS or self.scale <= _TINY:
            return np.empty(0)
        off, scales = self._resampled(_resamples(len(self)))
        # A resample without any spread says nothing about the mean's.
        usable = scales > self.scale * _PRECISION
        pivots: Numbers = np.sort(off[usable] / scales[usable])
        return pivots

    def _resampled(self, counts: Numbers) -> tuple[Numbers, Numbers]:
        """Return how far off the mean of each resample is, and its standard error."""
        order = np.lexsort((self.sizes, self.sums))
        # About the mean, where squares keep their digits.
        sums, sizes = (self.sums - self.mean * self.sizes)[order], self.sizes[order]
        columns = np.stack((sums, sums**2, sizes, sums * sizes, sizes**2))
        total, squares, number, mixed, numbers = columns @ counts
        off = total / number
        variance = squares - 2 * off * mixed + off**2 * numbers
        return off, np.sqrt(np.maximum(variance, 0)) / number


def interval(units: Units, confidence: float) -> tuple[float, float]:
    """
    Return an interval of the mean difference: Student's, or the bootstrap's where that is wider.

    Student's covers too seldom where differences are skewed, as near a score
    that cannot be exceeded; the studentized bootstrap is then honest, and a
    little narrow where they are not.
    """
    if len(units) == 1:
        return -math.inf, math.inf
    tail = (1 - confidence) / 2
    reach = distributions.student_critical(tail, len(units) - 1) * units.error
    low, high = units.mean - reach, units.mean + reach
    if len(units.pivots):
        least, most = np.quantile(units.pivots, [tail, 1 - tail]) * units.scale
        low, high = min(low, units.mean - float(most)), max(high, units.mean - float(least))
    return low, high


def evidence(units: Units, margin: float) -> Evidence:
    """
    Test whether the mean difference is above ``margin``, and whether it is below.

    If two programs are equally good, each unit's difference is as likely with
    the opposite sign, whatever the scores: the sign-flip permutation test. But
    means can be equal while differences are skewed, and then it errs more often
    than it should. Where there are units enough for a studentized bootstrap,
    the larger p-value of the two is taken.
    """
    above, below = _sign_flips(units.sums - margin * units.sizes)
    method = f"{'exact ' if len(units) <= ALL_FLIPS else ''}sign-flip permutation test"
    if not len(units.pivots):
        return Evidence(above, below, method)
    observed = (units.mean - margin) / units.scale
    high = _share(units.pivots >= observed - _TINY)
    low = _share(units.pivots <= observed + _TINY)
    if high > above:
        method = "studentized bootstrap test"
    return Evidence(max(above, high), max(below, low), method)


def _share(reached: NDArray[np.bool_]) -> float:
    """Return a p-value; 0 where no resample went that far, so that flips say how far it is."""
    count = int(np.sum(reached))
    return (count + 1) / (len(reached) + 1) if count else 0.0


def detectable(units: Units, alpha: float, power: float) -> float:
    """
    Return how far beyond the margin a true difference is shown with probability ``power``.

    That is the noncentrality with which Student's one-sided test at ``alpha``
    has this power, in standard errors. Where differences come in steps, so do
    the totals of sign flips, and it takes up to a step more. Infinite where even
    units that all gain would not be shown.
    """
    freedom = len(units) - 1
    if not freedom or 0.5 ** len(units) >= alpha:
        return math.inf
    critical = distributions.student_critical(alpha, freedom)
    reach = distributions.noncentrality(power, critical, freedom) * units.error
    return reach + _step(units.sums) / float(np.sum(units.sizes))


def _step(sums: Numbers) -> float:
    """Return what all ``sums`` are multiples of, as averages of few answers are; else 0."""
    moved = np.abs(sums)[np.abs(sums) > _TINY]
    if not len(moved):
        return 0.0
    multiples = moved / np.min(moved)
    are_whole = np.all(np.abs(multiples - np.rint(multiples)) < _ROUNDING)
    return float(np.min(moved)) if are_whole else 0.0


def _sign_flips(sums: Numbers) -> tuple[float, float]:
    """
    Return the shares of sign flips whose total is at least, and at most, the observed one.

    With many units the flips are not drawn but counted, on a grid: the
    distribution of the total is the convolution of those of its terms (Pagano
    and Tritchler, 1983, Journal of the American Statistical Association 78,
    435-440). That is as exact as the grid is fine, and a hundred times as fast
    as drawing them.
    """
    moved = sums[np.abs(sums) > _TINY]
    if not len(moved):
        return 1.0, 1.0
    if len(moved) > ALL_FLIPS:
        return _convolved(moved)
    # Sums of whole numbers are exact, so equal totals are ties in whatever order they add up.
    steps = np.rint(moved / (np.max(np.abs(moved)) * _PRECISION))
    totals = np.zeros(1)
    for step in steps:
        totals = np.concatenate((totals + step, totals - step))
    observed = np.sum(steps)
    return float(np.mean(totals >= observed)), float(np.mean(totals <= observed))


def _convolved(moved: Numbers) -> tuple[float, float]:
    grid = min(_GRID + _GRID_PER_UNIT * len(moved), _GRID_MOST)
    steps = np.rint(moved / (np.sum(np.abs(moved)) / grid)).astype(int)
    chances = np.ones(1)  # of each sum of the steps that go up
    for step in np.abs(steps):
        longer = np.zeros(len(chances) + step)
        longer[: len(chances)] = chances / 2
        longer[step:] += chances / 2
        chances = longer
    upwards = int(np.sum(steps[steps > 0]))
    # Two standard deviations of what rounding did to a total; what is that near counts as a tie.
    slack = math.ceil(math.sqrt(len(moved) / 12))
    above = float(np.sum(chances[max(upwards - slack, 0) :]))
    below = float(np.sum(chances[: upwards + slack + 1]))
    return min(above, 1.0), min(below, 1.0)


@lru_cache(maxsize=4)
def _resamples(n: int) -> Numbers:
    """Return how often each of ``n`` units, a row each, is in each resample."""
    drawn = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), size=_RESAMPLES // 2)
    # Each also in reverse: units are in order, so the opposite differences mirror everything.
    return np.ascontiguousarray(np.concatenate((drawn, drawn[:, ::-1])).T, dtype=float)
