"""
Two programs on the same examples: is one better, by how much, how sure?

Pure functions from scores to numbers; SciPy does the statistics.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from pytest_mipro.records import PairedComparison

if TYPE_CHECKING:
    from collections.abc import Sequence

POWER = 0.8
CONFIDENCE = 0.95
_RESAMPLES = 100_000
_SEED = 0
_TINY = 1e-12
_PRECISION = 1e-9
"""What counts as equal, as a part of the largest difference."""


class _Estimate(NamedTuple):
    """The mean difference, its interval, and the standard error behind it."""

    center: float
    low: float
    high: float
    error: float


def compare(
    baseline: Sequence[float],
    compiled: Sequence[float],
    *,
    margin: float = 0.0,
    alpha: float = 0.05,
) -> PairedComparison:
    """
    Compare two programs' scores on the same examples, in the same order.

    Scores that are all 0 or 1 are compared by the exact McNemar test (without
    a margin) and with the interval of Bonett and Price (2012), which stays
    honest when few examples or none differ. Other scores are compared by a
    sign-flip permutation test, exact when small, and Student's interval.

    Args:
        baseline: Scores of the one program.
        compiled: Scores of the other.
        margin: The difference the other has to exceed.
        alpha: Chance of a wrong PASS that the detectable effect refers to.

    Raises:
        ValueError: The scores are not paired, empty, or not finite.

    """
    if len(baseline) != len(compiled) or not baseline:
        message = f"expected as many scores twice, got {len(baseline)} and {len(compiled)}"
        raise ValueError(message)
    if not all(map(math.isfinite, (*baseline, *compiled, margin))):
        message = "expected finite scores and a finite margin"
        raise ValueError(message)
    differences = [after - before for before, after in zip(baseline, compiled, strict=True)]
    binary = {*baseline, *compiled} <= {0.0, 1.0}
    estimate = _wald(differences) if binary else _student(differences)
    p_value, method = _test(differences, margin, estimate, binary=binary)
    n = len(differences)
    return PairedComparison(
        n=n,
        baseline=math.fsum(baseline) / n,
        compiled=math.fsum(compiled) / n,
        difference=math.fsum(differences) / n,
        low=estimate.low,
        high=estimate.high,
        p_value=p_value,
        detectable=_detectable(estimate.error, alpha),
        margin=margin,
        confidence=CONFIDENCE,
        method=method,
    )


def _wald(differences: Sequence[float]) -> _Estimate:
    """Bonett and Price's adjusted Wald interval: one more of each discordant pair."""
    n = len(differences) + 2
    gained = (sum(difference > 0 for difference in differences) + 1) / n
    lost = (sum(difference < 0 for difference in differences) + 1) / n
    center = gained - lost
    error = math.sqrt((gained + lost - center**2) / n)
    reach = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    return _Estimate(center, max(center - reach, -1.0), min(center + reach, 1.0), error)


def _student(differences: Sequence[float]) -> _Estimate:
    n = len(differences)
    if n == 1:
        # A spread takes two.
        return _Estimate(differences[0], -math.inf, math.inf, math.inf)
    mean = math.fsum(differences) / n
    variance = math.fsum((difference - mean) ** 2 for difference in differences) / (n - 1)
    error = math.sqrt(variance / n)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    return _Estimate(mean, mean - reach, mean + reach, error)


def _test(
    differences: Sequence[float], margin: float, estimate: _Estimate, *, binary: bool
) -> tuple[float, str]:
    if binary and margin == 0:
        return _mcnemar(differences), "exact McNemar test"
    if binary:
        distance = (estimate.center - margin) / estimate.error
        return float(stats.norm.sf(distance)), "adjusted Wald test"
    return _sign_flip([difference - margin for difference in differences])


def _mcnemar(differences: Sequence[float]) -> float:
    gained = sum(difference > 0 for difference in differences)
    discordant = sum(difference != 0 for difference in differences)
    if discordant == 0:
        return 1.0
    return float(stats.binomtest(gained, discordant, 0.5, alternative="greater").pvalue)


def _sign_flip(differences: Sequence[float]) -> tuple[float, str]:
    moved = [difference for difference in differences if abs(difference) > _TINY]
    if not moved:
        return 1.0, "sign-flip permutation test"
    if len(moved) == 1:
        return (0.5 if moved[0] > 0 else 1.0), "exact sign-flip permutation test"
    exact = 2 ** len(moved) <= _RESAMPLES
    # Sums of whole numbers are exact, so equal means are ties in whatever order they add up.
    units = np.rint(np.asarray(moved) / (max(map(abs, moved)) * _PRECISION))
    result = stats.permutation_test(
        (units,),
        lambda sample, axis: np.sum(sample, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=1000,
        alternative="greater",
        rng=np.random.default_rng(_SEED),
    )
    return float(result.pvalue), f"{'exact ' if exact else ''}sign-flip permutation test"


def _detectable(error: float, alpha: float) -> float:
    """Return the true difference a one-sided test at ``alpha`` shows with probability ``POWER``."""
    return float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(POWER)) * error
