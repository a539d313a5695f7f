"""The paired comparison of two programs on the same examples.

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


class _Inference(NamedTuple):
    """The results of one method about a difference of means."""

    p_values: graded.PValues
    interval: tuple[float, float]
    detectable: float


def compare(
    baseline: Sequence[float],
    compiled: Sequence[float],
    *,
    margin: float = 0.0,
    alpha: float = 0.05,
    clusters: Sequence[Hashable] = (),
) -> PairedComparison:
    """Compare two programs' scores on the same examples, in the same order.

    Scores that are all 0 or 1 are compared by the exact McNemar test, with a
    margin by the exact unconditional score test, and with an adjusted Wald
    interval. Other scores are compared by sign flips and a studentized
    bootstrap, and with the wider one of Student's interval and the bootstrap's.
    So are examples in clusters, where the clusters are the independent units.
    The difference is always that of the means over examples.

    Args:
        baseline: Scores of the baseline.
        compiled: Scores of the compiled program.
        margin: The difference that has to be exceeded.
        alpha: Chance of a wrong PASS that the detectable effect refers to.
        clusters: The cluster of each example; empty if there are no clusters.

    Raises:
        ValueError: The scores are not paired, empty, or not finite.
    """
    _check(baseline, compiled, margin, clusters)
    return _compare(tuple(baseline), tuple(compiled), margin, alpha, _distinct(clusters))


def compare_costs(  # ruff: ignore[too-many-arguments] - what a comparison is made of
    baseline: Sequence[float],
    compiled: Sequence[float],
    *,
    ratio: float,
    unit: Unit,
    alpha: float = 0.05,
    clusters: Sequence[Hashable] = (),
) -> PairedComparison:
    """Compare the costs of two programs' answers to the same examples, in the same order.

    The compiled program costs more than ``ratio`` times as much if the excess
    of its costs over that multiple is positive on average; excesses are
    compared like graded scores. The interval is that of a ratio of means: of
    the excess over the observed ratio (Cochran, 1977, Sampling Techniques,
    section 6.4).

    Args:
        baseline: Costs of the baseline, or of the program in its place.
        compiled: Costs of the compiled program.
        ratio: How many times as much is allowed.
        unit: The unit of the costs.
        alpha: Chance of a wrong verdict that the detectable effect refers to.
        clusters: The cluster of each example; empty if there are no clusters.

    Raises:
        ValueError: The costs are not paired, empty, or not finite.
    """
    _check(baseline, compiled, ratio, clusters)
    groups = _distinct(clusters)
    n = len(baseline)
    baseline_mean, compiled_mean = math.fsum(baseline) / n, math.fsum(compiled) / n
    # The methods are for numbers around 1, and dollars are far below.
    scale = max(baseline_mean, compiled_mean) or 1.0
    excess = _excess(baseline, compiled, ratio, scale, groups)
    p_values = graded.p_values(excess, 0.0)
    observed_ratio = compiled_mean / baseline_mean if baseline_mean else 0.0
    residuals = _excess(baseline, compiled, observed_ratio, scale, groups)
    low, high = (bound - residuals.mean for bound in graded.interval(residuals, CONFIDENCE))
    difference = compiled_mean - baseline_mean
    return PairedComparison(
        n=n,
        baseline=baseline_mean,
        compiled=compiled_mean,
        difference=difference,
        low=difference + low * scale,
        high=difference + high * scale,
        p_value=p_values.above,
        detectable=graded.detectable(excess, alpha, POWER) * scale,
        margin=(ratio - 1) * baseline_mean,
        confidence=CONFIDENCE,
        method=p_values.method,
        p_opposite=p_values.below,
        clusters=len(set(groups)),
        unit=unit,
    )


def _check(
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


def _distinct(clusters: Sequence[Hashable]) -> tuple[Hashable, ...]:
    """Return the clusters, or none where each has only one example."""
    return tuple(clusters) if len(set(clusters)) < len(clusters) else ()


def _excess(
    baseline: Sequence[float],
    compiled: Sequence[float],
    ratio: float,
    scale: float,
    clusters: Sequence[Hashable],
) -> graded.SamplingUnits:
    """Return by how much the compiled program's costs exceed ``ratio`` times the baseline's."""
    pairs = zip(baseline, compiled, strict=True)
    return _units(
        [(compiled_cost - ratio * baseline_cost) / scale for baseline_cost, compiled_cost in pairs],
        clusters,
    )


# Several verdicts and the report compare the same scores.
@lru_cache(maxsize=16)
def _compare(
    baseline: tuple[float, ...],
    compiled: tuple[float, ...],
    margin: float,
    alpha: float,
    clusters: tuple[Hashable, ...],
) -> PairedComparison:
    pairs = zip(baseline, compiled, strict=True)
    differences = [compiled_score - baseline_score for baseline_score, compiled_score in pairs]
    n = len(differences)
    is_binary = {*baseline, *compiled} <= {0.0, 1.0}
    inference = _infer(differences, margin, alpha, clusters, is_binary=is_binary)
    return PairedComparison(
        n=n,
        baseline=math.fsum(baseline) / n,
        compiled=math.fsum(compiled) / n,
        difference=math.fsum(differences) / n,
        low=inference.interval[0],
        high=inference.interval[1],
        p_value=inference.p_values.above,
        detectable=inference.detectable,
        margin=margin,
        confidence=CONFIDENCE,
        method=inference.p_values.method,
        p_opposite=inference.p_values.below,
        clusters=len(set(clusters)),
    )


def _infer(
    differences: list[float],
    margin: float,
    alpha: float,
    clusters: tuple[Hashable, ...],
    *,
    is_binary: bool,
) -> _Inference:
    if not is_binary:
        return _infer_graded(_units(differences, clusters), margin, alpha)
    independent = _infer_binary(differences, margin, alpha)
    if not clusters:
        return independent
    clustered = _infer_graded(_units(differences, clusters), margin, alpha)
    # Where few answers changed, clusters vary little, and graded methods are too certain.
    return _weaker(clustered, independent)


def _infer_graded(units: graded.SamplingUnits, margin: float, alpha: float) -> _Inference:
    return _Inference(
        graded.p_values(units, margin),
        graded.interval(units, CONFIDENCE),
        graded.detectable(units, alpha, POWER),
    )


def _infer_binary(differences: list[float], margin: float, alpha: float) -> _Inference:
    gained, lost = (sum(sign * difference > 0 for difference in differences) for sign in (1, -1))
    table = binary.ContingencyTable(len(differences), gained, lost)
    if margin == 0:
        above, below = binary.mcnemar_test(table), binary.mcnemar_test(table.mirrored)
        method = "exact McNemar test"
    else:
        above, below = binary.score_test(table, margin), binary.score_test(table.mirrored, -margin)
        method = "exact score test"
    return _Inference(
        graded.PValues(above, below, method),
        binary.interval(table, CONFIDENCE),
        binary.detectable(table.n, gained + lost, margin, alpha, POWER),
    )


def _weaker(first: _Inference, second: _Inference) -> _Inference:
    """Return the larger p-values, the union of the intervals, and the larger detectable effect."""
    weaker = max(first.p_values, second.p_values, key=lambda p_values: p_values.above)
    below = max(first.p_values.below, second.p_values.below)
    return _Inference(
        weaker._replace(below=below),
        (
            min(first.interval[0], second.interval[0]),
            max(first.interval[1], second.interval[1]),
        ),
        max(first.detectable, second.detectable),
    )


def _units(differences: Sequence[float], clusters: Sequence[Hashable]) -> graded.SamplingUnits:
    """Return a sampling unit for each cluster, or for each example without clusters."""
    members: dict[Hashable, list[float]] = {}
    for cluster, difference in zip(clusters or range(len(differences)), differences, strict=True):
        members.setdefault(cluster, []).append(difference)
    return graded.SamplingUnits(
        np.asarray([math.fsum(unit) for unit in members.values()]),
        np.asarray([float(len(unit)) for unit in members.values()]),
    )
