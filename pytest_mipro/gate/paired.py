"""
Two programs on the same examples: is one better, by how much, how sure?

Pure functions from scores to numbers; ``binary.py`` and ``graded.py`` have the
methods and their sources.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_mipro.gate import binary, graded
from pytest_mipro.records import PairedComparison

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pytest_mipro.records import Unit

POWER = 0.8
CONFIDENCE = 0.95


def compare(
    baseline: Sequence[float],
    compiled: Sequence[float],
    *,
    margin: float = 0.0,
    alpha: float = 0.05,
    clusters: Sequence[Hashable] = (),
) -> PairedComparison:
    """
    Compare two programs' scores on the same examples, in the same order.

    Scores that are all 0 or 1 are compared by the exact McNemar test, with a
    margin by the exact unconditional score test, and with an adjusted Wald
    interval. Other scores are compared by sign flips and a studentized
    bootstrap, and with Student's interval or the bootstrap's, whichever is
    wider; so are examples in clusters, which then are what is independent. The
    difference is that of the means over examples in any case.

    Args:
        baseline: Scores of the one program.
        compiled: Scores of the other.
        margin: The difference the other has to exceed.
        alpha: Chance of a wrong PASS that the detectable effect refers to.
        clusters: What each example belongs to; empty if each is on its own.

    Raises:
        ValueError: The scores are not paired, empty, or not finite.

    """
    _refuse(baseline, compiled, margin, clusters)
    groups = tuple(clusters) if len(set(clusters)) < len(clusters) else ()
    return _compare(tuple(baseline), tuple(compiled), margin, alpha, groups)


def compare_costs(  # ruff: ignore[too-many-arguments] - what a comparison is made of
    before: Sequence[float],
    after: Sequence[float],
    *,
    ratio: float,
    unit: Unit,
    alpha: float = 0.05,
    clusters: Sequence[Hashable] = (),
) -> PairedComparison:
    """
    Compare what two programs take for the same examples, in the same order.

    Whether the one takes more than ``ratio`` times what the other takes is
    whether what it takes beyond that is positive on average, which is compared
    as scores that are neither right nor wrong. The interval is that of a ratio
    of means: of what the one takes beyond the ratio that was found (Cochran,
    1977, Sampling Techniques, section 6.4).

    Args:
        before: What the one program takes for each example.
        after: What the other takes.
        ratio: How many times as much it may take.
        unit: What they take.
        alpha: Chance of a wrong verdict that the detectable effect refers to.
        clusters: What each example belongs to; empty if each is on its own.

    Raises:
        ValueError: The amounts are not paired, empty, or not finite.

    """
    _refuse(before, after, ratio, clusters)
    groups = tuple(clusters) if len(set(clusters)) < len(clusters) else ()
    n = len(before)
    one, other = math.fsum(before) / n, math.fsum(after) / n
    # The methods are for numbers around 1, and dollars are far below.
    scale = max(one, other) or 1.0
    allowed = _beyond(before, after, ratio, scale, groups)
    evidence = graded.evidence(allowed, 0.0)
    found = _beyond(before, after, other / one if one else 0.0, scale, groups)
    low, high = (each - found.mean for each in graded.interval(found, CONFIDENCE))
    return PairedComparison(
        n=n,
        baseline=one,
        compiled=other,
        difference=other - one,
        low=other - one + low * scale,
        high=other - one + high * scale,
        p_value=evidence.above,
        detectable=graded.detectable(allowed, alpha, POWER) * scale,
        margin=(ratio - 1) * one,
        confidence=CONFIDENCE,
        method=evidence.method,
        p_opposite=evidence.below,
        clusters=len(set(groups)),
        unit=unit,
    )


def _beyond(
    before: Sequence[float],
    after: Sequence[float],
    ratio: float,
    scale: float,
    clusters: Sequence[Hashable],
) -> graded.Units:
    """Return by how much each amount exceeds ``ratio`` times the other one."""
    pairs = zip(before, after, strict=True)
    return _units([(then - ratio * first) / scale for first, then in pairs], clusters)


@lru_cache(maxsize=16)
def _compare(
    baseline: tuple[float, ...],
    compiled: tuple[float, ...],
    margin: float,
    alpha: float,
    clusters: tuple[Hashable, ...],
) -> PairedComparison:
    """Compare; cached because several verdicts and the report ask for the same."""
    differences = [after - before for before, after in zip(baseline, compiled, strict=True)]
    n, distinct = len(differences), len(set(clusters))
    units = _units(differences, clusters)
    table = binary.PairCounts(
        n, *(sum(sign * each > 0 for each in differences) for sign in (1, -1))
    )
    is_binary = {*baseline, *compiled} <= {0.0, 1.0}
    alone = _alone(table, margin, alpha) if is_binary else None
    if alone is None or clusters:
        found = _Found(
            graded.evidence(units, margin),
            graded.interval(units, CONFIDENCE),
            graded.detectable(units, alpha, POWER),
        )
        # Few answers that changed are no certainty, and in clusters even less than alone.
        found = found if alone is None else _weaker(found, alone)
    else:
        found = alone
    return PairedComparison(
        n=n,
        baseline=math.fsum(baseline) / n,
        compiled=math.fsum(compiled) / n,
        difference=math.fsum(differences) / n,
        low=found.interval[0],
        high=found.interval[1],
        p_value=found.evidence.above,
        detectable=found.detectable,
        margin=margin,
        confidence=CONFIDENCE,
        method=found.evidence.method,
        p_opposite=found.evidence.below,
        clusters=distinct,
    )


def _refuse(
    baseline: Sequence[float],
    compiled: Sequence[float],
    margin: float,
    clusters: Sequence[Hashable],
) -> None:
    if len(baseline) != len(compiled) or not baseline:
        message = f"expected as many scores twice, got {len(baseline)} and {len(compiled)}"
        raise ValueError(message)
    if clusters and len(clusters) != len(baseline):
        message = f"expected a cluster for each of {len(baseline)} scores, got {len(clusters)}"
        raise ValueError(message)
    if not all(map(math.isfinite, (*baseline, *compiled, margin))):
        message = "expected finite scores and a finite margin"
        raise ValueError(message)


class _Found(NamedTuple):
    """What a method says of a comparison."""

    evidence: graded.Evidence
    interval: tuple[float, float]
    detectable: float


def _alone(table: binary.PairCounts, margin: float, alpha: float) -> _Found:
    """Return what there is to say of answers that are right or wrong, each on its own."""
    mirrored = binary.PairCounts(table.n, table.lost, table.gained)
    if margin == 0:
        above, below = binary.mcnemar(table), binary.mcnemar(mirrored)
        method = "exact McNemar test"
    else:
        above, below = binary.beyond(table, margin), binary.beyond(mirrored, -margin)
        method = "exact score test"
    discordant = table.gained + table.lost
    return _Found(
        graded.Evidence(above, below, method),
        binary.interval(table, CONFIDENCE),
        binary.detectable(table.n, discordant, margin, alpha, POWER),
    )


def _weaker(one: _Found, other: _Found) -> _Found:
    first = max(one.evidence, other.evidence, key=lambda evidence: evidence.above)
    below = max(one.evidence.below, other.evidence.below)
    return _Found(
        first._replace(below=below),
        (min(one.interval[0], other.interval[0]), max(one.interval[1], other.interval[1])),
        max(one.detectable, other.detectable),
    )


def _units(differences: Sequence[float], clusters: Sequence[Hashable]) -> graded.Units:
    """Return the differences by cluster, or each on its own."""
    members: dict[Hashable, list[float]] = {}
    for cluster, difference in zip(clusters or range(len(differences)), differences, strict=True):
        members.setdefault(cluster, []).append(difference)
    return graded.Units(
        np.asarray([math.fsum(each) for each in members.values()]),
        np.asarray([float(len(each)) for each in members.values()]),
    )
