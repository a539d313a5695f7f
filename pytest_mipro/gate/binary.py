"""
Paired scores that are all 0 or 1: tests, interval and detectable difference.

Only the discordant examples say anything: those ``gained``, wrong before and
right after, and those ``lost``. Of ``n`` examples each is gained with some
probability and lost with another, and the true difference of means is the
first minus the second.
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
    Answers: TypeAlias = NDArray[np.bool_]

_CHANCES = 101
"""Chances of a loss that are tried for the worst of them."""
_STEPS = 16
"""Halvings: what is searched for is known to 1/65,536 of the range."""
_EXACT_MOST = 500
"""Examples up to which the exact test is looked into for what it can detect."""
_TINY = 1e-9


class PairCounts(NamedTuple):
    """Counts of paired answers: all examples, those gained, those lost."""

    n: int
    gained: int
    lost: int


def mcnemar(table: PairCounts) -> float:
    """
    Return the one-sided p-value of the exact McNemar test.

    McNemar (1947), Psychometrika 12, 153-157: without a true difference, a
    discordant example is gained or lost with equal chances.
    """
    return distributions.coin_tail(table.gained, table.gained + table.lost)


@lru_cache(maxsize=4096)
def beyond(table: PairCounts, margin: float) -> float:
    """
    Return the one-sided p-value against "the true difference is at most ``margin``".

    The exact unconditional test with the score statistic: the largest chance,
    over all chances of a loss, of a statistic as large as the one observed.
    Unlike the score test and the Wald tests it keeps its level at any n. See
    Tango (1998), Statistics in Medicine 17, 891-908, for the statistic, and
    Hsueh, Liu and Chen (2001), Biometrics 57, 478-483, for the exact test.

    Args:
        table: What was observed.
        margin: A difference of means.

    """
    if margin >= 1:
        return 1.0
    if margin <= -1:
        return float(margin == -1 and table.lost == table.n)
    gained, lost = np.asarray([table.gained]), np.asarray([table.lost])
    observed = _score(gained, lost, table.n, margin)
    return _tail(float(observed[0]), table.n, margin)


def interval(table: PairCounts, confidence: float) -> tuple[float, float]:
    """
    Return the adjusted Wald interval of the true difference.

    Bonett and Price (2012), Journal of Educational and Behavioral Statistics
    37, 479-488: as if there were one more example gained and one more lost. With
    Student's quantile instead of the normal one, without which it covers too
    seldom where only gains or only losses occur.
    """
    n = table.n + 2
    gained, lost = (table.gained + 1) / n, (table.lost + 1) / n
    center = gained - lost
    error = math.sqrt((gained + lost - center**2) / n)
    reach = distributions.student_critical((1 - confidence) / 2, n - 1) * error
    return max(center - reach, -1.0), min(center + reach, 1.0)


@lru_cache(maxsize=4096)
def detectable(n: int, discordant: int, margin: float, alpha: float, power: float) -> float:
    """
    Return how far beyond ``margin`` a true difference is shown with probability ``power``.

    It is computed from the test's own rejection region. The share of discordant
    examples is taken as observed, with half an example added, and larger where
    the difference needs it. Infinite where no difference would be shown.

    Args:
        n: Examples.
        discordant: Examples gained or lost.
        margin: What a difference has to exceed.
        alpha: The level of the test.
        power: A probability.

    """
    is_plain = margin == 0
    least = distributions.rare_heads(n, alpha) if is_plain else _score_region(n, margin, alpha)
    share = (discordant + 0.5) / (n + 1)

    def is_shown(difference: float) -> bool:
        moved = np.asarray([max(share, abs(difference))])
        chances = _chances(least, (moved + difference) / 2, (moved - difference) / 2)
        return float(chances[0]) >= power

    low, high = margin, 1.0
    if margin >= 1 or not is_shown(high):
        return math.inf
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_shown(middle) else (middle, high)
    return high - margin


def _score(gained: Counts, lost: Counts, n: int, margin: float) -> Numbers:
    """Return Tango's statistic, asymptotically normal if the difference is ``margin``."""
    slope = gained + lost + margin * (gained - lost - 2 * n)
    root = np.sqrt(np.maximum(slope**2 + 8 * n * lost * margin * (1 - margin), 0))
    variance = 2 * (slope + root) / 4 + n * margin * (1 - margin)
    beyond_margin = gained - lost - n * margin
    at_all = np.abs(beyond_margin) > _TINY
    scaled = beyond_margin / np.sqrt(np.maximum(variance, _TINY**2))
    found: Numbers = np.where(at_all, scaled, 0.0)
    return found


def _least_gains(n: int, is_enough: Callable[[Counts, Counts], Answers]) -> Counts:
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


def _reaching(statistic: float, n: int, margin: float) -> Counts:
    return _least_gains(
        n, lambda gained, lost: _score(gained, lost, n, margin) >= statistic - _TINY
    )


def _tail(statistic: float, n: int, margin: float) -> float:
    least = _reaching(statistic, n, margin)
    losses = np.linspace(max(0.0, -margin), (1 - margin) / 2, _CHANCES)
    return min(float(np.max(_chances(least, losses + margin, losses))), 1.0)


def _chances(least: Counts, gains: Numbers, losses: Numbers) -> Numbers:
    """Return, for each pair of chances, that of at least so many gains, whatever is lost."""
    n = len(least) - 1
    lost = np.arange(n + 1)
    shares = np.clip(gains / np.maximum(1 - losses, _TINY), 0, 1)
    reached = distributions.binomial_tails(least[::-1], shares)[:, ::-1]
    found: Numbers = np.sum(distributions.binomial(lost, n, losses) * reached, axis=1)
    return found


@lru_cache(maxsize=64)
def _score_region(n: int, margin: float, alpha: float) -> Counts:
    normal = NormalDist().inv_cdf(1 - alpha)
    low, high = normal - 1, normal + 3
    if n > _EXACT_MOST:
        # The exact test takes seconds by then, and its level is about that of the score test.
        return _reaching(normal, n, margin)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if _tail(middle, n, margin) < alpha else (middle, high)
    return _reaching(high, n, margin)
