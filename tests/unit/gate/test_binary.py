from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import settings
from scipy import optimize, stats

from pytest_mipro.gate import binary
from pytest_mipro.gate.paired import compare

pytestmark = pytest.mark.uses("numpy")

REPETITIONS = 4 * settings().max_examples
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


class TestComparison:
    def test_means_difference_and_n(self) -> None:
        """Means, difference and n are those of the scores."""
        comparison = compare(*scores_of(10, 5, 1, 4))
        assert comparison.n == 20
        assert comparison.comparator == pytest.approx(11 / 20)
        assert comparison.compiled == pytest.approx(15 / 20)
        assert comparison.difference == pytest.approx(4 / 20)
        assert comparison.margin == 0
        assert comparison.confidence == pytest.approx(0.9)

    @pytest.mark.parametrize("lost", [0, 2])
    def test_a_loss_beyond_the_bound_would_have_shown(self, lost: int) -> None:
        """Without gains, the lower end is about the exact bound of Clopper and Pearson."""
        comparison = compare(*scores_of(98 - lost, 0, lost, 2))
        bound = stats.beta.isf(0.05, lost + 1, 100 - lost)
        assert comparison.low == pytest.approx(-bound, rel=0.1)

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

    def test_no_margin_needs_no_more_evidence_than_a_small_one(self) -> None:
        """A margin of 0 is tested like all others: 24 gains and 12 losses pass both or none."""
        scores = scores_of(40, 24, 12, 24)
        none, small = (compare(*scores, margin=margin).p_value for margin in (0.0, 0.01))
        assert none < small
        assert none < 0.05

    def test_all_gained(self) -> None:
        """The p-value of twelve gains in twelve examples is the one worked out by hand."""
        comparison = compare(*scores_of(0, 12, 0, 0), margin=0.01)
        # Gained with probability q + 0.01 and lost with q: twelve gains are likeliest at the
        # largest q.
        assert comparison.p_value == pytest.approx(0.505**12, rel=1e-9)
        assert comparison.high == pytest.approx(1.0, abs=0)

    @pytest.mark.parametrize("margin", [-0.3, -0.05, 0.0, 0.02, 0.25])
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
    def test_four_of_five_gained(self) -> None:
        """Five examples show a difference if four are gained, which a difference d mostly does."""
        d = compare([0.0] * 5, [0.0] * 5).detectable
        assert d**5 + 5 * d**4 * (1 - d) == pytest.approx(0.8, abs=1e-3)

    @pytest.mark.parametrize(
        "margin, worse", [(0.0, False), (0.1, False), (-0.1, False), (0, True)]
    )
    def test_power(self, margin: float, worse: bool) -> None:
        """What equal programs say is detectable is significant in about 80% of samples."""
        rng = np.random.default_rng(6)
        n, chance, room = 80, 0.2, 0.5
        scores = scores_of(24, 16, 16, 24)
        difference = abs(margin + compare(*scores, margin=margin, worse=worse).detectable)
        loss = chance * (1 - difference / room)
        chances = [loss + difference, loss, 1 - 2 * loss - difference]
        shown = 0
        for gained, lost, _ in rng.multinomial(n, chances, size=REPETITIONS):
            table = binary.ContingencyTable(n, int(gained), int(lost))
            shown += binary.score_test(table, margin) < 0.05
        assert 0.72 <= shown / REPETITIONS <= 0.88

    def test_no_more_than_there_is_room_for(self) -> None:
        """Programs that are nearly always right lose less when they get better."""
        roomy, crowded = scores_of(0, 8, 8, 64), scores_of(64, 8, 8, 0)
        assert compare(*crowded).detectable < compare(*roomy).detectable


class TestSufficient:
    @pytest.mark.parametrize("chance", [0.0, 0.02, 0.15])
    def test_equal_programs_pass(self, chance: float) -> None:
        """Of samples of the sufficient size, about 80% show that equal programs are equal."""
        rng = np.random.default_rng(3)
        n = math.ceil(binary.sufficient(chance, -0.1, 0.05, 0.8))
        chances = [chance, chance, 1 - 2 * chance]
        passed = 0
        for gained, lost, _ in rng.multinomial(n, chances, size=REPETITIONS):
            table = binary.ContingencyTable(n, int(gained), int(lost))
            passed += binary.score_test(table, -0.1) < 0.05
        assert passed / REPETITIONS >= 0.72
        assert chance == 0 or passed / REPETITIONS <= 0.88

    def test_no_number_shows_that_programs_are_exactly_equal(self) -> None:
        """Without a margin below 0 the number is infinite."""
        assert binary.sufficient(0.1, 0.0, 0.05, 0.8) == math.inf


def test_a_thousand_examples_take_no_time() -> None:
    """One comparison, with its interval, takes less than the 0.3 s that are interactive."""
    started = time.process_time()
    compare(*scores_of(400, 120, 110, 370), margin=-0.02)
    assert time.process_time() - started < 1.0
