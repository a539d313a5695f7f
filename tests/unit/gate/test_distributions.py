from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_mipro.gate.distributions import (
    binomial,
    binomial_at_most,
    binomial_tails,
    noncentrality,
    student_critical,
    student_tail,
)

CHANCES = np.asarray([0.0, 1e-9, 0.1, 0.5, 0.93, 1.0])
TRIALS = st.integers(0, 300)


@given(TRIALS, st.integers(0, 300), st.sampled_from([0.0, 1e-6, 0.02, 0.5, 1.0]))
def test_the_lower_tail_is_that_of_scipy(trials: int, successes: int, chance: float) -> None:
    """It agrees from no success to more than there are trials."""
    expected = stats.binom.cdf(successes, trials, chance)
    assert binomial_at_most(successes, trials, chance) == pytest.approx(expected, rel=1e-9)


@given(TRIALS)
def test_binomial_probabilities_are_those_of_scipy(trials: int) -> None:
    """They agree also where a success has a chance of 0 or 1."""
    successes = np.arange(trials + 1)
    expected = stats.binom.pmf(successes, trials, CHANCES[:, np.newaxis])
    assert binomial(successes, trials, CHANCES) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=150), st.integers(0, 150))
def test_binomial_tails_are_those_of_scipy(falls: list[int], first: int) -> None:
    """They agree for any number of successes that falls, once there are enough trials for it."""
    trials = np.arange(len(falls))
    falling = np.maximum(first - np.cumsum(falls), 0)
    is_reachable = np.maximum.accumulate(falling <= trials)
    least = np.where(is_reachable, falling, trials + 1)
    expected = stats.binom.sf(least - 1, trials, CHANCES[:, np.newaxis])
    assert binomial_tails(least, CHANCES) == pytest.approx(expected, rel=1e-9, abs=1e-290)


@pytest.mark.parametrize("tail", [0.9, 0.5, 0.05, 0.025, 1e-4, 1e-6])
@pytest.mark.parametrize("freedom", [1, 2, 3, 10, 60, 1000])
def test_critical_values_are_those_of_scipy(tail: float, freedom: int) -> None:
    """They agree from one degree of freedom, where t has no mean, to where t is close to normal."""
    expected = stats.t.isf(tail, freedom)
    assert student_critical(tail, freedom) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("freedom", [1, 2, 5, 30, 400, 10_000])
def test_the_tail_of_student_is_that_of_scipy(freedom: int) -> None:
    """It agrees to nine digits from the mean, on both sides, to where almost nothing is left."""
    for value in (0.0, 1e-6, 0.1, 0.5, 0.9, 1.0, 1.5, 3.0, 10.0, 30.0, -0.2, -2.0):
        expected = stats.t.sf(value, freedom)
        assert student_tail(value, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("power", [0.01, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("critical", [-1.0, 0.0, 1.7, 5.0])
@pytest.mark.parametrize("freedom", [1, 4, 30, 400])
def test_the_noncentral_t_is_that_of_scipy(power: float, critical: float, freedom: int) -> None:
    """SciPy's distribution with the returned noncentrality has the required power."""
    center = noncentrality(power, critical, freedom)
    assert stats.nct.sf(critical, freedom, center) == pytest.approx(power, rel=1e-9)


def test_student_is_normal_with_many_units() -> None:
    """The noncentrality for a power of one half is about the critical value."""
    critical = student_critical(0.05, 100_000)
    assert critical == pytest.approx(1.64487, abs=1e-4)
    assert math.isclose(noncentrality(0.5, critical, 100_000), critical, rel_tol=1e-4)
