from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_mipro.gate.paired import compare
from pytest_mipro.gate.verdict import AcceptedScores, beats_baseline, no_regression
from pytest_mipro.records import PairedComparison, Scorecard, Usage

REPETITIONS = 4 * settings().max_examples
"""Samples from which an error rate is estimated."""
SCORES = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.75, 1.0])
BINARY = st.sampled_from([0.0, 1.0])
BASELINE = [0.2, 0.4, 0.1, 0.5, 0.3, 0.2, 0.6, 0.4]
COMPILED = [0.4, 0.5, 0.4, 0.5, 0.6, 0.1, 0.9, 0.7]
DOCUMENTS = ["a", "a", "a", "b", "b", "c", "d", "d"]
RIGHT_OR_WRONG = [1.0] * 35 + [0.0] * 65, [1.0] * 30 + [0.0] * 5 + [1.0] * 25 + [0.0] * 40


def pairs(score: st.SearchStrategy[float], most: int) -> st.SearchStrategy[list[list[float]]]:
    """Draw two lists of scores of the same length."""
    return st.lists(st.tuples(score, score), min_size=1, max_size=most).map(
        lambda drawn: [list(scores) for scores in zip(*drawn, strict=True)]
    )


def scorecard(scores: list[float], clusters: list[str]) -> Scorecard:
    """Return a scorecard with numbered examples."""
    names = tuple(map(str, range(len(scores))))
    return Scorecard(names, tuple(scores), Usage(), clusters=tuple(clusters))


def checked(comparison: PairedComparison | None) -> PairedComparison:
    """Return a comparison that must not be None."""
    assert comparison is not None
    return comparison


class TestOneExample:
    @pytest.mark.parametrize(
        "baseline, compiled", [(0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.25, 0.75)]
    )
    def test_is_no_evidence(self, baseline: float, compiled: float) -> None:
        """One example has a p-value of at least one half, and an interval on both sides of 0."""
        comparison = compare([baseline], [compiled])
        assert comparison.n == 1
        assert comparison.difference == compiled - baseline
        assert comparison.p_value >= 0.5
        assert comparison.low < 0 < comparison.high


class TestWrongScores:
    @pytest.mark.parametrize(
        "baseline, compiled", [([], []), ([1.0], []), ([1.0, 0.0], [1.0]), ([], [0.5])]
    )
    def test_unpaired(self, baseline: list[float], compiled: list[float]) -> None:
        """Scores that are missing or of different number raise ValueError."""
        with pytest.raises(ValueError, match=f"{len(baseline)} and {len(compiled)}"):
            compare(baseline, compiled)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_not_finite(self, bad: float) -> None:
        """NaN and infinity raise ValueError in either program's scores and as a margin."""
        with pytest.raises(ValueError, match="finite"):
            compare([0.5, bad], [0.5, 0.5])
        with pytest.raises(ValueError, match="finite"):
            compare([0.5, 0.5], [bad, 0.5])
        with pytest.raises(ValueError, match="finite"):
            compare([0.5], [0.5], margin=bad)


class TestProperties:
    @given(pairs(SCORES, 12), st.sampled_from([0.0, -0.1, 0.05, 0.5]))
    def test_invariants(self, scores: list[list[float]], margin: float) -> None:
        """P is a probability, the interval holds the difference, bounds are finite for n > 1."""
        comparison = compare(*scores, margin=margin)
        assert 0 <= comparison.p_value <= 1
        assert comparison.low <= comparison.difference <= comparison.high
        assert comparison.difference == pytest.approx(comparison.compiled - comparison.comparator)
        assert comparison.low >= -1
        assert comparison.high <= 1
        assert comparison.detectable >= 0

    @given(pairs(SCORES, 10) | pairs(BINARY, 30))
    def test_swapping_mirrors(self, scores: list[list[float]]) -> None:
        """Baseline and compiled swapped give the mirrored difference and interval."""
        comparison, mirrored = compare(*scores), compare(*reversed(scores))
        assert mirrored.difference == pytest.approx(-comparison.difference, abs=1e-12)
        assert mirrored.low == pytest.approx(-comparison.high, abs=1e-3)
        assert mirrored.high == pytest.approx(-comparison.low, abs=1e-3)
        # Both tails count the observed value, so together they reach at least 1.
        assert comparison.p_value + mirrored.p_value >= 1 - 1e-9

    @given(pairs(SCORES, 10), st.randoms())
    def test_order_changes_nothing(self, scores: list[list[float]], rng: random.Random) -> None:
        """The p-value and the interval are the same for any order of the examples."""
        order = list(range(len(scores[0])))
        rng.shuffle(order)
        reordered = [[program[index] for index in order] for program in scores]
        comparison, shuffled = compare(*scores), compare(*reordered)
        assert shuffled.p_value == pytest.approx(comparison.p_value, abs=1e-9)
        assert shuffled.low == pytest.approx(comparison.low, abs=1e-4)

    @given(pairs(BINARY, 30))
    def test_one_more_gain_is_no_weaker_evidence(self, scores: list[list[float]]) -> None:
        """The p-value does not rise if a wrong answer becomes right."""
        baseline, compiled = scores
        comparison = compare(baseline, compiled)
        wrong = [index for index, score in enumerate(compiled) if score == 0]
        for index in wrong[:3]:
            better = [*compiled[:index], 1.0, *compiled[index + 1 :]]
            assert compare(baseline, better).p_value <= comparison.p_value + 1e-12

    @pytest.mark.parametrize("scores", [RIGHT_OR_WRONG, ([0.1, 0.6, 0.3], [0.4, 0.5, 0.9])])
    def test_the_opposite_p_value_is_that_of_swapped_programs(
        self, scores: tuple[list[float], list[float]]
    ) -> None:
        """The test for a difference below a margin is the test of the programs swapped."""
        for margin in (-0.1, 0.0, 0.15):
            comparison = compare(*scores, margin=margin)
            mirrored = compare(*reversed(scores), margin=-margin)
            assert comparison.p_opposite == pytest.approx(mirrored.p_value, abs=1e-12)
            assert comparison.p_value == pytest.approx(mirrored.p_opposite, abs=1e-12)

    @pytest.mark.parametrize("n", [1, 2, 3, 4])
    def test_too_few_to_show_anything(self, n: int) -> None:
        """No difference is detectable with four examples, which cannot pass at 5%."""
        assert compare([0.0] * n, [1.0] * n).detectable == math.inf
        assert compare([0.0] * n, [0.9] * n).detectable == math.inf


def test_all_differences_alike() -> None:
    """An equal gain on many examples has a tiny p-value and an interval with hardly a width."""
    comparison = compare([0.25] * 30, [0.5] * 30)
    assert comparison.p_value < 1e-6
    assert comparison.low == pytest.approx(0.25, abs=1e-3)
    assert comparison.high == pytest.approx(0.25, abs=1e-3)


def test_many_examples() -> None:
    """Thousands of examples are compared with and without a margin."""
    rng = np.random.default_rng(8)
    graded = [rng.random(3000).tolist() for _ in range(2)]
    assert 0 < compare(*graded).p_value < 1
    binary = [(rng.random(3000) < 0.5).astype(float).tolist() for _ in range(2)]
    comparison = compare(*binary, margin=-0.02)
    assert 0 < comparison.p_value < 1
    assert comparison.detectable < 0.05


class TestClusters:
    def test_the_difference_is_that_of_the_examples(self) -> None:
        """Clusters change the evidence, and the estimate stays that of the examples."""
        independent, grouped = (
            compare(BASELINE, COMPILED),
            compare(BASELINE, COMPILED, clusters=DOCUMENTS),
        )
        assert grouped.difference == independent.difference
        assert (independent.clusters, grouped.clusters) == (0, 4)
        assert grouped.n == independent.n == 8

    def test_whole_clusters_are_flipped(self) -> None:
        """Of the 16 sign flips of four clusters, two have at least the observed mean."""
        grouped = compare(BASELINE, COMPILED, clusters=DOCUMENTS)
        assert grouped.p_value == pytest.approx(2 / 16)
        assert grouped.method == "exact sign-flip permutation test"

    def test_clusters_of_one_example_are_none(self) -> None:
        """A cluster for each example gives the comparison without clusters."""
        names = list(map(str, range(len(BASELINE))))
        assert compare(BASELINE, COMPILED, clusters=names) == compare(BASELINE, COMPILED)
        right = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]
        assert compare(right, right[::-1], clusters=names) == compare(right, right[::-1])

    def test_copies_in_clusters_add_no_evidence(self) -> None:
        """Four copies of each example, in one cluster each, give the p-value of the originals."""
        copied = compare(BASELINE * 4, COMPILED * 4, clusters=list(range(8)) * 4)
        once = compare(BASELINE, COMPILED)
        assert copied.p_value == pytest.approx(once.p_value)
        assert copied.low == pytest.approx(once.low, abs=1e-3)
        assert compare(BASELINE * 4, COMPILED * 4).p_value < once.p_value / 10

    def test_equal_answers_in_clusters_leave_doubt(self) -> None:
        """Where no answer changed, the interval is at least as wide as without clusters."""
        same = [1.0, 0.0] * 10
        grouped = compare(same, same, clusters=[index // 4 for index in range(20)])
        independent = compare(same, same)
        assert grouped.low <= independent.low < 0 < independent.high <= grouped.high
        assert grouped.p_value == pytest.approx(1.0, abs=0)

    def test_clusters_are_no_stronger_evidence_than_examples(self) -> None:
        """The p-value of binary scores in clusters is at least that of independent examples."""
        rng = random.Random(0)
        for _ in range(6):
            scores = [[float(rng.random() < 0.5) for _ in range(24)] for _ in range(2)]
            for margin in (-0.05, 0.0):
                grouped = compare(
                    *scores, margin=margin, clusters=[index // 3 for index in range(24)]
                )
                assert grouped.p_value >= compare(*scores, margin=margin).p_value

    def test_one_cluster_is_no_evidence(self) -> None:
        """The interval of one cluster is everything there can be, and nothing is detectable."""
        independent = compare(BASELINE, COMPILED, clusters=["a"] * 8)
        assert independent.p_value >= 0.5
        assert (independent.low, independent.high) == (-1, 1)
        assert independent.detectable == math.inf

    def test_a_wrong_number_of_clusters(self) -> None:
        """Clusters for only a part of the examples raise ValueError."""
        with pytest.raises(ValueError, match="cluster for each of 8 scores, got 2"):
            compare(BASELINE, COMPILED, clusters=["a", "b"])

    def test_sentences_name_clusters(self) -> None:
        """Both verdicts say how many clusters there are, and that other clusters are needed."""
        baseline, compiled = scorecard(BASELINE, []), scorecard(COMPILED, DOCUMENTS)
        better = beats_baseline(baseline, compiled, margin=0.0, alpha=0.05, unchanged=False)
        assert better.word == "INCONCLUSIVE"
        assert "n = 8 in 4 clusters" in better.sentence
        assert "no difference would show at this number of clusters" in better.sentence
        assert "add held-out examples of other clusters" in better.sentence
        as_good = no_regression(
            AcceptedScores(baseline, "accept"), compiled, tolerance=0.0, alpha=0.05
        )
        assert "n = 8 in 4 clusters" in as_good.sentence
        assert "add held-out examples" in as_good.sentence

    def test_only_clusters_of_common_examples_count(self) -> None:
        """Clusters of examples that the reference lacks are not counted."""
        accepted = Scorecard(("0", "3", "4", "7"), (0.2, 0.5, 0.3, 0.4), Usage())
        compiled = scorecard(COMPILED, DOCUMENTS)
        verdict = no_regression(
            AcceptedScores(accepted, "accept"), compiled, tolerance=0.0, alpha=0.05
        )
        assert (checked(verdict.comparison).n, checked(verdict.comparison).clusters) == (4, 3)

    @pytest.mark.parametrize("size", [1, 3])
    def test_equal_programs_in_clusters_seldom_pass(self, size: int) -> None:
        """Programs that differ by documents at random pass with a chance of at most alpha."""
        rng = random.Random(size)
        documents = [index // size for index in range(30)]
        passed = 0
        for _ in range(REPETITIONS):
            programs = []
            for _ in range(2):
                preferences = [rng.gauss(0, 1.5) for _ in range(30)]
                programs.append(
                    [preferences[document] + rng.gauss(0, 0.3) for document in documents]
                )
            passed += compare(*programs, clusters=documents).p_value < 0.05
        assert passed / REPETITIONS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)
        assert passed > 0
