"""Paired scores that are all 0 or 1: tests, interval and detectable difference.

Only discordant examples are evidence: those ``gained``, wrong in the baseline
and right in the compiled program, and those ``lost``. Of ``n`` examples each is
gained with one probability and lost with another. The true difference of means
is the chance of a gain minus the chance of a loss.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from pytest_mipro.gate import distributions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Counts: TypeAlias = NDArray[np.int64]
    Numbers: TypeAlias = NDArray[np.float64]
    Booleans: TypeAlias = NDArray[np.bool_]

_LOSS_CHANCES = 101
"""Chances of a loss among which the largest p-value is searched for."""
_HALVINGS = 16
"""A bisection ends at 1/65,536 of its range."""
_EXACT_MOST = 500
"""Examples up to which the rejection region of the exact test is searched for."""
_TINY = 1e-9


class ContingencyTable(NamedTuple):
    """Counts of paired answers: all examples, those gained, those lost."""

    n: int
    gained: int
    lost: int

    @property
    def mirrored(self) -> ContingencyTable:
        """The table of the two programs swapped."""
        return ContingencyTable(self.n, self.lost, self.gained)


def mcnemar_test(table: ContingencyTable) -> float:
    """Return the one-sided p-value of the exact McNemar test.

    McNemar (1947), Psychometrika 12, 153-157: without a true difference, a
    discordant example is gained or lost with equal chances.
    """
    return distributions.fair_binomial_tail(table.gained, table.gained + table.lost)


@lru_cache(maxsize=4096)
def score_test(table: ContingencyTable, margin: float) -> float:
    """Return the one-sided p-value against "the true difference is at most ``margin``".

    The exact unconditional test with the score statistic: the largest
    probability, over all chances of a loss, of a statistic at least as large as
    the observed one. Unlike the asymptotic score test and the Wald tests it
    keeps its level at any n. See Tango (1998), Statistics in Medicine 17,
    891-908, for the statistic, and Hsueh, Liu and Chen (2001), Biometrics 57,
    478-483, for the exact test.

    Args:
        table: The observed counts.
        margin: A difference of means.
    """
    if margin >= 1:
        return 1.0
    if margin <= -1:
        return float(margin == -1 and table.lost == table.n)
    gained, lost = np.asarray([table.gained]), np.asarray([table.lost])
    observed = _score_statistic(gained, lost, table.n, margin)
    return _largest_tail(float(observed[0]), table.n, margin)


def interval(table: ContingencyTable, confidence: float) -> tuple[float, float]:
    """Return the adjusted Wald interval of the true difference.

    Bonett and Price (2012), Journal of Educational and Behavioral Statistics
    37, 479-488: as if there were one more example gained and one more lost. With
    Student's quantile instead of the normal one, without which it covers too
    seldom where only gains or only losses occur.
    """
    n = table.n + 2
    gained, lost = (table.gained + 1) / n, (table.lost + 1) / n
    center = gained - lost
    standard_error = math.sqrt((gained + lost - center**2) / n)
    reach = distributions.student_critical((1 - confidence) / 2, n - 1) * standard_error
    return max(center - reach, -1.0), min(center + reach, 1.0)


@lru_cache(maxsize=4096)
def detectable(n: int, discordant: int, margin: float, alpha: float, power: float) -> float:
    """Return how far beyond ``margin`` a true difference is shown with probability ``power``.

    It is computed from the test's own rejection region. The share of discordant
    examples is taken as observed, with half an example added, and larger where
    the difference needs it. Infinite where no difference would be shown.

    Args:
        n: Examples.
        discordant: Examples gained or lost.
        margin: The difference that has to be exceeded.
        alpha: The level of the test.
        power: A probability.
    """
    critical_gains = _critical_gains(n, margin, alpha)
    share = (discordant + 0.5) / (n + 1)

    def is_shown(difference: float) -> bool:
        moved = np.asarray([max(share, abs(difference))])
        gains, losses = (moved + difference) / 2, (moved - difference) / 2
        return float(_rejection_probabilities(critical_gains, gains, losses)[0]) >= power

    low, high = margin, 1.0
    if margin >= 1 or not is_shown(high):
        return math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_shown(middle) else (middle, high)
    return high - margin


def _score_statistic(gained: Counts, lost: Counts, n: int, margin: float) -> Numbers:
    """Return Tango's statistic, asymptotically normal if the difference is ``margin``."""
    slope = gained + lost + margin * (gained - lost - 2 * n)
    root = np.sqrt(np.maximum(slope**2 + 8 * n * lost * margin * (1 - margin), 0))
    variance = 2 * (slope + root) / 4 + n * margin * (1 - margin)
    excess = gained - lost - n * margin
    is_nonzero = np.abs(excess) > _TINY
    scaled = excess / np.sqrt(np.maximum(variance, _TINY**2))
    statistic: Numbers = np.where(is_nonzero, scaled, 0.0)
    return statistic


def _critical_gains(n: int, margin: float, alpha: float) -> Counts:
    """Return, by the number lost, the fewest gains that are significant; see ``_fewest_gains``."""
    if margin == 0:
        return distributions.fair_critical_successes(n, alpha)
    return _score_test_critical_gains(n, margin, alpha)


@lru_cache(maxsize=64)
def _score_test_critical_gains(n: int, margin: float, alpha: float) -> Counts:
    normal = NormalDist().inv_cdf(1 - alpha)
    low, high = normal - 1, normal + 3
    if n > _EXACT_MOST:
        # The exact test takes seconds there, and its level is about that of the asymptotic one.
        return _gains_reaching(normal, n, margin)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _largest_tail(middle, n, margin) < alpha else (middle, high)
    return _gains_reaching(high, n, margin)


def _gains_reaching(statistic: float, n: int, margin: float) -> Counts:
    """Return, by the number lost, the fewest gains with at least this score statistic."""
    return _fewest_gains(
        n, lambda gained, lost: _score_statistic(gained, lost, n, margin) >= statistic - _TINY
    )


def _fewest_gains(n: int, is_enough: Callable[[Counts, Counts], Booleans]) -> Counts:
    """Return, by the number lost, the fewest gains that are enough; n + 1 - lost if none are."""
    lost = np.arange(n + 1)
    low, high = np.zeros_like(lost), n - lost + 1
    while np.any(low < high):
        middle = (low + high) // 2
        enough = is_enough(middle, lost) & (low < high)
        low, high = (
            np.where(enough | (low == high), low, middle + 1),
            np.where(enough, middle, high),
        )
    return low


def _largest_tail(statistic: float, n: int, margin: float) -> float:
    """Return the largest probability, over the chances of a loss, of reaching the statistic."""
    gains = _gains_reaching(statistic, n, margin)
    losses = np.linspace(max(0.0, -margin), (1 - margin) / 2, _LOSS_CHANCES)
    return min(float(np.max(_rejection_probabilities(gains, losses + margin, losses))), 1.0)


def _rejection_probabilities(critical_gains: Counts, gains: Numbers, losses: Numbers) -> Numbers:
    """Return the probabilities of a table in a rejection region.

    Args:
        critical_gains: The fewest gains in the region, by the number lost.
        gains: Chances of a gain.
        losses: The chance of a loss that goes with each.
    """
    n = len(critical_gains) - 1
    lost = np.arange(n + 1)
    chances = np.clip(gains / np.maximum(1 - losses, _TINY), 0, 1)
    tails = distributions.binomial_tails(critical_gains[::-1], chances)[:, ::-1]
    probabilities: Numbers = np.sum(distributions.binomial(lost, n, losses) * tails, axis=1)
    return probabilities
