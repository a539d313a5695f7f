from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pytest_mipro.gate.graded import SamplingUnits
from pytest_mipro.gate.rare import changes, count_test, enough_changes, unseen

pytestmark = pytest.mark.uses("numpy")


def units(*differences: float) -> SamplingUnits:
    """Return one unit for each difference."""
    return SamplingUnits(np.asarray(differences), np.ones(len(differences)))


@pytest.mark.parametrize("lost", [0, 1, 4])
def test_the_p_value_is_that_of_clopper_and_pearson(lost: int) -> None:
    """Each loss counts as one of the whole range, and no gain counts."""
    test = count_test(units(*[-0.1] * lost, *[0.0] * (60 - lost)), 1.0)
    assert test is not None
    assert test.above(-0.1) == pytest.approx(stats.binom.cdf(lost, 60, 0.1))
    assert test.below(0.1) == pytest.approx(stats.binom.cdf(0, 60, 0.1))
    assert test.above(0.0) == test.below(0.0) == 1


def test_a_larger_range_takes_more_examples() -> None:
    """A loss of 5 points of a hundred takes one example in twenty."""
    test = count_test(units(*[0.0] * 60), 100.0)
    assert test is not None
    assert test.above(-5.0) == pytest.approx(0.95**60)


def test_large_clusters_can_hold_all_of_a_loss() -> None:
    """Fewer clusters are hit for the same loss where they are large."""
    clusters = SamplingUnits(np.zeros(20), np.asarray([1.0] * 10 + [3.0] * 10))
    test = count_test(clusters, 1.0)
    assert test is not None
    assert test.above(-0.3) == pytest.approx((1 - 0.3 / 1.5) ** 20)


@pytest.mark.parametrize(
    "differences", [[0.1] * 5 + [0.0] * 50, [0.1, -0.2, 0.3, 0.0], [0.25] * 30]
)
def test_samples_with_enough_changes_have_another_test(differences: list[float]) -> None:
    """Five changes, or most units, are enough to go by."""
    assert count_test(units(*differences), 1.0) is None


def test_changes_are_counted_beyond_rounding() -> None:
    """0.1 + 0.2 against 0.3 is no change."""
    assert changes(units(0.1 + 0.2 - 0.3, 0.5, -0.5, -0.1), 1.0) == (4, 1, 2)


@pytest.mark.parametrize("n", [6, 8, 80])
def test_so_many_changes_are_enough_four_times_in_five(n: int) -> None:
    """SciPy's binomial distribution has as many changes as another test needs."""
    share = enough_changes(n, 0.05, 0.8)
    assert stats.binom.sf(5 - 1, n, share) == pytest.approx(0.8, abs=1e-4)


def test_too_few_units_never_change_enough() -> None:
    """Four sign flips out of four happen once in sixteen cases."""
    assert enough_changes(4, 0.05, 0.8) == math.inf
    assert enough_changes(4, 0.1, 0.8) < 1


def test_what_a_sample_may_not_contain() -> None:
    """Of 20 examples, 14% of all can be missing; they matter where the excess is small."""
    assert unseen(20, 0.05, 0.1, 1.0) == pytest.approx(0.139, abs=1e-3)
    assert unseen(20, 0.05, -0.1, 1.0) == unseen(20, 0.05, 0.1, 1.0)
    assert unseen(20, 0.05, 0.2, 1.0) == 0
    assert unseen(200, 0.05, 0.1, 1.0) == 0
