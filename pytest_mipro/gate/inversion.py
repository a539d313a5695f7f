"""The confidence interval that belongs to a test: all differences that the test does not reject.

Word, p-value and interval come from one test, so that they cannot contradict
each other: the interval lies above a margin exactly if the test rejects "the
difference is at most the margin".
"""

from __future__ import annotations

from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_STEPS = 60
_LEAST_P = 1e-6
_BISECTED = 3
"""Each third step halves the bracket, so that flat parts of a p-value cost little."""
_NEAR = 4.0
"""Standard errors within which an end of an interval mostly is."""
_NEAREST = 0.02
"""The part of the bracket that a step keeps from both ends."""


class PairedTest(NamedTuple):
    """A pair of one-sided tests of a difference, each a function from a margin to a p-value.

    ``above`` is against "the difference is at most the margin", ``below``
    against "the difference is at least the margin".
    """

    above: Callable[[float], float]
    below: Callable[[float], float]
    method: str


class Search(NamedTuple):
    """Where the ends of an interval are searched for.

    ``estimate`` is the observed difference, which neither test rejects;
    ``margin`` the one that the verdict is about; ``least`` and ``most`` the
    smallest and the largest that are possible; ``error`` a rough standard
    error. The ends are as exact as ``precision``.
    """

    estimate: float
    margin: float
    least: float
    most: float
    error: float
    precision: float


def confidence_interval(test: PairedTest, alpha: float, search: Search) -> tuple[float, float]:
    """Return the differences that neither one-sided test rejects at ``alpha``.

    The interval has a confidence of 1 - 2 * alpha. The margin is on the right
    side of both ends, also where a p-value is not monotone in the margin: the
    search for an end starts there.
    """
    return (
        _end(cache(test.above), alpha, search, search.least),
        _end(cache(test.below), alpha, search, search.most),
    )


def _end(p_value: Callable[[float], float], alpha: float, search: Search, limit: float) -> float:
    """Return the end of the interval that is towards ``limit``."""
    inside, margin = search.estimate, search.margin
    if p_value(margin) < alpha:
        return _crossing(p_value, inside, margin, alpha, search.precision)
    towards = 1 if limit > inside else -1
    if (margin - inside) * towards > 0:
        inside = margin
    outside = inside + towards * _NEAR * search.error
    if (limit - outside) * towards <= 0 or p_value(outside) >= alpha:
        outside = limit
    return _crossing(p_value, inside, outside, alpha, search.precision)


def _crossing(
    p_value: Callable[[float], float],
    inside: float,
    outside: float,
    alpha: float,
    precision: float,
) -> float:
    """Return where the p-value crosses ``alpha``; ``outside`` if it does not."""
    bound = NormalDist().inv_cdf(alpha)

    def excess(margin: float) -> float:
        # A p-value on the normal scale is nearly linear in the margin.
        p = min(max(p_value(margin), _LEAST_P), 1 - _LEAST_P)
        return NormalDist().inv_cdf(p) - bound

    # A jumping p-value may reject even the estimate.
    inner, outer = max(excess(inside), _LEAST_P), excess(outside)
    if outer >= 0:
        return outside
    root = outside
    for step in range(_MOST_STEPS):
        part = 0.5 if step % _BISECTED == _BISECTED - 1 else inner / (inner - outer)
        part = min(max(part, _NEAREST), 1 - _NEAREST)
        middle = inside + part * (outside - inside)
        if (value := excess(middle)) >= 0:
            inside, inner = middle, value
        else:
            outside, outer = middle, value
        root = inside + inner / (inner - outer) * (outside - inside)
        if min(abs(root - middle), abs(outside - inside)) <= precision:
            break
    return root
