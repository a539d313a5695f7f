from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_mipro.gate.distributions import (
    binomial,
    binomial_tails,
    coin_tail,
    noncentrality,
    rare_heads,
    student_critical,
)

SHARES = np.asarray([0.0, 1e-9, 0.1, 0.5, 0.93, 1.0])
TRIALS = st.integers(0, 300)


@given(TRIALS, st.data())
def test_the_tail_of_a_fair_coin_is_that_of_scipy(tosses: int, data: st.DataObject) -> None:
    """From no head at all, which is certain, to one more than there are tosses."""
    heads = data.draw(st.integers(0, tosses + 1))
    assert coin_tail(heads, tosses) == pytest.approx(stats.binom.sf(heads - 1, tosses, 0.5))


def test_ten_thousand_tosses_are_counted() -> None:
    """Numbers of thousands of digits are divided, and no float overflows."""
    assert coin_tail(5000, 10_000) == pytest.approx(0.503989, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.25, 0.0625, 0.05, 1e-6])
def test_rare_heads_are_the_fewest_that_are_rare(alpha: float) -> None:
    """One head less is not rare, whatever the number of tails; a tail of alpha itself is not."""
    most = 40
    for tails, heads in enumerate(rare_heads(most, alpha).tolist()):
        if heads + tails <= most:
            assert coin_tail(heads, heads + tails) < alpha
        assert heads == 0 or coin_tail(heads - 1, heads - 1 + tails) >= alpha


@given(TRIALS)
def test_binomial_chances_are_those_of_scipy(trials: int) -> None:
    """Also for a success that never comes, or always."""
    successes = np.arange(trials + 1)
    expected = stats.binom.pmf(successes, trials, SHARES[:, np.newaxis])
    assert binomial(successes, trials, SHARES) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=150), st.integers(0, 150))
def test_binomial_tails_are_those_of_scipy(falls: list[int], first: int) -> None:
    """Whatever is asked for: first more than there are trials, then less and less."""
    trials = np.arange(len(falls))
    asked = np.maximum(first - np.cumsum(falls), 0)
    reachable = np.maximum.accumulate(asked <= trials)
    least = np.where(reachable, asked, trials + 1)
    expected = stats.binom.sf(least - 1, trials, SHARES[:, np.newaxis])
    assert binomial_tails(least, SHARES) == pytest.approx(expected, rel=1e-9, abs=1e-290)


@pytest.mark.parametrize("tail", [0.9, 0.5, 0.05, 0.025, 1e-4, 1e-6])
@pytest.mark.parametrize("freedom", [1, 2, 3, 10, 60, 1000])
def test_critical_values_are_those_of_scipy(tail: float, freedom: int) -> None:
    """From two units, where Student's t has no mean, to where it is close to normal."""
    expected = stats.t.isf(tail, freedom)
    assert student_critical(tail, freedom) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("power", [0.01, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("critical", [-1.0, 0.0, 1.7, 5.0])
@pytest.mark.parametrize("freedom", [1, 4, 30, 400])
def test_the_noncentral_t_is_that_of_scipy(power: float, critical: float, freedom: int) -> None:
    """With the noncentrality that is returned, SciPy's has the power that was asked for."""
    center = noncentrality(power, critical, freedom)
    assert stats.nct.sf(critical, freedom, center) == pytest.approx(power, rel=1e-9)


def test_with_many_units_everything_is_normal() -> None:
    """The noncentrality for a power of one half is about the critical value."""
    critical = student_critical(0.05, 100_000)
    assert critical == pytest.approx(1.64487, abs=1e-4)
    assert math.isclose(noncentrality(0.5, critical, 100_000), critical, rel_tol=1e-4)
