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
from pytest_mipro.gate.inversion import PairedTest, Search, confidence_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Counts: TypeAlias = NDArray[np.int64]
    Numbers: TypeAlias = NDArray[np.float64]
    Booleans: TypeAlias = NDArray[np.bool_]

_LOSS_CHANCES = 101
"""Chances of a loss among which the largest p-value is searched for."""
_HALVINGS = 12
"""A bisection ends at 1/4,096 of its range."""
_EXACT_MOST = 200
"""Examples up to which the rejection region of the exact test is searched for."""
_ACCIDENT = 1.0
"""Standard deviations by which gains and losses of equal programs may differ."""
_FEW = 50
"""Examples up to which it is faster to compute the statistics of all tables."""
_CHUNK = 2**14
"""Tails that are computed at a time, so that they fit into a processor's cache."""
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


def paired_test(table: ContingencyTable) -> PairedTest:
    """Return the exact unconditional tests whether the difference is above or below a margin."""
    return PairedTest(
        lambda margin: score_test(table, margin),
        lambda margin: score_test(table.mirrored, -margin),
        "exact score test",
    )


@lru_cache(maxsize=4096)
def interval(table: ContingencyTable, alpha: float, search: Search) -> tuple[float, float]:
    """Return the differences that neither test rejects; see ``confidence_interval``."""
    return confidence_interval(paired_test(table), alpha, search)


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


def background(table: ContingencyTable) -> float:
    """Estimate how often equally good programs gain an example, and as often lose one.

    It is half the share of discordant examples, without those by which gains
    and losses differ more than they do by accident.
    """
    discordant = table.gained + table.lost
    accident = _ACCIDENT * math.sqrt(discordant)
    unequal = max(abs(table.gained - table.lost) - accident, 0.0)
    return (discordant - unequal) / (2 * table.n)


class Alternative(NamedTuple):
    """Programs that differ, as far as a test of right and wrong answers sees it.

    ``chance`` is that of a gain, and of a loss, while they are equally good,
    and ``room`` the largest difference there can be. A program that is better
    by a part of the room also loses that part less.
    """

    chance: float
    room: float


@lru_cache(maxsize=4096)
def detectable(n: int, programs: Alternative, margin: float, alpha: float, power: float) -> float:
    """Return how far beyond ``margin`` a true difference is shown with probability ``power``.

    It is computed from the test's own rejection region. Infinite where no
    difference would be shown.

    Args:
        n: Examples.
        programs: How programs differ.
        margin: The difference that has to be exceeded.
        alpha: The level of the test.
        power: A probability.
    """
    if margin >= 1:
        return math.inf
    critical_gains = _critical_gains(n, margin, alpha)
    if _power(critical_gains, programs, 1.0) < power:
        return math.inf
    low, high = margin, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_shown = _power(critical_gains, programs, middle) >= power
        low, high = (low, middle) if is_shown else (middle, high)
    return high - margin


@lru_cache(maxsize=4096)
def sufficient(chance: float, margin: float, alpha: float, power: float) -> float:
    """Return how many examples show with ``power`` that equal programs exceed a margin.

    Args:
        chance: Chance of a gain, and of a loss, between the programs.
        margin: A difference below 0; infinitely many are needed to show any other.
        alpha: The level of the test.
        power: A probability.
    """
    if margin >= -_TINY:
        return math.inf
    normal = NormalDist()
    expected = np.asarray([chance])
    # The statistic of the expected shares, and its variance by that of no true difference.
    slope = float(_score_statistic(expected, expected, 1, margin)[0])
    spread = math.sqrt(2 * chance) * slope / -margin
    reach = normal.inv_cdf(1 - alpha) + normal.inv_cdf(power) * spread
    # With fewer, the test does not pass even if no example is lost.
    fewest = math.log(alpha) / math.log1p(max(margin, -1 + _TINY))
    return max((reach / slope) ** 2, fewest)


def _power(critical_gains: Counts, programs: Alternative, difference: float) -> float:
    """Return the probability of a significant table if there is a true difference."""
    left = max(1 - abs(difference) / max(programs.room, _TINY), 0.0)
    least = min(programs.chance * left, (1 - abs(difference)) / 2)
    gains = np.asarray([least + max(difference, 0.0)])
    losses = np.asarray([least + max(-difference, 0.0)])
    return float(_rejection_probabilities(critical_gains, gains, losses)[0])


def _score_statistic(
    gained: Counts | Numbers, lost: Counts | Numbers, n: int, margin: float
) -> Numbers:
    """Return Tango's statistic, asymptotically normal if the difference is ``margin``."""
    slope = gained + lost + margin * (gained - lost - 2 * n)
    root = np.sqrt(np.maximum(slope**2 + 8 * n * lost * margin * (1 - margin), 0))
    variance = 2 * (slope + root) / 4 + n * margin * (1 - margin)
    excess = gained - lost - n * margin
    is_nonzero = np.abs(excess) > _TINY
    scaled = excess / np.sqrt(np.maximum(variance, _TINY**2))
    statistic: Numbers = np.where(is_nonzero, scaled, 0.0)
    return statistic


@lru_cache(maxsize=64)
def _critical_gains(n: int, margin: float, alpha: float) -> Counts:
    """Return, by the number lost, the fewest gains that are significant; see ``_fewest_gains``."""
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
    if n <= _FEW:
        lost = np.arange(n + 1)
        reached = _score_statistic(lost[:, np.newaxis], lost, n, margin) >= statistic - _TINY
        fewest = np.where(np.any(reached, axis=0), np.argmax(reached, axis=0), n + 1)
        return np.minimum(fewest, n + 1 - lost)
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
    chunks = np.array_split(losses, math.ceil(_LOSS_CHANCES * n / _CHUNK))
    return min(
        max(
            float(np.max(_rejection_probabilities(gains, chunk + margin, chunk)))
            for chunk in chunks
        ),
        1.0,
    )


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
