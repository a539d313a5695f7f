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
from pytest_mipro.gate.paired import compare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.records import PairedComparison

pytestmark = pytest.mark.uses("numpy")

REPETITIONS = 8 * settings().max_examples
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
            [0.5],
            [-0.5],
            [0.5, 0.25],
            [0.5, -0.25, 0.1],
            [0.3, 0.3, 0.3, -0.3],
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

    def test_many_units_against_scipy(self) -> None:
        """Flips counted on a grid give about the p-value of SciPy's drawn flips."""
        rng = np.random.default_rng(4)
        for n in (17, 60, 120):
            differences = rng.normal(0.12, 0.5, n)
            permutation_test = stats.permutation_test(
                (differences,),
                np.mean,
                permutation_type="samples",
                n_resamples=10_000,
                alternative="greater",
                rng=rng,
            )
            above, below = graded._sign_flips(differences)
            assert above == pytest.approx(permutation_test.pvalue, abs=0.012)
            assert above + below == pytest.approx(1, abs=0.005)

    def test_many_ties_on_the_grid(self) -> None:
        """Ties count in full: with 40 differences of equal size, the p-value is a binomial tail."""
        differences = np.asarray([0.1] * 26 + [-0.1] * 14)
        expected = stats.binom.sf(25, 40, 0.5)
        assert graded._sign_flips(differences)[0] == pytest.approx(expected, rel=1e-9)

    def test_skewed_differences_are_judged_by_the_bootstrap(self) -> None:
        """The p-value of small gains with rare large losses is the bootstrap's, which is larger."""
        differences = [0.02] * 37 + [-0.2, -0.1, -0.15]
        comparison = compare([0.5] * 40, [0.5 + difference for difference in differences])
        flips = graded._sign_flips(np.asarray(differences))[0]
        assert comparison.method == "studentized bootstrap test"
        assert comparison.p_value > flips

    def test_large_samples_repeat(self) -> None:
        """The same scores give the same p-value where not all flips are tried."""
        rng = random.Random(0)
        baseline = [rng.random() for _ in range(60)]
        compiled = [score + rng.gauss(0.05, 0.2) for score in baseline]
        first, second = compare(baseline, compiled), compare(baseline, compiled)
        assert first == second
        assert not first.method.startswith("exact")
        assert 0 < first.p_value < 0.3

    def test_interval_of_student(self) -> None:
        """The interval is the textbook's Student interval: 0.3 ± 2.776 · 0.0707."""
        comparison = compare([0.25] * 5, [0.35, 0.45, 0.55, 0.65, 0.75])
        error = math.sqrt(0.025 / 5)
        assert comparison.low == pytest.approx(0.3 - 2.776445 * error, abs=1e-6)
        assert comparison.high == pytest.approx(0.3 + 2.776445 * error, abs=1e-6)

    def test_equal_scores(self) -> None:
        """Equal scores have a p-value of 1."""
        comparison = compare([0.3, 0.7], [0.3, 0.7])
        assert comparison.p_value == pytest.approx(1.0, abs=0)
        assert not comparison.difference

    def test_rounding_errors_are_no_difference(self) -> None:
        """0.1 + 0.2 against 0.3 has a p-value of 1."""
        comparison = compare([0.3] * 30, [0.1 + 0.2] * 30)
        assert comparison.p_value == pytest.approx(1.0, abs=0)


class TestStandardError:
    def test_it_is_the_jackknife_over_clusters(self) -> None:
        """The standard error comes from the means without one cluster at a time."""
        units = graded.SamplingUnits(
            np.asarray([0.6, 0.3, -0.1, 0.6]), np.asarray([3.0, 2.0, 1.0, 2.0])
        )
        left_out = [0.8 / 5, 1.1 / 6, 1.5 / 7, 0.8 / 6]
        expected = math.sqrt(3 / 4 * sum((mean - 1.4 / 8) ** 2 for mean in left_out))
        assert units.standard_error == pytest.approx(expected)


def test_power() -> None:
    """A true difference that is detectable is significant in about 80% of samples."""
    rng = np.random.default_rng(7)
    samples = [rng.normal(0, 0.2, 30) for _ in range(REPETITIONS)]

    def shifted(gain: float) -> list[PairedComparison]:
        return [compare([0.5] * 30, (0.5 + gain + noise).tolist()) for noise in samples]

    detectable = fmean(comparison.detectable for comparison in shifted(0.0))
    shown = sum(comparison.p_value < 0.05 for comparison in shifted(detectable))
    assert 0.72 <= shown / REPETITIONS <= 0.88


@pytest.mark.parametrize("n", [20, 60])
def test_the_interval_covers_skewed_differences(n: int) -> None:
    """The interval covers the true difference as often as it claims where scores have a limit."""
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(REPETITIONS):
        differences = rng.exponential(0.1, n) - 0.1
        comparison = compare([0.5] * n, (0.5 + differences).tolist())
        covered += comparison.low <= 0 <= comparison.high
    assert covered / REPETITIONS >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)


def test_strong_evidence_has_a_tiny_p_value() -> None:
    """A p-value can be smaller than the share of one resample, for a tiny alpha."""
    rng = np.random.default_rng(9)
    baseline = rng.uniform(0, 0.4, 40)
    compiled = baseline + rng.uniform(0.1, 0.5, 40)
    p_value = compare(baseline.tolist(), compiled.tolist()).p_value
    assert 0 < p_value < 1e-6
