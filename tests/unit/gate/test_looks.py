from __future__ import annotations

from itertools import count, islice
from math import fsum
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.gate.looks import Levels, LookCount, judge_at, spent_alpha, with_look
from pytest_mipro.records import PairedComparison, Verdict

if TYPE_CHECKING:
    from pytest_mipro.records import VerdictWord

COMPARISON = PairedComparison(9, 0.5, 0.6, 0.1, -0.1, 0.3, 0.03, 0.2, 0.0, 0.95, "a test")


def judged(alpha: float) -> Verdict:
    """Return a PASS where its p-value of 0.03 is enough."""
    word: VerdictWord = "PASS" if alpha > COMPARISON.p_value else "INCONCLUSIVE"
    return Verdict("beats_baseline", word, f"judged at {alpha:g}", COMPARISON)


def failed(alpha: float) -> Verdict:
    """Return a FAIL where its p-value of 0.03 is enough."""
    word: VerdictWord = "FAIL" if alpha > COMPARISON.p_value else "INCONCLUSIVE"
    return Verdict("no_regression", word, f"judged at {alpha:g}", COMPARISON)


def test_all_looks_together_spend_alpha() -> None:
    """The levels of k looks add up to alpha k / (k + 1), which alpha bounds."""
    for looks in (1, 7, 1000):
        spent = fsum(spent_alpha(0.05, look) for look in islice(count(1), looks))
        assert spent == pytest.approx(0.05 * looks / (looks + 1))


@pytest.mark.parametrize(
    "judge, levels, word, level",
    [
        (judged, Levels(0.05, 0.05, 0.05), "PASS", 0.05),
        (judged, Levels(0.05, 0.04, 0.05), "PASS", 0.04),
        (judged, Levels(0.05, 0.01, 0.05), "INCONCLUSIVE", 0.01),
        (judged, Levels(0.05, 0.05, 0.01), "PASS", 0.05),
        (judged, Levels(0.02, 0.01, 0.01), "INCONCLUSIVE", 0.02),
        (failed, Levels(0.05, 0.01, 0.05), "FAIL", 0.05),
        (failed, Levels(0.05, 0.05, 0.025), "INCONCLUSIVE", 0.025),
    ],
)
def test_pass_and_fail_have_levels_of_their_own(
    judge: object, levels: Levels, word: str, level: float
) -> None:
    """A verdict whose evidence is not enough for its word says so at the level it lacks."""
    assert callable(judge)
    verdict = judge_at(levels, judge)
    assert (verdict.word, verdict.sentence) == (word, f"judged at {level:g}")


@pytest.mark.parametrize(
    "look, clause",
    [
        (LookCount(1, 120), ""),
        (LookCount(2, 120), "this is the 2nd look at these 120 examples"),
        (LookCount(3, 9, seeds=2), "this is the 3rd look at these 9 examples (2 seeds)"),
        (LookCount(11, 9, rescores=1), "this is the 11th look at these 9 examples (1 rescore)"),
        (
            LookCount(22, 9, seeds=3, rescores=2, acceptances=4),
            "this is the 22nd look at these 9 examples (3 seeds, 2 rescores, 4 acceptances)",
        ),
        (LookCount(101, 9), "this is the 101st look at these 9 examples"),
    ],
)
def test_the_clause_has_the_number_and_the_kinds(look: LookCount, clause: str) -> None:
    """The first look is no news; later ones say what the looks were."""
    assert look.clause == clause


def test_the_sentence_begins_with_the_look_and_its_level() -> None:
    """Without a smaller level the sentence has the look alone; the first look adds nothing."""
    verdict, look = judged(0.05), LookCount(7, 120)
    assert with_look(verdict, look, Levels(0.05, 0.05, 0.05)).sentence == (
        "this is the 7th look at these 120 examples; judged at 0.05"
    )
    spending = Levels(0.05, spent_alpha(0.05, 7), 0.05)
    assert with_look(verdict, look, spending).sentence == (
        "this is the 7th look at these 120 examples; a PASS needs p < 0.0008929 at look 7, of "
        "alpha = 0.05 for all looks; judged at 0.05"
    )
    assert with_look(verdict, LookCount(1, 120), Levels(0.05, 0.05, 0.05)) == verdict


def test_a_verdict_without_a_comparison_is_no_look() -> None:
    """Where there is no reference, nothing was compared."""
    verdict = Verdict("no_regression", "FAIL", "no reference", None)
    assert with_look(verdict, LookCount(7, 120), Levels(0.05, 0.01, 0.05)) == verdict
