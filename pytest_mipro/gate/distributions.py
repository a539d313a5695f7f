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


def fair_binomial_tail(successes: int, trials: int) -> float:
    """Return the chance of at least ``successes`` in ``trials``, each with a chance of one half.

    It counts sequences of outcomes as whole numbers, so only the last division rounds.
    """
    sequences, tail = 1, 0
    for count in range(trials, successes - 1, -1):
        tail += sequences
        sequences = sequences * count // (trials - count + 1)
    return float(tail / 2**trials)


def fair_critical_successes(most_trials: int, alpha: float) -> Counts:
    """Return, by the number of failures, the fewest successes that are significant.

    Successes are significant if their ``fair_binomial_tail`` is below
    ``alpha``. The result is one more than ``most_trials`` has room for where
    that takes more trials.
    """
    critical: list[int] = []
    # Of all sequences of outcomes: those with as many successes, and those with at least as many.
    successes, exact, tail = 0, 1, 1
    for failures in range(most_trials + 1):
        while successes + failures <= most_trials and tail / 2 ** (successes + failures) >= alpha:
            tail = 2 * tail - exact
            exact = exact * (successes + failures + 1) // (successes + 1)
            successes += 1
        critical.append(min(successes, most_trials - failures + 1))
        tail = 2 * tail + exact * successes // (failures + 1)
        exact = exact * (successes + failures + 1) // (failures + 1)
    return np.asarray(critical)


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
    sums = np.cumsum(np.pad(added, ((0, 0), (1, 0))), axis=1)
    tails: Numbers = np.cumsum(completed, axis=1) + sums[:, ends]
    return tails


@lru_cache(maxsize=64)
def student_critical(tail: float, freedom: int) -> float:
    """Return the value that Student's t exceeds with probability ``tail``."""
    return _least(lambda critical: _noncentral_t_tail(critical, freedom, 0.0) <= tail)


def noncentrality(power: float, critical: float, freedom: int) -> float:
    """Return the noncentrality with which Student's t exceeds ``critical`` with that ``power``."""
    return _least(lambda center: _noncentral_t_tail(critical, freedom, center) >= power)


def _noncentral_t_tail(critical: float, freedom: int, center: float) -> float:
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


def _least(is_enough: Callable[[float], bool]) -> float:
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
