"""
The binomial distribution, and Student's: central and not, as far as verdicts need them.

SciPy has them, but importing it takes longer than anything else in a session
that has nothing to compile. The tests hold these against SciPy's.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Counts: TypeAlias = NDArray[np.int64]
    Numbers: TypeAlias = NDArray[np.float64]

_NO_CHANCE = 1e-300
"""In place of 0, which has no logarithm."""
_NEGLIGIBLE = 40.0
"""A weight is left out if its logarithm is so far below that of the largest."""
_POINTS = 2
"""Points of an integral per standard deviation of the narrower of its two factors."""
_HALVINGS = 54


def coin_tail(heads: int, tosses: int) -> float:
    """Return the chance of at least so many heads, exact but for the last division."""
    ways, reaching = 1, 0
    for count in range(tosses, heads - 1, -1):
        reaching += ways
        ways = ways * count // (tosses - count + 1)
    return float(reaching / 2**tosses)


def rare_heads(most: int, alpha: float) -> Counts:
    """
    Return, by the number of tails, the fewest heads whose ``coin_tail`` is below ``alpha``.

    One more than would fit where it takes more than ``most`` tosses.
    """
    least: list[int] = []
    heads, exactly, reaching = 0, 1, 1  # sequences of as many heads, and of at least as many
    for tails in range(most + 1):
        while heads + tails <= most and reaching / 2 ** (heads + tails) >= alpha:
            reaching = 2 * reaching - exactly
            exactly = exactly * (heads + tails + 1) // (heads + 1)
            heads += 1
        least.append(min(heads, most - tails + 1))
        reaching = 2 * reaching + exactly * heads // (tails + 1)
        exactly = exactly * (heads + tails + 1) // (tails + 1)
    return np.asarray(least)


def binomial(successes: Counts, trials: Counts | int, shares: Numbers) -> Numbers:
    """Return the chances of exactly so many successes, in a row for each chance of a success."""
    factorials = _log_factorials(int(np.max(trials, initial=0)))
    failures = trials - successes
    ways = factorials[trials] - factorials[successes] - factorials[failures]
    column = shares[:, np.newaxis]
    succeeding = successes * np.log(np.maximum(column, _NO_CHANCE))
    failing = failures * np.log(np.maximum(1 - column, _NO_CHANCE))
    chances: Numbers = np.exp(ways + succeeding + failing)
    return chances


def binomial_tails(least: Counts, shares: Numbers) -> Numbers:
    """
    Return the chances of at least ``least[m]`` successes in m trials, for every m from 0 on.

    Each is the one before, and the chance that a single success was missing and
    now comes, and those of the numbers of successes that were too few and are
    enough now. Only what is positive is added up, and all that is about one
    term per trial and one per success.

    Args:
        least: What is asked for, less and less from where it can be reached;
            before that, one more than there are trials.
        shares: Chances of a success; the result has a row for each.

    """
    trials = np.arange(len(least))
    before = np.concatenate(([1], least[:-1]))
    comes = np.zeros((len(shares), len(least)))
    last = np.flatnonzero((least <= trials) & (before > 0) & (trials > 0))
    comes[:, last] = shares[:, np.newaxis] * binomial(before[last] - 1, trials[last] - 1, shares)
    eased = np.maximum(before - least, 0)
    ends = np.cumsum(eased)
    enough = np.repeat(least - ends + eased, eased) + np.arange(ends[-1])
    chances = binomial(enough, np.repeat(trials, eased), shares)
    summed = np.cumsum(np.pad(chances, ((0, 0), (1, 0))), axis=1)
    tails: Numbers = np.cumsum(comes, axis=1) + summed[:, ends]
    return tails


@lru_cache(maxsize=64)
def student_critical(tail: float, freedom: int) -> float:
    """Return what Student's t exceeds with probability ``tail``."""
    return _least(lambda critical: _exceeds(critical, freedom, 0.0) <= tail)


def noncentrality(power: float, critical: float, freedom: int) -> float:
    """Return with which noncentrality Student's t exceeds ``critical`` with that probability."""
    return _least(lambda center: _exceeds(critical, freedom, center) >= power)


def _exceeds(critical: float, freedom: int, center: float) -> float:
    """
    Return the chance that a noncentral t exceeds ``critical``.

    It is a normal deviate about ``center``, divided by an independent root mean
    square: an integral over the logarithm of the latter, which the trapezoidal
    rule gets to all digits, as everything in it is smooth and vanishes at the
    ends (Trefethen and Weideman, 2014, SIAM Review 56, 385-458).
    """
    step = 1 / (_POINTS * math.sqrt(2 * freedom + center**2 + 10))
    reach = math.sqrt(_NEGLIGIBLE / freedom)
    weights, exceeding = [], []
    for point in range(-math.ceil((reach**2 + reach) / step), math.ceil(reach / step) + 1):
        scale = math.exp(point * step)
        weight = math.exp(freedom * (point * step + (1 - scale**2) / 2))
        weights.append(weight)
        exceeding.append(weight * math.erfc((critical * scale - center) / math.sqrt(2)) / 2)
    return math.fsum(exceeding) / math.fsum(weights)


def _least(is_enough: Callable[[float], bool]) -> float:
    """Return the least number that is enough, as are all larger ones."""
    low, high = -1.0, 1.0
    while is_enough(low):
        low, high = 2 * low, low
    while not is_enough(high):
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


@lru_cache(maxsize=8)
def _log_factorials(most: int) -> Numbers:
    return np.asarray([math.lgamma(number + 1) for number in range(most + 1)])
