from __future__ import annotations

import math
from statistics import NormalDist

import pytest

from pytest_mipro.gate.inversion import PairedTest, Search, confidence_interval

NORMAL = NormalDist()
SEARCH = Search(estimate=0.3, margin=0.0, least=-1.0, most=1.0, error=0.1, precision=1e-6)


def normal_test(estimate: float, error: float) -> PairedTest:
    """Return the tests of a normal estimate with a known error."""
    return PairedTest(
        lambda margin: 1 - NORMAL.cdf((estimate - margin) / error),
        lambda margin: NORMAL.cdf((estimate - margin) / error),
        "z test",
    )


@pytest.mark.parametrize("margin", [-0.5, 0.0, 0.3, 0.32, 0.9])
@pytest.mark.parametrize("error", [0.001, 0.1, 5.0])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.3])
def test_the_interval_of_a_normal_estimate(margin: float, error: float, alpha: float) -> None:
    """It is the textbook's, cut at what is possible, wherever the margin and the guess are."""
    search = SEARCH._replace(margin=margin)
    reach = NORMAL.inv_cdf(1 - alpha) * error
    interval = confidence_interval(normal_test(0.3, error), alpha, search)
    expected = (max(0.3 - reach, -1.0), min(0.3 + reach, 1.0))
    assert interval == pytest.approx(expected, abs=1e-5)


def test_the_margin_is_on_the_side_that_the_test_says() -> None:
    """Also where the p-value jumps up and down with the margin."""

    def jumping(margin: float) -> float:
        return 0.04 if math.floor(margin * 50) % 2 else 0.06

    test = PairedTest(jumping, jumping, "jumping test")
    for margin in (-0.41, -0.07, 0.0, 0.03, 0.05, 0.29):
        low, high = confidence_interval(test, 0.05, SEARCH._replace(margin=margin))
        if jumping(margin) < 0.05:
            assert low > margin
            assert high > 0.29
        else:
            assert low <= margin <= high
