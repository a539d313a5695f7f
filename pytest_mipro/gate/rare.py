"""What a sample cannot tell: scores that hardly differ, and losses too rare to be in it.

Student's t and the bootstrap take the spread of a sample for that of all
examples. Where nearly all differences are the same there is no spread to go
by, and where a large loss hits few examples the sample may have none of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pytest_mipro.gate.binary import ContingencyTable
from pytest_mipro.gate.distributions import binomial_at_most
from pytest_mipro.gate.inversion import PairedTest

if TYPE_CHECKING:
    from pytest_mipro.gate.graded import SamplingUnits

_ROUNDING = 1e-9
"""Differences that are closer to 0 are none, as a part of the largest difference."""
_HALVINGS = 20
FEW = 5
"""Changed units from which sign flips, Student's t and the bootstrap have something to go by."""


def count_test(units: SamplingUnits, reach: float) -> PairedTest | None:
    """Return the test by counts, or None where at least ``FEW`` differences are not 0.

    A true loss takes a share of units that lose something, each ``reach`` at
    most. How large that share can be follows from how few of the sample do:
    the exact binomial test of Clopper and Pearson (1934), Biometrika 26,
    404-413. So few gains show nothing.

    Args:
        units: The differences, by sampling unit.
        reach: The largest difference there can be.
    """
    table = changes(units, reach)
    changed = table.gained + table.lost
    if changed >= FEW or 2 * changed > len(units):
        return None
    # All of the loss may be in the largest units.
    most = reach * float(np.max(units.sizes) / np.mean(units.sizes))

    def above(margin: float) -> float:
        return _p_value(table.lost, len(units), -margin / most)

    def below(margin: float) -> float:
        return _p_value(table.gained, len(units), margin / most)

    return PairedTest(above, below, "exact binomial test")


def enough_changes(n: int, alpha: float, power: float) -> float:
    """Return the share of units that has to change for another test than ``count_test`` to reject.

    With that share the changes of a sample are enough with probability
    ``power``. Sign flips of fewer changes cannot be as rare as ``alpha``.
    """
    low, high = 0.0, 1.0
    least = max(min(FEW, n // 2 + 1), math.ceil(-math.log2(alpha)))
    if least > n:
        return math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_enough = binomial_at_most(least - 1, n, middle) <= 1 - power
        low, high = (low, middle) if is_enough else (middle, high)
    return high


def _p_value(changed: int, n: int, share: float) -> float:
    """Return the chance of so few changes if they are at least this share of all."""
    return binomial_at_most(changed, n, min(share, 1.0)) if share > 0 else 1.0


def unseen(n: int, alpha: float, excess: float, reach: float) -> float:
    """Return the share of examples that a sample may lack and that would reverse a verdict.

    A sample has none of this share of all examples with probability ``alpha``.
    0 if they could not change the sign of the excess.

    Args:
        n: Sampling units.
        alpha: The level of the verdict.
        excess: By how much the sample's mean is beyond the margin.
        reach: By how much an example can be beyond the margin in the other direction.
    """
    share = 1 - float(alpha ** (1 / n))
    return share if (1 - share) * abs(excess) <= share * reach else 0.0


def changes(units: SamplingUnits, reach: float) -> ContingencyTable:
    """Return how many units' differences are above 0, and how many below."""
    differences = units.totals / units.sizes / reach
    gained, lost = (int(np.sum(sign * differences > _ROUNDING)) for sign in (1, -1))
    return ContingencyTable(len(units), gained, lost)
