"""The paired comparison of two programs on the same examples.

Pure functions from scores to numbers; ``binary.py`` and ``graded.py`` have the
methods and their sources.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_mipro.gate import binary, graded, rare
from pytest_mipro.gate.inversion import PairedTest, Search, confidence_interval
from pytest_mipro.records import PairedComparison

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pytest_mipro.records import Unit

POWER = 0.8
_PRECISION = 1e-4
"""How exactly the ends of an interval are computed, as a part of the largest difference."""
_FARTHEST = 1000.0
"""A ratio of costs beyond which an interval has no end."""
_MOST_STRETCHED = 2.0
"""How many times as much a program may lack, or have, of its scores at a distance."""
_TINY, _ROUNDING = 1e-12, 1e-6
_DEAR = 20.0
"""How many times as much as the mean a rare answer may take."""


class _Question(NamedTuple):
    """The margin and the level of a comparison, and the side on which a difference shall show."""

    margin: float
    alpha: float
    worse: bool


class _Inference(NamedTuple):
    """The results of one method about a difference of means."""

    test: PairedTest
    detectable: float
    sufficient: float
    unseen: float = 0.0
    table: binary.ContingencyTable | None = None


def compare(  # ruff: ignore[too-many-arguments] - what a comparison is made of
    comparator: Sequence[float],
    compiled: Sequence[float],
    *,
    margin: float = 0.0,
    alpha: float = 0.05,
    clusters: Sequence[Hashable] = (),
    worse: bool = False,
) -> PairedComparison:
    """Compare two programs' scores on the same examples, in the same order.

    Scores that are all 0 or 1 are compared by the exact unconditional score
    test, other scores by sign flips, or by Student's t and a studentized
    bootstrap, or by counts where hardly any differ. So are examples in
    clusters, where the clusters are the independent units. The interval is the
    inversion of the test. The difference is always that of the means over
    examples.

    Args:
        comparator: Scores of the program that it is compared with.
        compiled: Scores of the compiled program.
        margin: The difference that has to be exceeded.
        alpha: The level of both one-sided tests, below 0.5.
        clusters: The cluster of each example; empty if there are no clusters.
        worse: Whether the detectable difference is one below the margin.

    Raises:
        ValueError: The scores are not paired, empty, or not finite.
    """
    _check(comparator, compiled, margin, clusters)
    question = _Question(margin, alpha, worse)
    return _compare(tuple(comparator), tuple(compiled), question, _distinct(clusters))


def compare_costs(  # ruff: ignore[too-many-arguments] - what a comparison is made of
    comparator: Sequence[float],
    compiled: Sequence[float],
    *,
    ratio: float,
    unit: Unit,
    alpha: float = 0.05,
    clusters: Sequence[Hashable] = (),
) -> PairedComparison:
    """Compare the costs of two programs' answers to the same examples, in the same order.

    The ratio of means is compared with ``ratio`` like a mean of graded scores,
    with the comparator's costs in the place of the number of examples, and its
    interval is Fieller's: all ratios that the test does not reject.

    Args:
        comparator: Costs of the program that it is compared with.
        compiled: Costs of the compiled program.
        ratio: How many times as much is allowed.
        unit: The unit of the costs.
        alpha: The level of both one-sided tests, below 0.5.
        clusters: The cluster of each example; empty if there are no clusters.

    Raises:
        ValueError: The costs are not paired, empty, or not finite.
    """
    _check(comparator, compiled, ratio, clusters)
    groups, n = _distinct(clusters), len(comparator)
    comparator_mean, compiled_mean = math.fsum(comparator) / n, math.fsum(compiled) / n
    # The methods are for numbers around 1, and dollars are far below.
    scale = comparator_mean or compiled_mean or 1.0
    units = _grouped(
        [cost / scale for cost in compiled], [cost / scale for cost in comparator], groups
    )
    test = graded.paired_test(units)
    difference, p_value = compiled_mean - comparator_mean, test.above(ratio)
    comparison = PairedComparison(
        n=n,
        comparator=comparator_mean,
        compiled=compiled_mean,
        difference=difference,
        # Where the comparator took nothing, any cost is an infinite ratio, or nothing is shown.
        low=difference if p_value < alpha else -math.inf,
        high=math.inf,
        p_value=p_value,
        detectable=math.inf,
        margin=(ratio - 1) * comparator_mean,
        confidence=1 - 2 * alpha,
        method=test.method,
        p_opposite=test.below(ratio),
        clusters=len(set(groups)),
        unit=unit,
    )
    return _with_ratios(comparison, units, test, ratio, alpha) if comparator_mean else comparison


def _with_ratios(
    comparison: PairedComparison,
    units: graded.SamplingUnits,
    test: PairedTest,
    ratio: float,
    alpha: float,
) -> PairedComparison:
    """Return a comparison of costs with all figures that need a ratio to the comparator."""
    low, high = _ratio_interval(units, test, ratio, alpha)
    comparator, sizes = comparison.comparator, comparison.n / len(units)
    return replace(
        comparison,
        low=(low - 1) * comparator,
        high=(high - 1) * comparator,
        detectable=graded.detectable(len(units), lambda _: units.deviation, alpha, POWER)
        * comparator,
        sufficient=graded.sufficient(units.deviation, ratio - 1, alpha, POWER) * sizes,
        unseen=rare.unseen(len(units), alpha, units.ratio - ratio, _DEAR * ratio),
    )


def _ratio_interval(
    units: graded.SamplingUnits, test: PairedTest, ratio: float, alpha: float
) -> tuple[float, float]:
    farthest = _FARTHEST * max(ratio, units.ratio)
    error = units.deviation / math.sqrt(len(units))
    precision = _PRECISION * max(ratio, units.ratio)
    search = Search(units.ratio, ratio, 0.0, farthest, error, precision)
    low, high = confidence_interval(test, alpha, search)
    return low, high if high < farthest else math.inf


def _check(
    comparator: Sequence[float],
    compiled: Sequence[float],
    margin: float,
    clusters: Sequence[Hashable],
) -> None:
    if len(comparator) != len(compiled) or not comparator:
        message = f"expected as many scores twice, got {len(comparator)} and {len(compiled)}"
        raise ValueError(message)
    if clusters and len(clusters) != len(comparator):
        message = f"expected a cluster for each of {len(comparator)} scores, got {len(clusters)}"
        raise ValueError(message)
    if not all(map(math.isfinite, (*comparator, *compiled, margin))):
        message = "expected finite scores and a finite margin"
        raise ValueError(message)


def _distinct(clusters: Sequence[Hashable]) -> tuple[Hashable, ...]:
    """Return the clusters, or none where each has only one example."""
    return tuple(clusters) if len(set(clusters)) < len(clusters) else ()


# Several verdicts and the report compare the same scores.
@lru_cache(maxsize=16)
def _compare(
    comparator: tuple[float, ...],
    compiled: tuple[float, ...],
    question: _Question,
    clusters: tuple[Hashable, ...],
) -> PairedComparison:
    scores = _Scores(comparator, compiled, clusters)
    differences = scores.differences
    n, reach = len(differences), scores.reach
    inference = _infer(scores, question)
    difference = math.fsum(differences) / n
    error = math.sqrt(math.fsum(item**2 for item in differences)) / n
    search = Search(difference, question.margin, -reach, reach, error, _PRECISION * reach)
    if inference.table is None:
        low, high = confidence_interval(inference.test, question.alpha, search)
    else:
        low, high = binary.interval(inference.table, question.alpha, search)
    return PairedComparison(
        n=n,
        comparator=math.fsum(comparator) / n,
        compiled=math.fsum(compiled) / n,
        difference=difference,
        low=low,
        high=high,
        p_value=inference.test.above(question.margin),
        detectable=inference.detectable,
        margin=question.margin,
        confidence=1 - 2 * question.alpha,
        method=inference.test.method,
        p_opposite=inference.test.below(question.margin),
        clusters=len(set(clusters)),
        sufficient=inference.sufficient,
        unseen=inference.unseen,
    )


def score_range(comparator: Sequence[float], compiled: Sequence[float]) -> float:
    """Return the largest difference that two scores can have: 1 for scores between 0 and 1."""
    best, worst = _bounds((*comparator, *compiled))
    return best - worst


def _bounds(scores: Sequence[float]) -> tuple[float, float]:
    """Return the best and the worst score there can be, as far as the scores show it."""
    return max((1.0, *scores)), min((0.0, *scores))


class _Scores(NamedTuple):
    """Both programs' scores, and the clusters of the examples."""

    comparator: tuple[float, ...]
    compiled: tuple[float, ...]
    clusters: tuple[Hashable, ...]

    @property
    def differences(self) -> list[float]:
        """The difference of each example."""
        return [new - old for old, new in zip(self.comparator, self.compiled, strict=True)]

    @property
    def is_binary(self) -> bool:
        """Whether each answer is right or wrong."""
        return {*self.comparator, *self.compiled} <= {0.0, 1.0}

    @property
    def reach(self) -> float:
        """The largest difference that two scores can have."""
        return score_range(self.comparator, self.compiled)

    def room(self, *, worse: bool) -> float:
        """Return how much better or worse than the comparator a program can be."""
        best, worst = _bounds((*self.comparator, *self.compiled))
        mean = math.fsum(self.comparator) / len(self.comparator)
        return mean - worst if worse else best - mean

    def deviation(self, distance: float, *, worse: bool) -> float:
        """Return the standard deviation of a unit if the means differ by ``distance``.

        The compiled program is taken to lack the same part less of every
        example's best score, or more of its worst. Scores in steps, such as
        means of right and wrong answers, lack whole steps less.
        """
        best, worst = _bounds((*self.comparator, *self.compiled))
        limit = worst if worse else best
        lacks = [abs(limit - score) for score in self.compiled]
        mean = math.fsum(lacks) / len(lacks)
        left = self.room(worse=worse) - distance
        part = min(max(left / max(mean, _TINY), 0.0), _MOST_STRETCHED)
        pairs = zip(self.comparator, self.compiled, strict=True)
        units = _units([part * new - old for old, new in pairs], self.clusters)
        steps = max(_step(lacks) * mean * part * (1 - part), 0.0)
        return math.hypot(units.deviation, math.sqrt(steps / float(np.mean(units.sizes))))


def _step(values: Sequence[float]) -> float:
    """Return the step that all values are multiples of; 0 if there is none."""
    nonzero = np.asarray([value for value in values if value > _TINY])
    if not len(nonzero):
        return 0.0
    multiples = nonzero / np.min(nonzero)
    are_whole = np.all(np.abs(multiples - np.rint(multiples)) < _ROUNDING)
    return float(np.min(nonzero)) if are_whole else 0.0


def _infer(scores: _Scores, question: _Question) -> _Inference:
    if not scores.is_binary:
        return _infer_graded(scores, question)
    independent = _infer_binary(scores, question)
    if not scores.clusters:
        return independent
    # Where few answers changed, clusters vary little, and graded methods are too certain.
    return _weaker(_infer_graded(scores, question), independent, question.margin)


def _infer_graded(scores: _Scores, question: _Question) -> _Inference:
    units = _units(scores.differences, scores.clusters)
    reach, examples, (margin, alpha, worse) = scores.reach, float(np.mean(units.sizes)), question
    if (counts := rare.count_test(units, reach)) is not None:
        inference = _infer_table(rare.changes(units, reach), scores, question)
        detectable = inference.detectable
        if scores.is_binary and math.isfinite(detectable):
            # Of right and wrong answers in clusters, so few changes show no gain at all.
            detectable = max(detectable, reach * rare.enough_changes(len(units), alpha, POWER))
        return inference._replace(
            test=counts,
            detectable=detectable,
            sufficient=inference.sufficient * examples,
            table=None,
        )
    excess, limit = units.ratio - margin, abs(margin)

    def deviation(distance: float) -> float:
        return scores.deviation(limit + distance, worse=worse)

    detectable = graded.detectable(len(units), deviation, alpha, POWER)
    if scores.clusters:
        # Clusters are few, so that the spread of a sample mostly understates the true one.
        detectable /= graded.typical_shortfall(len(units))
    return _Inference(
        graded.paired_test(units),
        detectable,
        graded.sufficient(units.deviation, -margin, alpha, POWER) * examples,
        rare.unseen(len(units), alpha, excess, reach + (margin if excess > 0 else -margin)),
    )


def _infer_binary(scores: _Scores, question: _Question) -> _Inference:
    differences = scores.differences
    gained, lost = (sum(sign * difference > 0 for difference in differences) for sign in (1, -1))
    return _infer_table(binary.ContingencyTable(len(differences), gained, lost), scores, question)


def _infer_table(
    table: binary.ContingencyTable, scores: _Scores, question: _Question
) -> _Inference:
    margin, alpha, worse = question
    chance = binary.background(table)
    programs = binary.Alternative(chance, scores.room(worse=worse) / scores.reach)
    return _Inference(
        binary.paired_test(table),
        binary.detectable(table.n, programs, -margin if worse else margin, alpha, POWER),
        binary.sufficient(chance, margin, alpha, POWER),
        table=table,
    )


def _weaker(first: _Inference, second: _Inference, margin: float) -> _Inference:
    """Return the larger p-values, the larger detectable difference and number of examples."""
    weaker = max(first, second, key=lambda inference: inference.test.above(margin))
    return _Inference(
        PairedTest(
            lambda margin: max(first.test.above(margin), second.test.above(margin)),
            lambda margin: max(first.test.below(margin), second.test.below(margin)),
            weaker.test.method,
        ),
        max(first.detectable, second.detectable),
        max(first.sufficient, second.sufficient),
        max(first.unseen, second.unseen),
    )


def _units(differences: Sequence[float], clusters: Sequence[Hashable]) -> graded.SamplingUnits:
    """Return a sampling unit for each cluster, or for each example without clusters."""
    return _grouped(differences, [1.0] * len(differences), clusters)


def _grouped(
    totals: Sequence[float], sizes: Sequence[float], clusters: Sequence[Hashable]
) -> graded.SamplingUnits:
    """Return a sampling unit for each cluster, or for each example without clusters."""
    if not clusters:
        return graded.SamplingUnits(np.asarray(totals, float), np.asarray(sizes, float))
    numbers: dict[Hashable, int] = {}
    groups = np.asarray([numbers.setdefault(cluster, len(numbers)) for cluster in clusters])
    return graded.SamplingUnits(
        np.bincount(groups, totals).astype(float), np.bincount(groups, sizes).astype(float)
    )
