"""The binomial distribution, and Student's t: central and noncentral, as far as verdicts need them.

SciPy has them, but importing scipy.special costs 0.28 s of processor time in
every session, where importing pytest, DSPy and SQLAlchemy takes 1.35 s. The
tests hold these functions against SciPy's.
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
_NEAR = 3.0
"""The bound, about twice the mean, below which the fraction of the other tail converges fast."""
_MOST_TERMS, _ROUNDING = 500, 1e-15
"""The end of a continued fraction."""


def binomial_at_most(successes: int, trials: int, chance: float) -> float:
    """Return the probability of at most ``successes`` in ``trials``."""
    counts = np.arange(min(successes, trials) + 1)
    return min(float(np.sum(binomial(counts, trials, np.asarray([chance])))), 1.0)


def binomial(successes: Counts, trials: Counts | int, chances: Numbers) -> Numbers:
    """Return the binomial probabilities of exactly ``successes`` in ``trials``.

    The result has a row for each of the ``chances`` of a success.
    """
    factorials = _log_factorials(int(np.max(trials, initial=0)))
    failures = trials - successes
    sequences = factorials[trials] - factorials[successes] - factorials[failures]
    column = chances[:, np.newaxis]
    log_successes = successes * np.log(np.maximum(column, _NO_CHANCE))
    log_failures = failures * np.log(np.maximum(1 - column, _NO_CHANCE))
    probabilities: Numbers = np.exp(sequences + log_successes + log_failures)
    return probabilities


def binomial_tails(least: Counts, chances: Numbers) -> Numbers:
    """Return the probabilities of at least ``least[m]`` successes in m trials, for all m from 0.

    With one more trial, the tail grows by the probability that one success was
    missing and the new trial is it. Where ``least`` falls, it also grows by the
    probabilities of the counts that are enough only now. All terms are
    positive, so no digits cancel, and there is about one term per trial and one
    per success.

    Args:
        least: Never rises, once it is at most the number of trials; until then
            it is one more than that number.
        chances: Chances of a success; the result has a row for each.
    """
    trials = np.arange(len(least))
    previous = np.concatenate(([1], least[:-1]))
    completed = np.zeros((len(chances), len(least)))
    last = np.flatnonzero((least <= trials) & (previous > 0) & (trials > 0))
    one_missing = binomial(previous[last] - 1, trials[last] - 1, chances)
    completed[:, last] = chances[:, np.newaxis] * one_missing
    falls = np.maximum(previous - least, 0)
    ends = np.cumsum(falls)
    newly_enough = np.repeat(least - ends + falls, falls) + np.arange(ends[-1])
    added = binomial(newly_enough, np.repeat(trials, falls), chances)
    sums = np.zeros((len(chances), len(newly_enough) + 1))
    np.cumsum(added, axis=1, out=sums[:, 1:])
    tails: Numbers = np.cumsum(completed, axis=1) + sums[:, ends]
    return tails


@lru_cache(maxsize=64)
def student_critical(tail: float, freedom: int) -> float:
    """Return the value that Student's t exceeds with probability ``tail``."""
    return least(lambda critical: student_tail(critical, freedom) <= tail)


@lru_cache(maxsize=64)
def noncentrality(power: float, critical: float, freedom: int) -> float:
    """Return the noncentrality with which Student's t exceeds ``critical`` with that ``power``."""
    return least(lambda center: _noncentral_tail(critical, freedom, center) >= power)


def student_tail(value: float, freedom: int) -> float:
    """Return the probability that Student's t exceeds ``value``.

    It is half a regularized incomplete beta function, by the continued fraction
    of Abramowitz and Stegun (1964), Handbook of Mathematical Functions, 26.5.8.
    """
    if value < 0:
        return 1 - student_tail(-value, freedom)
    part = value**2 / (freedom + value**2)
    # The fraction converges fast on one side of the mean.
    if part * (freedom + 5) < _NEAR:
        return 0.5 - _incomplete_beta(0.5, freedom / 2, part) / 2
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + value**2)) / 2


def _incomplete_beta(first: float, second: float, part: float) -> float:
    """Return the regularized incomplete beta function of ``part``."""
    if part <= 0:
        return 0.0
    front = math.exp(
        math.lgamma(first + second)
        - math.lgamma(first)
        - math.lgamma(second)
        + first * math.log(part)
        + second * math.log1p(-part)
    )
    # Lentz's method: numerator and denominator of a convergent by those of the one before.
    numerator, denominator = 1.0, 1 / (1 - (first + second) * part / (first + 1))
    value = denominator
    for term in range(1, _MOST_TERMS):
        for coefficient in _beta_coefficients(first, second, part, term):
            denominator = 1 / (1 + coefficient * denominator)
            numerator = 1 + coefficient / numerator
            value *= numerator * denominator
        if abs(numerator * denominator - 1) < _ROUNDING:
            break
    return front * value / first


def _beta_coefficients(first: float, second: float, part: float, term: int) -> tuple[float, float]:
    """Return two successive coefficients of the continued fraction."""
    even = term * (second - term) * part / ((first + 2 * term - 1) * (first + 2 * term))
    total = (first + term) * (first + second + term) * part
    return even, -total / ((first + 2 * term) * (first + 2 * term + 1))


def _noncentral_tail(critical: float, freedom: int, center: float) -> float:
    """Return the probability that a noncentral t exceeds ``critical``.

    A noncentral t is a normal deviate about ``center``, divided by an
    independent root mean square. The probability is an integral over the
    logarithm of the latter. The trapezoidal rule gets it to all digits, as the
    integrand is smooth and vanishes at both ends (Trefethen and Weideman, 2014,
    SIAM Review 56, 385-458).
    """
    step = 1 / (_POINTS * math.sqrt(2 * freedom + center**2 + 10))
    reach = math.sqrt(_NEGLIGIBLE / freedom)
    weights, tails = [], []
    for point in range(-math.ceil((reach**2 + reach) / step), math.ceil(reach / step) + 1):
        scale = math.exp(point * step)
        weight = math.exp(freedom * (point * step + (1 - scale**2) / 2))
        weights.append(weight)
        tails.append(weight * math.erfc((critical * scale - center) / math.sqrt(2)) / 2)
    return math.fsum(tails) / math.fsum(weights)


def least(is_enough: Callable[[float], bool]) -> float:
    """Return the least number that is enough, where all larger numbers are enough as well."""
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
