from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import settings
from scipy import stats

from pytest_mipro.gate.paired import compare
from pytest_mipro.gate.sequential import (
    InterimAnalysis,
    SequentialDesign,
    boundaries,
    compare_at,
    futility,
    power,
    spent,
)
from pytest_mipro.gate.verdict import AcceptedScores, beats_baseline, no_regression
from pytest_mipro.records import PairedComparison, Scorecard, Usage

pytestmark = pytest.mark.uses("numpy")

REPETITIONS = 4 * settings().max_examples
QUARTERS = (0.25, 0.5, 0.75, 1.0)
DESIGN = SequentialDesign((50, 100, 150, 200), 0.05)


def comparison_of(p_value: float, p_opposite: float) -> PairedComparison:
    """Return a comparison with these p-values."""
    return PairedComparison(
        50, 0.5, 0.5, 0.0, -0.1, 0.1, p_value, 0.2, 0.0, 0.9, "test", p_opposite=p_opposite
    )


@pytest.mark.parametrize(
    "fractions, published",
    [
        ((0.5, 1.0), (2.9626, 1.9686)),
        ((1 / 3, 2 / 3, 1.0), (3.7103, 2.5114, 1.9930)),
        (QUARTERS, (4.3326, 2.9631, 2.3590, 2.0141)),
        ((0.2, 0.4, 0.6, 0.8, 1.0), (4.8769, 3.3570, 2.6803, 2.2898, 2.0310)),
        ((0.35, 0.7, 1.0), (3.6128, 2.4406, 2.0002)),
    ],
)
def test_boundaries_are_the_published_ones(
    fractions: tuple[float, ...], published: tuple[float, ...]
) -> None:
    """They are those of Reboussin and others (2000), and of the R package gsDesign, at 0.025."""
    assert boundaries(fractions, 0.025) == pytest.approx(published, abs=1e-4)


def test_futility_bounds_are_the_published_ones() -> None:
    """They are those in gsDesign's documentation, where misses are spent by Hwang and others."""
    fractions = (0.35, 0.7, 1.0)
    misses = tuple(0.15 * math.expm1(0.5 * part) / math.expm1(0.5) for part in fractions)
    bounds, _ = futility(fractions, 0.025, misses)
    assert bounds == pytest.approx((0.1860, 1.2406, 2.0002), abs=1e-4)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_the_looks_together_keep_the_level(alpha: float) -> None:
    """SciPy's multivariate normal distribution stays within the boundaries but for alpha."""
    bounds = boundaries(QUARTERS, alpha)
    covariance = [[math.sqrt(min(s, t) / max(s, t)) for t in QUARTERS] for s in QUARTERS]
    within = stats.multivariate_normal(np.zeros(4), covariance).cdf(np.asarray(bounds))
    assert 1 - within == pytest.approx(alpha, abs=1e-4)


def test_the_drift_has_the_power() -> None:
    """Of random walks with the drift, a fifth crosses the futility bounds first."""
    misses = tuple(spent(0.2, fraction) for fraction in QUARTERS)
    bounds, drift = futility(QUARTERS, 0.05, misses)
    upper = boundaries(QUARTERS, 0.05)
    steps = np.random.default_rng(0).normal(drift / 4, 0.5, (100_000, 4))
    statistics = np.cumsum(steps, axis=1) / np.sqrt(QUARTERS)
    is_over, is_under = statistics >= upper, statistics < bounds
    first = np.argmax(is_over | is_under, axis=1)
    share = np.mean(is_over[np.arange(len(first)), first])
    assert share == pytest.approx(0.8, abs=0.006)
    assert power(QUARTERS, upper, bounds, drift) == pytest.approx(0.8, abs=1e-6)


class TestDesign:
    def test_later_analyses_are_less_strict(self) -> None:
        """The first takes overwhelming evidence, the last hardly more than alpha."""
        assert list(DESIGN.levels) == sorted(DESIGN.levels)
        assert DESIGN.levels[0] < 0.001
        assert 0.04 < DESIGN.levels[-1] < 0.05
        assert list(DESIGN.futile) == sorted(DESIGN.futile, reverse=True)

    def test_a_single_analysis_has_all_of_alpha(self) -> None:
        """It is a test without a design."""
        assert SequentialDesign((1,), 0.05).levels == pytest.approx((0.05,))

    def test_the_price_is_small(self) -> None:
        """A difference has to be a few percent larger than with a single analysis."""
        assert 1.01 < DESIGN.inflation < 1.1
        assert SequentialDesign((1,), 0.05).inflation == pytest.approx(1)


class TestFutility:
    @pytest.mark.parametrize(
        "number, p_value, p_opposite, awaited, is_futile",
        [
            (1, 0.01, 0.99, "PASS", False),
            (1, 0.9, 0.1, "PASS", False),
            (1, 0.9, 0.1, "FAIL", False),
            (2, 0.9, 0.1, "PASS", True),
            (2, 0.9, 0.1, "FAIL", False),
            (2, 0.5, 0.5, "PASS", False),
            (3, 0.5, 0.5, "PASS", True),
            (3, 0.5, 0.5, "FAIL", True),
            (2, 0.8, 1.0, "PASS", False),
            (2, 0.8, 1.0, "FAIL", False),
        ],
    )
    def test_rule(
        self,
        number: int,
        p_value: float,
        p_opposite: float,
        awaited: Literal["PASS", "FAIL"],
        is_futile: bool,
    ) -> None:
        """Asking is futile where the awaited word is unlikely."""
        analysis = InterimAnalysis(DESIGN, number)
        repeated = comparison_of(analysis.repeated_p(p_value), analysis.repeated_p(p_opposite))
        assert analysis.is_futile(repeated, awaited) is is_futile


class TestRepeatedPValue:
    @pytest.mark.parametrize("number", [1, 2, 3, 4])
    def test_it_is_below_alpha_exactly_at_the_boundary(self, number: int) -> None:
        """A p-value at the analysis's level becomes alpha, and the order of p-values stays."""
        analysis = InterimAnalysis(DESIGN, number)
        below, above = (
            analysis.repeated_p(analysis.level * 0.999),
            analysis.repeated_p(analysis.level * 1.001),
        )
        assert below < 0.05 <= above
        assert above - below < 0.001
        assert analysis.repeated_p(1e-9) < below
        assert above < analysis.repeated_p(0.5) < analysis.repeated_p(0.99)

    def test_it_is_no_smaller_than_the_single_one(self) -> None:
        """Looking several times is no better evidence than looking once."""
        for number in (1, 2, 3, 4):
            for p_value in (1e-4, 0.01, 0.2):
                assert InterimAnalysis(DESIGN, number).repeated_p(p_value) >= p_value * 0.999


def test_an_analysis_is_judged_by_its_own_numbers() -> None:
    """Word, p-value and interval agree at each analysis, and the sentence has its number."""
    rng = np.random.default_rng(5)
    for size, number in zip(DESIGN.sizes, (1, 2, 3, 4), strict=True):
        baseline, compiled = (rng.random((2, size)) < [[0.45], [0.7]]).astype(float).tolist()
        names = tuple(map(str, range(size)))
        cards = [Scorecard(names, tuple(scores), Usage()) for scores in (baseline, compiled)]
        analysis = InterimAnalysis(DESIGN, number)
        better = beats_baseline(*cards, margin=0.0, alpha=0.05, unchanged=False, analysis=analysis)
        accepted = AcceptedScores(cards[1], "accept")
        worse = no_regression(accepted, cards[0], tolerance=0.02, alpha=0.05, analysis=analysis)
        for verdict in (better, worse):
            comparison = verdict.comparison
            assert comparison is not None
            assert (comparison.p_value < 0.05) is (comparison.low > comparison.margin)
            assert (comparison.p_opposite < 0.05) is (comparison.high < comparison.margin)
            assert f"analysis {number} of 4, at {size} of 200 held-out" in verdict.sentence
            assert "at 90%" in verdict.sentence


def test_early_analyses_are_wider_and_promise_what_all_examples_show() -> None:
    """The interval is wider than a single one; what is detectable is about the end's."""
    rng = np.random.default_rng(6)
    baseline, compiled = rng.random((2, 50)).tolist()
    single, repeated = (
        compare(baseline, compiled),
        compare_at(InterimAnalysis(DESIGN, 1), baseline, compiled),
    )
    assert repeated.low < single.low
    assert repeated.high > single.high
    assert repeated.detectable == pytest.approx(single.detectable / 2 * DESIGN.inflation)


def test_sequential_verdicts_keep_alpha_and_save_rows() -> None:
    """Equal programs pass at most at alpha, and less than all examples are asked."""
    rng = np.random.default_rng(7)
    passed = rows = 0
    for _ in range(REPETITIONS):
        baseline, compiled = rng.random((2, 200)).tolist()
        for number, size in enumerate(DESIGN.sizes, 1):
            analysis = InterimAnalysis(DESIGN, number)
            p_value = stats.ttest_rel(
                compiled[:size], baseline[:size], alternative="greater"
            ).pvalue
            if p_value < analysis.level or p_value > DESIGN.futile[number - 1] or analysis.is_last:
                passed += p_value < analysis.level
                rows += size
                break
    assert passed / REPETITIONS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)
    assert rows / REPETITIONS < 0.75 * 200
