from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import settings

from pytest_mipro.gate import graded
from pytest_mipro.gate.paired import compare
from pytest_mipro.gate.verdict import AcceptedScores, beats_baseline, no_regression
from pytest_mipro.records import PairedComparison, Scorecard, Usage

pytestmark = pytest.mark.uses("numpy")

REPETITIONS = 16 * settings().max_examples
"""How often a chance is tried that is then counted."""
BEFORE = [0.2, 0.4, 0.1, 0.5, 0.3, 0.2, 0.6, 0.4]
AFTER = [0.4, 0.5, 0.4, 0.5, 0.6, 0.1, 0.9, 0.7]
DOCUMENTS = ["a", "a", "a", "b", "b", "c", "d", "d"]


def card(scores: list[float], clusters: list[str]) -> Scorecard:
    """Return a scorecard with numbered examples."""
    names = tuple(map(str, range(len(scores))))
    return Scorecard(names, tuple(scores), Usage(), clusters=tuple(clusters))


def compared(comparison: PairedComparison | None) -> PairedComparison:
    """Return a comparison that is there."""
    assert comparison is not None
    return comparison


def test_the_difference_is_that_of_the_examples() -> None:
    """Clusters change what is sure, not what is estimated."""
    alone, grouped = compare(BEFORE, AFTER), compare(BEFORE, AFTER, clusters=DOCUMENTS)
    assert grouped.difference == alone.difference
    assert (alone.clusters, grouped.clusters) == (0, 4)
    assert grouped.n == alone.n == 8


def test_whole_clusters_are_flipped() -> None:
    """With four clusters there are 16 flips; two of them do as well as the sums of 6, 3, -1, 6."""
    grouped = compare(BEFORE, AFTER, clusters=DOCUMENTS)
    assert grouped.p_value == pytest.approx(2 / 16)
    assert grouped.method == "exact sign-flip permutation test"


def test_the_error_is_the_jackknife_over_clusters() -> None:
    """The standard error is worked out leaving out one cluster at a time."""
    units = graded.Units(np.asarray([0.6, 0.3, -0.1, 0.6]), np.asarray([3.0, 2.0, 1.0, 2.0]))
    left = [0.8 / 5, 1.1 / 6, 1.5 / 7, 0.8 / 6]
    expected = math.sqrt(3 / 4 * sum((mean - 1.4 / 8) ** 2 for mean in left))
    assert units.error == pytest.approx(expected)


def test_clusters_of_one_are_no_clusters() -> None:
    """Where each example is on its own, saying so changes nothing."""
    names = list(map(str, range(len(BEFORE))))
    assert compare(BEFORE, AFTER, clusters=names) == compare(BEFORE, AFTER)
    right = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    assert compare(right, right[::-1], clusters=names) == compare(right, right[::-1])


def test_copies_are_no_evidence() -> None:
    """Each example four times over says as much as once, if they are said to belong together."""
    copied = compare(BEFORE * 4, AFTER * 4, clusters=list(range(8)) * 4)
    once = compare(BEFORE, AFTER)
    assert copied.p_value == pytest.approx(once.p_value)
    assert copied.low == pytest.approx(once.low)
    assert compare(BEFORE * 4, AFTER * 4).p_value < once.p_value / 10


def test_equal_answers_in_clusters_are_no_certainty() -> None:
    """Where no answer changed, the interval is at least as wide as without clusters."""
    same = [1.0, 0.0] * 10
    grouped = compare(same, same, clusters=[index // 4 for index in range(20)])
    alone = compare(same, same)
    assert grouped.low <= alone.low < 0 < alone.high <= grouped.high
    assert grouped.p_value == pytest.approx(1.0, abs=0)


def test_clusters_are_no_surer_than_examples() -> None:
    """Answers that are right or wrong are judged no more surely in clusters than alone."""
    rng = random.Random(0)
    for _ in range(20):
        before, after = ([float(rng.random() < 0.5) for _ in range(24)] for _ in range(2))
        for margin in (-0.05, 0.0):
            grouped = compare(
                before, after, margin=margin, clusters=[index // 3 for index in range(24)]
            )
            assert grouped.p_value >= compare(before, after, margin=margin).p_value


def test_one_cluster_decides_nothing() -> None:
    """Of one cluster, as of one example, nothing can be known."""
    alone = compare(BEFORE, AFTER, clusters=["a"] * 8)
    assert alone.p_value >= 0.5
    assert (alone.low, alone.high) == (-math.inf, math.inf)
    assert alone.detectable == math.inf


def test_clusters_that_do_not_fit() -> None:
    """There is a cluster for each example, or none."""
    with pytest.raises(ValueError, match="cluster for each of 8 scores, got 2"):
        compare(BEFORE, AFTER, clusters=["a", "b"])


def test_verdicts_name_them() -> None:
    """Both verdicts say how many clusters there are, and where more evidence would be."""
    before, after = card(BEFORE, []), card(AFTER, DOCUMENTS)
    better = beats_baseline(before, after, margin=0.0, alpha=0.05, unchanged=False)
    assert better.word == "INCONCLUSIVE"
    assert "n = 8 in 4 clusters" in better.sentence
    assert "no difference would show at this number of clusters" in better.sentence
    assert "add held-out examples of other clusters" in better.sentence
    kept = no_regression(AcceptedScores(before, "accept"), after, tolerance=0.0, alpha=0.05)
    assert "n = 8 in 4 clusters" in kept.sentence
    assert "add held-out examples" in kept.sentence


def test_only_common_examples_count() -> None:
    """Clusters of examples that the reference lacks are left out."""
    before = Scorecard(("0", "3", "4", "7"), (0.2, 0.5, 0.3, 0.4), Usage())
    after = card(AFTER, DOCUMENTS)
    verdict = no_regression(AcceptedScores(before, "accept"), after, tolerance=0.0, alpha=0.05)
    assert (compared(verdict.comparison).n, compared(verdict.comparison).clusters) == (4, 3)


@pytest.mark.parametrize("size", [1, 3])
def test_equal_programs_in_clusters_seldom_pass(size: int) -> None:
    """Programs that are better at whole documents by chance pass with a chance of alpha at most."""
    rng = random.Random(size)
    documents = [index // size for index in range(30)]
    passed = 0
    for _ in range(REPETITIONS):
        sides = []
        for _ in range(2):
            liking = [rng.gauss(0, 1.5) for _ in range(30)]
            sides.append([liking[each] + rng.gauss(0, 0.3) for each in documents])
        passed += compare(*sides, clusters=documents).p_value < 0.05
    assert passed / REPETITIONS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)
    assert passed > 0
