from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import settings
from scipy import optimize

from pytest_mipro.gate.paired import compare

pytestmark = pytest.mark.uses("numpy")

REPETITIONS = 8 * settings().max_examples
"""Samples from which a rate is estimated."""


def scores_of(right: int, gained: int, lost: int, wrong: int) -> tuple[list[float], list[float]]:
    """Return scores of a table: right twice, only compiled, only in the baseline, or never."""
    baseline = [1.0] * right + [0.0] * gained + [1.0] * lost + [0.0] * wrong
    compiled = [1.0] * right + [1.0] * gained + [0.0] * lost + [0.0] * wrong
    return baseline, compiled


def probability_of(n: int, gained: int, lost: int, gain: float, loss: float) -> float:
    """Return the trinomial probability of a table."""
    ways = math.comb(n, gained) * math.comb(n - gained, lost)
    rest = max(1 - gain - loss, 0)
    return ways * gain**gained * loss**lost * rest ** (n - gained - lost)


def score_statistic(n: int, gained: int, lost: int, margin: float) -> float:
    """Return Tango's statistic, its variance from a search for the likeliest chance of a loss."""

    def unlikeliness(loss: float) -> float:
        counts = gained, lost, n - gained - lost
        chances = loss + margin, loss, 1 - 2 * loss - margin
        return -math.fsum(
            count * math.log(max(chance, 1e-300))
            for count, chance in zip(counts, chances, strict=True)
            if count
        )

    bounds = (max(0.0, -margin), (1 - margin) / 2)
    loss = optimize.minimize_scalar(unlikeliness, bounds=bounds, options={"xatol": 1e-12}).x
    above = gained - lost - n * margin
    return above / math.sqrt(n * (2 * loss + margin - margin**2)) if abs(above) > 1e-9 else 0.0


class TestMcNemar:
    @pytest.mark.parametrize(
        "right, gained, lost, wrong, p_value",
        [
            (10, 5, 0, 5, 1 / 32),
            (10, 4, 0, 0, 1 / 16),
            (0, 9, 1, 10, 11 / 1024),
            (3, 8, 2, 3, 56 / 1024),
            (3, 2, 8, 3, 1013 / 1024),
            (5, 3, 3, 0, 42 / 64),
            (5, 0, 3, 0, 1.0),
            (5, 0, 0, 5, 1.0),
            (50, 15, 5, 30, 21700 / 2**20),
        ],
    )
    def test_against_values_by_hand(
        self, right: int, gained: int, lost: int, wrong: int, p_value: float
    ) -> None:
        """The p-value is the binomial tail of the discordant pairs, counted by hand."""
        comparison = compare(*scores_of(right, gained, lost, wrong))
        assert comparison.p_value == pytest.approx(p_value, rel=1e-12)
        assert comparison.method == "exact McNemar test"

    def test_means_difference_and_n(self) -> None:
        """Means, difference and n are those of the scores."""
        comparison = compare(*scores_of(10, 5, 1, 4))
        assert comparison.n == 20
        assert comparison.baseline == pytest.approx(11 / 20)
        assert comparison.compiled == pytest.approx(15 / 20)
        assert comparison.difference == pytest.approx(4 / 20)
        assert comparison.margin == 0
        assert comparison.confidence == pytest.approx(0.95)

    def test_interval_of_bonett_and_price(self) -> None:
        """The interval has one more pair gained and one more lost, and Student's quantile."""
        comparison = compare(*scores_of(54, 22, 6, 17))
        center = (23 - 7) / 101
        error = math.sqrt((23 / 101 + 7 / 101 - center**2) / 101)
        assert comparison.low == pytest.approx(center - 1.983972 * error, abs=1e-6)
        assert comparison.high == pytest.approx(center + 1.983972 * error, abs=1e-6)

    def test_equal_scores_leave_doubt(self) -> None:
        """Where no example differs the interval has a width, which shrinks with more examples."""
        widths = []
        for n in (1, 20, 200):
            comparison = compare([1.0] * n, [1.0] * n)
            assert comparison.p_value == pytest.approx(1.0, abs=0)
            assert comparison.low < 0 < comparison.high
            widths.append(comparison.high - comparison.low)
        assert widths == sorted(widths, reverse=True)
        assert widths[0] > 4 * widths[2]

    def test_booleans_and_integers(self) -> None:
        """Scores that are bool or int compare like the same floats."""
        as_float = compare([0.0, 0.0, 1.0], [1.0, 1.0, 1.0])
        assert compare([False, False, True], [True, True, True]) == as_float
        assert compare([0, 0, 1], [1, 1, 1]) == as_float


class TestMargin:
    def test_p_grows_with_the_margin(self) -> None:
        """The larger the margin, the weaker the evidence for a difference beyond it."""
        scores = scores_of(30, 25, 5, 40)
        p_values = [
            compare(*scores, margin=margin).p_value for margin in (-0.1, -0.01, 0.01, 0.1, 0.2, 0.4)
        ]
        assert p_values == sorted(p_values)
        assert p_values[0] < 0.01
        assert p_values[-1] > 0.9

    def test_a_tiny_margin(self) -> None:
        """The p-value of a tiny margin is about that of no margin."""
        scores = scores_of(30, 25, 5, 40)
        exact, tiny = compare(*scores), compare(*scores, margin=1e-9)
        assert tiny.method == "exact score test"
        assert math.log10(tiny.p_value) == pytest.approx(math.log10(exact.p_value), abs=1)

    def test_all_gained(self) -> None:
        """The p-value of twelve gains in twelve examples is the one worked out by hand."""
        comparison = compare(*scores_of(0, 12, 0, 0), margin=0.01)
        # Gained with probability q + 0.01 and lost with q: twelve gains are likeliest at the
        # largest q.
        assert comparison.p_value == pytest.approx(0.505**12, rel=1e-9)
        assert comparison.high == pytest.approx(1.0, abs=0)

    @pytest.mark.parametrize("margin", [-0.3, -0.05, 0.02, 0.25])
    def test_against_all_tables(self, margin: float) -> None:
        """The p-value is the largest chance, over the chance of a loss, of a table as extreme."""
        n = 9
        tables = [(gained, lost) for gained in range(n + 1) for lost in range(n + 1 - gained)]
        statistic = {table: score_statistic(n, *table, margin) for table in tables}
        losses = [max(0, -margin) + step * (1 - abs(margin)) / 200 for step in range(101)]
        for table in tables[::7]:
            bound = statistic[table] - 1e-9
            extreme = [counts for counts in tables if statistic[counts] >= bound]
            worst = max(
                math.fsum(probability_of(n, *counts, loss + margin, loss) for counts in extreme)
                for loss in losses
            )
            gained, lost = table
            comparison = compare(*scores_of(0, gained, lost, n - gained - lost), margin=margin)
            assert comparison.p_value == pytest.approx(worst, abs=1e-9)

    @pytest.mark.parametrize("margin, p_value", [(1.0, 1.0), (1.5, 1.0), (-1.0, 0.0), (-2, 0.0)])
    def test_a_margin_beyond_all_scores(self, margin: float, p_value: float) -> None:
        """No difference is above 1, and each is above -1 unless all examples are lost."""
        assert compare(*scores_of(3, 4, 2, 1), margin=margin).p_value == pytest.approx(
            p_value, abs=0
        )
        all_lost = scores_of(0, 0, 5, 0)
        expected = 1.0 if margin >= -1 else 0.0
        assert compare(*all_lost, margin=margin).p_value == pytest.approx(expected, abs=0)


class TestDetectable:
    def test_five_examples_all_gained(self) -> None:
        """Five examples show a difference only if all are gained, which has a chance of d**5."""
        assert compare([0.0] * 5, [0.0] * 5).detectable == pytest.approx(0.8 ** (1 / 5), abs=1e-4)

    @pytest.mark.parametrize("margin", [0.0, 0.1, -0.1])
    def test_power(self, margin: float) -> None:
        """A true difference that is detectable is significant in about 80% of samples."""
        rng = np.random.default_rng(6)
        n, share = 80, 0.4
        detectable = compare(*scores_of(24, 16, 16, 24), margin=margin).detectable
        difference = margin + detectable
        chances = [(share + difference) / 2, (share - difference) / 2, 1 - share]
        shown = 0
        for gained, lost, rest in rng.multinomial(n, chances, size=REPETITIONS):
            comparison = compare(*scores_of(rest, gained, lost, 0), margin=margin)
            shown += comparison.p_value < 0.05
        assert 0.72 <= shown / REPETITIONS <= 0.88
