from __future__ import annotations

import itertools
import math
import random
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from pytest_mipro.gate import graded
from pytest_mipro.gate.paired import compare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.records import PairedComparison

pytestmark = pytest.mark.uses("numpy")

REPETITIONS = 8 * settings().max_examples
"""How often a chance is tried that is then counted."""
SCORES = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.75, 1.0])
BINARY = st.sampled_from([0.0, 1.0])


def pairs(score: st.SearchStrategy[float], most: int) -> st.SearchStrategy[list[list[float]]]:
    """Draw two lists of scores of the same length."""
    return st.lists(st.tuples(score, score), min_size=1, max_size=most).map(
        lambda drawn: [list(side) for side in zip(*drawn, strict=True)]
    )


def binary(both: int, gained: int, lost: int, neither: int) -> tuple[list[float], list[float]]:
    """Return scores of a table: right in both, only after, only before, in neither."""
    before = [1.0] * both + [0.0] * gained + [1.0] * lost + [0.0] * neither
    after = [1.0] * both + [1.0] * gained + [0.0] * lost + [0.0] * neither
    return before, after


def brute_force(differences: Sequence[float]) -> float:
    """Return the share of sign flips whose mean is at least the observed one."""
    observed = math.fsum(differences)
    flips = itertools.product((1, -1), repeat=len(differences))
    sums = [math.fsum(s * d for s, d in zip(flip, differences, strict=True)) for flip in flips]
    return sum(total >= observed - 1e-9 for total in sums) / len(sums)


def chance_of(n: int, gained: int, lost: int, gain: float, loss: float) -> float:
    """Return the trinomial chance of a table."""
    ways = math.comb(n, gained) * math.comb(n - gained, lost)
    rest = max(1 - gain - loss, 0)
    return ways * gain**gained * loss**lost * rest ** (n - gained - lost)


def score_statistic(n: int, gained: int, lost: int, margin: float) -> float:
    """Return Tango's statistic, its variance from a search for the likeliest chance of a loss."""

    def unlikeliness(loss: float) -> float:
        counted = (
            (gained, loss + margin),
            (lost, loss),
            (n - gained - lost, 1 - 2 * loss - margin),
        )
        return -math.fsum(
            count * math.log(max(chance, 1e-300)) for count, chance in counted if count
        )

    bounds = (max(0.0, -margin), (1 - margin) / 2)
    loss = optimize.minimize_scalar(unlikeliness, bounds=bounds, options={"xatol": 1e-12}).x
    above = gained - lost - n * margin
    return above / math.sqrt(n * (2 * loss + margin - margin**2)) if abs(above) > 1e-9 else 0.0


class TestMcNemar:
    @pytest.mark.parametrize(
        "both, gained, lost, neither, p_value",
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
        self, both: int, gained: int, lost: int, neither: int, p_value: float
    ) -> None:
        """The p-value is the binomial tail of the discordant pairs, counted by hand."""
        comparison = compare(*binary(both, gained, lost, neither))
        assert comparison.p_value == pytest.approx(p_value, rel=1e-12)
        assert comparison.method == "exact McNemar test"

    def test_the_rest_of_the_numbers(self) -> None:
        """Means, difference and n are those of the scores."""
        comparison = compare(*binary(10, 5, 1, 4))
        assert comparison.n == 20
        assert comparison.baseline == pytest.approx(11 / 20)
        assert comparison.compiled == pytest.approx(15 / 20)
        assert comparison.difference == pytest.approx(4 / 20)
        assert comparison.margin == 0
        assert comparison.confidence == pytest.approx(0.95)

    def test_interval_of_bonett_and_price(self) -> None:
        """The interval has one more of each discordant pair, and the quantile of a t table."""
        comparison = compare(*binary(54, 22, 6, 17))
        center = (23 - 7) / 101
        error = math.sqrt((23 / 101 + 7 / 101 - center**2) / 101)
        assert comparison.low == pytest.approx(center - 1.983972 * error, abs=1e-6)
        assert comparison.high == pytest.approx(center + 1.983972 * error, abs=1e-6)

    def test_equal_scores_are_no_certainty(self) -> None:
        """Where no example differs the interval still has a width, less with more examples."""
        widths = []
        for n in (1, 20, 200):
            comparison = compare([1.0] * n, [1.0] * n)
            assert comparison.p_value == pytest.approx(1.0, abs=0)
            assert comparison.low < 0 < comparison.high
            widths.append(comparison.high - comparison.low)
        assert widths == sorted(widths, reverse=True)
        assert widths[0] > 4 * widths[2]

    def test_booleans_and_integers(self) -> None:
        """Scores that are bool or int compare like the same numbers."""
        as_float = compare([0.0, 0.0, 1.0], [1.0, 1.0, 1.0])
        assert compare([False, False, True], [True, True, True]) == as_float
        assert compare([0, 0, 1], [1, 1, 1]) == as_float


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
        """The p-value is the share of all sign flips that do as well, counted one by one."""
        baseline = [0.05] * len(differences)
        comparison = compare(baseline, [0.05 + each for each in differences])
        assert comparison.p_value == pytest.approx(brute_force(differences), abs=1e-9)
        assert comparison.method == "exact sign-flip permutation test"

    @pytest.mark.parametrize("margin", [-0.2, 0.1, 0.3])
    def test_against_brute_force_with_a_margin(self, margin: float) -> None:
        """With a margin it is the differences beyond the margin that are flipped."""
        differences = [0.5, -0.25, 0.1, 0.35, 0.2, 0.45]
        comparison = compare(
            [0.25] * 6, [0.25 + difference for difference in differences], margin=margin
        )
        beyond = [difference - margin for difference in differences]
        assert comparison.p_value == pytest.approx(brute_force(beyond), abs=1e-9)

    def test_many_units_against_scipy(self) -> None:
        """Where flips are counted on a grid, SciPy's drawn ones give about the same."""
        rng = np.random.default_rng(4)
        for n in (17, 60, 120):
            differences = rng.normal(0.12, 0.5, n)
            drawn = stats.permutation_test(
                (differences,),
                np.mean,
                permutation_type="samples",
                n_resamples=10_000,
                alternative="greater",
                rng=rng,
            )
            above, below = graded._sign_flips(differences)
            assert above == pytest.approx(drawn.pvalue, abs=0.012)
            assert above + below == pytest.approx(1, abs=0.005)

    def test_many_ties_on_the_grid(self) -> None:
        """Ties count in full: of 40 equal differences, 26 gained are a tail of the binomial."""
        differences = np.asarray([0.1] * 26 + [-0.1] * 14)
        expected = stats.binom.sf(25, 40, 0.5)
        assert graded._sign_flips(differences)[0] == pytest.approx(expected, rel=1e-9)

    def test_skewed_differences_are_judged_by_the_bootstrap(self) -> None:
        """A small gain on most examples is no evidence where a rare loss may outweigh it."""
        differences = [0.02] * 37 + [-0.2, -0.1, -0.15]
        comparison = compare([0.5] * 40, [0.5 + each for each in differences])
        flips = graded._sign_flips(np.asarray(differences))[0]
        assert comparison.method == "studentized bootstrap test"
        assert comparison.p_value > flips

    def test_large_samples_repeat(self) -> None:
        """Where not all flips can be tried, the same scores still give the same p-value."""
        rng = random.Random(0)
        before = [rng.random() for _ in range(60)]
        after = [score + rng.gauss(0.05, 0.2) for score in before]
        first, second = compare(before, after), compare(before, after)
        assert first == second
        assert not first.method.startswith("exact")
        assert 0 < first.p_value < 0.3

    def test_interval_of_student(self) -> None:
        """The interval is Student's, as in a textbook: 0.3 ± 2.776 · 0.0707."""
        comparison = compare([0.25] * 5, [0.25 + each for each in (0.1, 0.2, 0.3, 0.4, 0.5)])
        error = math.sqrt(0.025 / 5)
        assert comparison.low == pytest.approx(0.3 - 2.776445 * error, abs=1e-6)
        assert comparison.high == pytest.approx(0.3 + 2.776445 * error, abs=1e-6)

    def test_equal_scores(self) -> None:
        """Where nothing differs there is no evidence at all."""
        comparison = compare([0.3, 0.7], [0.3, 0.7])
        assert comparison.p_value == pytest.approx(1.0, abs=0)
        assert not comparison.difference

    def test_rounding_is_no_difference(self) -> None:
        """0.1 + 0.2 against 0.3 is no evidence that a program became better."""
        comparison = compare([0.3] * 30, [0.1 + 0.2] * 30)
        assert comparison.p_value == pytest.approx(1.0, abs=0)


class TestMargin:
    def test_a_margin_asks_for_more(self) -> None:
        """The larger the margin, the weaker the evidence for a difference beyond it."""
        before, after = binary(30, 25, 5, 40)
        p_values = [
            compare(before, after, margin=margin).p_value
            for margin in (-0.1, -0.01, 0.01, 0.1, 0.2, 0.4)
        ]
        assert p_values == sorted(p_values)
        assert p_values[0] < 0.01
        assert p_values[-1] > 0.9

    def test_a_margin_that_goes_to_nothing(self) -> None:
        """A binary comparison with a tiny margin says about what it says with none."""
        before, after = binary(30, 25, 5, 40)
        none = compare(before, after)
        tiny = compare(before, after, margin=1e-9)
        assert tiny.method == "exact score test"
        assert math.log10(tiny.p_value) == pytest.approx(math.log10(none.p_value), abs=1)

    def test_all_won(self) -> None:
        """All of few examples won is as unlikely as the margin lets it be, worked out by hand."""
        comparison = compare(*binary(0, 12, 0, 0), margin=0.01)
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
            extreme = [each for each in tables if statistic[each] >= statistic[table] - 1e-9]
            worst = max(
                math.fsum(chance_of(n, *each, loss + margin, loss) for each in extreme)
                for loss in losses
            )
            gained, lost = table
            comparison = compare(*binary(0, gained, lost, n - gained - lost), margin=margin)
            assert comparison.p_value == pytest.approx(worst, abs=1e-9)

    @pytest.mark.parametrize("margin, p_value", [(1.0, 1.0), (1.5, 1.0), (-1.0, 0.0), (-2, 0.0)])
    def test_a_margin_beyond_all_scores(self, margin: float, p_value: float) -> None:
        """No difference is above 1, and each is above -1 unless every example was lost."""
        before, after = binary(3, 4, 2, 1)
        assert compare(before, after, margin=margin).p_value == pytest.approx(p_value, abs=0)
        every = binary(0, 0, 5, 0)
        expected = 1.0 if margin >= -1 else 0.0
        assert compare(*every, margin=margin).p_value == pytest.approx(expected, abs=0)

    @pytest.mark.parametrize("scores", [binary(30, 25, 5, 40), ([0.1, 0.6, 0.3], [0.4, 0.5, 0.9])])
    def test_the_opposite_is_the_mirrored_question(
        self, scores: tuple[list[float], list[float]]
    ) -> None:
        """Whether the difference is below a margin is asked of the programs swapped."""
        before, after = scores
        for margin in (-0.1, 0.0, 0.15):
            one, other = (
                compare(before, after, margin=margin),
                compare(after, before, margin=-margin),
            )
            assert one.p_opposite == pytest.approx(other.p_value, abs=1e-12)
            assert one.p_value == pytest.approx(other.p_opposite, abs=1e-12)


class TestOneExample:
    @pytest.mark.parametrize("before, after", [(0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.25, 0.75)])
    def test_decides_nothing(self, before: float, after: float) -> None:
        """One example is compared, and is no evidence in either direction."""
        comparison = compare([before], [after])
        assert comparison.n == 1
        assert comparison.difference == after - before
        assert comparison.p_value >= 0.5
        assert comparison.low < 0 < comparison.high


class TestRefused:
    @pytest.mark.parametrize(
        "baseline, compiled", [([], []), ([1.0], []), ([1.0, 0.0], [1.0]), ([], [0.5])]
    )
    def test_scores_that_are_not_paired(self, baseline: list[float], compiled: list[float]) -> None:
        """Scores that are missing or of different number cannot be compared."""
        with pytest.raises(ValueError, match=f"{len(baseline)} and {len(compiled)}"):
            compare(baseline, compiled)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_scores_that_are_not_finite(self, bad: float) -> None:
        """NaN and infinity are no scores, wherever they turn up."""
        with pytest.raises(ValueError, match="finite"):
            compare([0.5, bad], [0.5, 0.5])
        with pytest.raises(ValueError, match="finite"):
            compare([0.5, 0.5], [bad, 0.5])
        with pytest.raises(ValueError, match="finite"):
            compare([0.5], [0.5], margin=bad)


class TestProperties:
    @given(pairs(SCORES, 12), st.sampled_from([0.0, -0.1, 0.05, 0.5]))
    def test_numbers_that_make_sense(self, scores: list[list[float]], margin: float) -> None:
        """P is a probability, the interval holds the difference, everything is finite for n > 1."""
        comparison = compare(*scores, margin=margin)
        n = comparison.n
        # The adjusted interval of binary scores is centred on (gained - lost) / (n + 2).
        shift = abs(comparison.difference) * 2 / (n + 2)
        assert 0 <= comparison.p_value <= 1
        assert comparison.low - shift - 1e-12 <= comparison.difference
        assert comparison.difference <= comparison.high + shift + 1e-12
        assert comparison.difference == pytest.approx(comparison.compiled - comparison.baseline)
        if n > 1:
            assert math.isfinite(comparison.low)
            assert math.isfinite(comparison.high)
            assert comparison.detectable >= 0

    @given(pairs(SCORES, 10) | pairs(BINARY, 30))
    def test_swapping_mirrors(self, scores: list[list[float]]) -> None:
        """Baseline and compiled swapped give the mirrored difference and interval."""
        one, other = compare(*scores), compare(*reversed(scores))
        assert other.difference == pytest.approx(-one.difference, abs=1e-12)
        assert other.low == pytest.approx(-one.high, abs=1e-12)
        assert other.high == pytest.approx(-one.low, abs=1e-12)
        assert other.detectable == pytest.approx(one.detectable, abs=1e-12)
        # Both tails count the observed value, so together they reach at least 1.
        assert one.p_value + other.p_value >= 1 - 1e-9

    @given(pairs(SCORES, 10), st.randoms())
    def test_order_is_nothing(self, scores: list[list[float]], rng: random.Random) -> None:
        """The order of the examples decides nothing."""
        order = list(range(len(scores[0])))
        rng.shuffle(order)
        shuffled = [[side[index] for index in order] for side in scores]
        one, other = compare(*scores), compare(*shuffled)
        assert other.p_value == pytest.approx(one.p_value, abs=1e-9)
        assert other.low == pytest.approx(one.low, abs=1e-9)

    @given(pairs(BINARY, 30))
    def test_one_more_win_is_more_evidence(self, scores: list[list[float]]) -> None:
        """An example that was lost and is won cannot make the evidence weaker."""
        before, after = scores
        comparison = compare(before, after)
        lost = [index for index, score in enumerate(after) if score == 0]
        for index in lost[:3]:
            better = [*after[:index], 1.0, *after[index + 1 :]]
            assert compare(before, better).p_value <= comparison.p_value + 1e-12


class TestDetectable:
    @pytest.mark.parametrize("n", [1, 2, 3, 4])
    def test_too_few_to_show_anything(self, n: int) -> None:
        """Four examples cannot pass at 5%, whatever they score, and that is said."""
        assert compare([0.0] * n, [1.0] * n).detectable == math.inf
        assert compare([0.0] * n, [0.9] * n).detectable == math.inf

    def test_five_examples_all_won(self) -> None:
        """Five examples show a difference if all are won: with chance 0.8 at 0.8 to the 1/5."""
        assert compare([0.0] * 5, [0.0] * 5).detectable == pytest.approx(0.8 ** (1 / 5), abs=1e-4)

    @pytest.mark.parametrize("margin", [0.0, 0.1, -0.1])
    def test_the_power_of_answers(self, margin: float) -> None:
        """A true difference that is detectable is detected in about 80% of samples."""
        rng = np.random.default_rng(6)
        n, share = 80, 0.4
        beyond = compare(*binary(24, 16, 16, 24), margin=margin).detectable
        difference = margin + beyond
        chances = [(share + difference) / 2, (share - difference) / 2, 1 - share]
        shown = 0
        for gained, lost, rest in rng.multinomial(n, chances, size=REPETITIONS):
            comparison = compare(*binary(rest, gained, lost, 0), margin=margin)
            shown += comparison.p_value < 0.05
        assert 0.72 <= shown / REPETITIONS <= 0.88

    def test_the_power_of_grades(self) -> None:
        """The same of scores between 0 and 1."""
        rng = np.random.default_rng(7)
        drawn = [rng.normal(0, 0.2, 30) for _ in range(REPETITIONS)]

        def shifted(gain: float) -> list[PairedComparison]:
            return [compare([0.5] * 30, (0.5 + gain + each).tolist()) for each in drawn]

        beyond = fmean(comparison.detectable for comparison in shifted(0.0))
        shown = sum(comparison.p_value < 0.05 for comparison in shifted(beyond))
        assert 0.72 <= shown / REPETITIONS <= 0.88


@pytest.mark.parametrize("n", [20, 60])
def test_the_interval_covers_skewed_differences(n: int) -> None:
    """Near a score that cannot be exceeded the interval still holds the true difference."""
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(REPETITIONS):
        differences = rng.exponential(0.1, n) - 0.1
        comparison = compare([0.5] * n, (0.5 + differences).tolist())
        covered += comparison.low <= 0 <= comparison.high
    assert covered / REPETITIONS >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)


def test_all_differences_alike() -> None:
    """A program that gains the same on each of many examples is better beyond doubt."""
    comparison = compare([0.25] * 30, [0.5] * 30)
    assert comparison.p_value < 1e-6
    assert comparison.low == comparison.high == comparison.difference


def test_strong_evidence_is_told_apart() -> None:
    """A p-value can be smaller than one resample's share, for who wants a tiny alpha."""
    rng = np.random.default_rng(9)
    before = rng.uniform(0, 0.4, 40)
    p_value = compare(before.tolist(), (before + rng.uniform(0.1, 0.5, 40)).tolist()).p_value
    assert 0 < p_value < 1e-6


def test_many_examples() -> None:
    """Thousands of examples are compared, too, with and without a margin."""
    rng = np.random.default_rng(8)
    before, after = (rng.random(3000).tolist() for _ in range(2))
    assert 0 < compare(before, after).p_value < 1
    before, after = ((rng.random(3000) < 0.5).astype(float).tolist() for _ in range(2))
    assert 0 < compare(before, after, margin=-0.02).p_value < 1
    assert compare(before, after, margin=-0.02).detectable < 0.05
