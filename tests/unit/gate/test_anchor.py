from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.errors import DeclarationError
from pytest_mipro.gate.anchor import AnchorScores, is_shown_better, judge_against_anchor
from pytest_mipro.records import Scorecard, Usage, Verdict

if TYPE_CHECKING:
    from pytest_mipro.gate.anchor import AnchorJudgement
    from pytest_mipro.records import VerdictWord

COMMAND = "pytest --mipro --mipro-update test_x.py --mipro-new-anchor"
N = 50
WITHIN = "within the tolerance of the anchor"
ADVICE = f"undo what changed, or accept it as the new anchor with: {COMMAND}"


def card(right: int, count: int = N, first: int = 0) -> Scorecard:
    """Return the scores of a program that is right about the first examples."""
    names = tuple(str(number) for number in range(first, first + count))
    return Scorecard(names, (1.0,) * right + (0.0,) * (count - right), Usage())


def judge(right: int, tolerance: float = 0.02, anchor: Scorecard | None = None) -> AnchorJudgement:
    """Judge a program that is right about so many examples, against an anchor that is about 40."""
    scores = AnchorScores(anchor or card(40), 7, COMMAND)
    return judge_against_anchor(scores, card(right), tolerance=tolerance, alpha=0.025)


def verdict(word: VerdictWord) -> Verdict:
    """Return a verdict against the reference."""
    return Verdict("no_regression", word, "as good as the reference", None)


@pytest.mark.parametrize(
    "right, of_reference, word, last",
    [
        (40, "PASS", "PASS", "within the tolerance of the anchor"),
        (39, "PASS", "PASS", "within the tolerance of the anchor"),
        (45, "INCONCLUSIVE", "INCONCLUSIVE", "within the tolerance of the anchor"),
        (38, "PASS", "INCONCLUSIVE", f"for small losses add up; {ADVICE}"),
        (38, "INCONCLUSIVE", "INCONCLUSIVE", f"for small losses add up; {ADVICE}"),
        (38, "FAIL", "FAIL", f"for small losses add up; {ADVICE}"),
        (20, "PASS", "FAIL", f"worse than the anchor at alpha = 0.025; {ADVICE}"),
        (20, "INCONCLUSIVE", "FAIL", f"worse than the anchor at alpha = 0.025; {ADVICE}"),
        (20, "FAIL", "FAIL", f"worse than the anchor at alpha = 0.025; {ADVICE}"),
    ],
)
def test_the_anchor_makes_a_verdict_worse_or_leaves_it(
    right: int, of_reference: VerdictWord, word: str, last: str
) -> None:
    """A loss that is shown is a FAIL; one that is measured takes a PASS away; the rest stays."""
    applied = judge(right).applied_to(verdict(of_reference))
    assert (applied.word, bool(applied)) == (word, word == "PASS")
    assert applied.sentence.startswith("as good as the reference; the anchor of 7 acceptances has ")
    assert applied.sentence.endswith(last)


def test_the_comparison_is_that_of_the_word() -> None:
    """A word that the anchor decides has the figures of the anchor."""
    assert judge(40).applied_to(verdict("PASS")).comparison is None
    for right in (38, 20):
        comparison = judge(right).applied_to(verdict("PASS")).comparison
        assert comparison is not None
        assert (comparison.comparator, comparison.compiled) == (0.8, right / N)


def test_the_tolerance_itself_is_tolerated() -> None:
    """A loss of as much as the tolerance is within it, whatever the sum's last digits are."""
    for lost in range(1, 10):
        assert judge(40 - lost, tolerance=lost / N).clauses[-1] == WITHIN
        assert judge(40 - lost, tolerance=(lost - 0.5) / N).clauses[-1] != WITHIN


@pytest.mark.parametrize("count, is_low", [(50, True), (200, False)])
def test_enough_examples_show_that_a_measured_loss_is_small(count: int, is_low: bool) -> None:
    """Three points below the anchor holds a program up unless ten points are excluded."""
    anchor = AnchorScores(card(count * 4 // 5, count), 7, COMMAND)
    program = card(count * 4 // 5 - count * 3 // 100 - 1, count)
    judgement = judge_against_anchor(anchor, program, tolerance=0.02, alpha=0.025)
    assert judgement.is_low is is_low
    word = "INCONCLUSIVE" if is_low else "PASS"
    assert judgement.applied_to(verdict("PASS")).word == word
    shown = judgement.clauses[-1] == "shown to be less than 5 tolerances of 0.020 below the anchor"
    assert shown is not is_low


def test_common_examples_are_compared() -> None:
    """The sentence says how many there are, if the anchor lacks some."""
    judgement = judge(40, anchor=card(30, 30))
    assert judgement.comparison.n == 30
    assert (
        "compared on 30 of 50 held-out examples, the anchor lacks the others"
        in (judgement.clauses[0])
    )
    with pytest.raises(ValueError, match="expected as many scores"):
        judge(40, anchor=card(30, 30, first=100))


def test_a_note_comes_first() -> None:
    """A reader learns that the anchor was scored again before the figures."""
    scores = AnchorScores(card(40), 7, COMMAND, "it was scored again")
    judgement = judge_against_anchor(scores, card(40), tolerance=0.02, alpha=0.025)
    assert judgement.clauses[0] == "it was scored again"


def test_wrong_arguments_are_errors() -> None:
    """They are those of ``no_regression``."""
    with pytest.raises(DeclarationError, match="tolerance=-1: expected a loss"):
        judge(40, tolerance=-1)


@pytest.mark.parametrize(
    "accepted, is_better",
    [(card(40), False), (card(43), False), (card(50), True), (card(20), False)],
)
def test_luck_is_no_improvement(accepted: Scorecard, is_better: bool) -> None:
    """A difference that chance makes at times does not move the anchor."""
    assert is_shown_better(card(40), accepted) is is_better


def test_clusters_are_what_shows() -> None:
    """Answers that depend on one another are not as much evidence as others."""
    clustered = replace(card(50), clusters=tuple(str(number // 25) for number in range(N)))
    assert not is_shown_better(card(40), clustered)


def test_other_examples_show_nothing() -> None:
    """Without a common example nothing is compared."""
    assert not is_shown_better(card(0), card(50, first=100))
