from __future__ import annotations

import itertools
import math
import random
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from scipy import stats

from pytest_mipro.gate import graded
from pytest_mipro.gate.graded import typical_shortfall
from pytest_mipro.gate.inversion import Search, confidence_interval
from pytest_mipro.gate.paired import compare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.records import PairedComparison

pytestmark = pytest.mark.uses("numpy")

REPETITIONS = 4 * settings().max_examples
"""Samples from which a rate is estimated."""


def brute_force(differences: Sequence[float]) -> float:
    """Return the share of sign flips whose mean is at least the observed one."""
    observed = math.fsum(differences)
    flips = itertools.product((1, -1), repeat=len(differences))
    sums = [math.fsum(s * d for s, d in zip(flip, differences, strict=True)) for flip in flips]
    return sum(total >= observed - 1e-9 for total in sums) / len(sums)


class TestSignFlip:
    @pytest.mark.parametrize(
        "differences",
        [
            [0.3, 0.3, 0.3, -0.3, 0.3],
            [0.1, 0.2, 0.3, 0.4, 0.5],
            [0.05, -0.4, 0.2, 0.1, 0.3, -0.15, 0.25],
            [0.5, 0.0, 0.25, 0.0, -0.1],
            [0.9, 0.8, -0.1, 0.7, 0.3, 0.2, -0.6, 0.5, 0.4, 0.1],
        ],
    )
    def test_against_brute_force(self, differences: list[float]) -> None:
        """The p-value is the share of all sign flips with at least the observed mean."""
        baseline = [0.05] * len(differences)
        comparison = compare(baseline, [0.05 + difference for difference in differences])
        assert comparison.p_value == pytest.approx(brute_force(differences), abs=1e-9)
        assert comparison.method == "exact sign-flip permutation test"

    @pytest.mark.parametrize("margin", [-0.2, 0.1, 0.3])
    def test_against_brute_force_with_a_margin(self, margin: float) -> None:
        """With a margin, the differences beyond the margin are flipped."""
        differences = [0.5, -0.25, 0.1, 0.35, 0.2, 0.45]
        comparison = compare(
            [0.25] * 6, [0.25 + difference for difference in differences], margin=margin
        )
        excess = [difference - margin for difference in differences]
        assert comparison.p_value == pytest.approx(brute_force(excess), abs=1e-9)

    def test_the_interval_is_that_of_the_flips(self) -> None:
        """Its lower end is where five hundredths of all subsets have a smaller mean."""
        differences = [0.5, -0.25, 0.1, 0.35, 0.2, 0.45, 0.15, 0.3]
        comparison = compare([0.25] * 8, [0.25 + difference for difference in differences])
        means = sorted(
            fmean(subset)
            for size in range(1, 9)
            for subset in itertools.combinations(differences, size)
        )
        # With the empty subset, 13 of 256 are the fewest that are at least 5%.
        assert comparison.low == pytest.approx(means[11], abs=2e-4)

    def test_skewed_differences_are_judged_by_the_bootstrap(self) -> None:
        """The p-value of small gains with rare large losses is the bootstrap's, which is larger."""
        differences = np.asarray([0.02] * 35 + [-0.2, -0.1, -0.15, 0.1, -0.12])
        comparison = compare([0.5] * 40, (0.5 + differences + 0.03).tolist())
        student = stats.ttest_1samp(differences + 0.03, 0, alternative="greater").pvalue
        assert comparison.p_value > 1.5 * student

    def test_symmetric_differences_are_judged_about_like_student_does(self) -> None:
        """Where nothing is skewed, p-value and interval are close to the textbook's."""
        rng = np.random.default_rng(4)
        differences = np.concatenate([noise := rng.normal(0, 0.2, 60), -noise]) + 0.03
        comparison = compare([0.5] * 120, (0.5 + differences).tolist())
        student = stats.ttest_1samp(differences, 0, alternative="greater")
        assert comparison.p_value == pytest.approx(student.pvalue, abs=0.02)
        low, high = student.confidence_interval(0.9)[0], 2 * differences.mean()
        assert comparison.low < high / 2
        assert comparison.low == pytest.approx(
            stats.ttest_1samp(differences, 0).confidence_interval(0.9).low, abs=0.005
        )
        assert low < high

    def test_large_samples_repeat(self) -> None:
        """The same scores give the same p-value where not all flips are tried."""
        rng = random.Random(0)
        baseline = [rng.random() for _ in range(60)]
        compiled = [score + rng.gauss(0.05, 0.2) for score in baseline]
        first, second = compare(baseline, compiled), compare(baseline, compiled)
        assert first == second
        assert not first.method.startswith("exact")
        assert 0 < first.p_value < 0.3

    def test_equal_scores(self) -> None:
        """Equal scores have a p-value of 1."""
        comparison = compare([0.3, 0.7], [0.3, 0.7])
        assert comparison.p_value == pytest.approx(1.0, abs=0)
        assert not comparison.difference

    def test_rounding_errors_are_no_difference(self) -> None:
        """0.1 + 0.2 against 0.3 has a p-value of 1."""
        comparison = compare([0.3] * 30, [0.1 + 0.2] * 30)
        assert comparison.p_value == pytest.approx(1.0, abs=0)


class TestRatio:
    def test_the_interval_without_a_bootstrap_is_fiellers(self) -> None:
        """Its ends solve the quadratic equation that Fieller's theorem gives."""
        rng = np.random.default_rng(2)
        sizes = rng.lognormal(0, 0.5, 600)
        totals = 1.1 * sizes * rng.lognormal(0, 0.3, 600)
        units = graded.SamplingUnits(totals, sizes)
        test = graded.paired_test(units)
        search = Search(units.ratio, 1.0, 0.0, 10.0, 0.02, 1e-9)
        low, high = confidence_interval(test, 0.05, search)
        reach = stats.t.isf(0.05, 599) ** 2 / 600
        (total, size), covariances = (totals.mean(), sizes.mean()), np.cov(totals, sizes)
        ends = np.roots(
            [
                size**2 - reach * covariances[1, 1],
                -2 * (total * size - reach * covariances[0, 1]),
                total**2 - reach * covariances[0, 0],
            ]
        )
        assert [low, high] == pytest.approx(sorted(ends), abs=1e-6)

    def test_the_deviation_is_that_of_the_excess(self) -> None:
        """It is the textbook's for units of one size, and infinite for one unit."""
        totals = np.asarray([0.6, 0.3, -0.1, 0.6])
        assert graded.SamplingUnits(totals, np.ones(4)).deviation == pytest.approx(
            np.std(totals, ddof=1)
        )
        assert graded.SamplingUnits(totals[:1], np.ones(1)).deviation == math.inf


def test_sufficient_examples_show_that_equal_programs_are_equal() -> None:
    """Of samples of the sufficient size, about 80% pass."""
    rng = np.random.default_rng(1)
    n = math.ceil(graded.sufficient(0.2, 0.1, 0.05, 0.8))
    passed = sum(
        compare([0.5] * n, rng.normal(0.5, 0.2, n).tolist(), margin=-0.1).p_value < 0.05
        for _ in range(REPETITIONS)
    )
    assert 0.7 <= passed / REPETITIONS <= 0.9
    assert graded.sufficient(0.2, 0.0, 0.05, 0.8) == math.inf


def test_power() -> None:
    """A true difference that is detectable is significant in about 80% of samples."""
    rng = np.random.default_rng(7)
    # Of a mean of 0, so that what the programs lack does not shrink with the difference.
    samples = [rng.normal(0, 0.02, 30) for _ in range(REPETITIONS)]

    def shifted(gain: float) -> list[PairedComparison]:
        return [compare([0.5] * 30, (0.5 + gain + noise).tolist()) for noise in samples]

    detectable = fmean(comparison.detectable for comparison in shifted(0.0))
    shown = sum(comparison.p_value < 0.05 for comparison in shifted(detectable))
    assert 0.72 <= shown / REPETITIONS <= 0.88


@pytest.mark.parametrize("n", [20])
def test_the_interval_covers_skewed_differences(n: int) -> None:
    """The interval covers the true difference as often as it claims where scores have a limit."""
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(REPETITIONS):
        differences = rng.exponential(0.1, n) - 0.1
        comparison = compare([0.5] * n, (0.5 + differences).tolist())
        covered += comparison.low <= 0 <= comparison.high
    assert covered / REPETITIONS >= 0.9 - 3 * math.sqrt(0.1 * 0.9 / REPETITIONS)


def test_small_samples_mostly_understate_the_spread() -> None:
    """The median of SciPy's distribution of the standard deviation says by how much."""
    for n in (4, 8, 20, 200):
        median = math.sqrt(stats.chi2(n - 1).median() / (n - 1))
        assert typical_shortfall(n) == pytest.approx(median, abs=4e-3)


def test_strong_evidence_has_a_tiny_p_value() -> None:
    """A p-value can be smaller than the share of one resample, for a tiny alpha."""
    rng = np.random.default_rng(9)
    baseline = rng.uniform(0, 0.4, 40)
    compiled = baseline + rng.uniform(0.1, 0.5, 40)
    p_value = compare(baseline.tolist(), compiled.tolist()).p_value
    assert 0 < p_value < 1e-6
