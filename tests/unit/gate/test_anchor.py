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
EQUAL = "this program gained 0.000 against the anchor"
ADVICE = f"undo what changed, or accept it as the new anchor with: {COMMAND}"
HELD = (
    ", more than half the tolerance of 0.020, which counts as failed, for small losses add up; "
    f"undo what lost since the anchor, or accept this program as the new anchor with: {COMMAND}"
)


def card(right: int, count: int = N, first: int = 0) -> Scorecard:
    """Return the scores of a program that is right about the first examples."""
    names = tuple(str(number) for number in range(first, first + count))
    return Scorecard(names, (1.0,) * right + (0.0,) * (count - right), Usage())


def judge(
    right: int,
    tolerance: float = 0.02,
    anchor: Scorecard | None = None,
    earlier: tuple[float, ...] = (),
) -> AnchorJudgement:
    """Judge a program that is right about so many examples, against an anchor that is about 40."""
    scores = AnchorScores(anchor or card(40), 7, COMMAND, earlier=earlier)
    return judge_against_anchor(scores, card(right), tolerance=tolerance, alpha=0.025)


def verdict(word: VerdictWord) -> Verdict:
    """Return a verdict against the reference."""
    return Verdict("no_regression", word, "as good as the reference", None)


@pytest.mark.parametrize(
    "right, of_reference, word, last",
    [
        (40, "PASS", "PASS", EQUAL),
        (39, "PASS", "PASS", "shown to be less than 5 tolerances of 0.020 below the anchor"),
        (45, "INCONCLUSIVE", "INCONCLUSIVE", "this program gained 0.100 against the anchor"),
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


def test_half_the_tolerance_is_tolerated() -> None:
    """A loss of as much as half of it is within it, whatever the sum's last digits are."""
    for lost in range(1, 10):
        within = "lost {:.3f} against the anchor, within half the tolerance of {:.3f}".format
        amount = lost / N
        assert within(amount, 2 * amount) in judge(40 - lost, 2 * amount).clauses[-1]
        assert "within" not in judge(40 - lost, 1.9 * amount).clauses[-1]


@pytest.mark.parametrize(
    "right, earlier, word, change",
    [
        (
            40,
            (-0.02,),
            "INCONCLUSIVE",
            "the one accepted before it lost 0.020 against the anchor in",
        ),
        (38, (0.03,), "PASS", "lost 0.010 against the anchor in all, within half the tolerance"),
        (38, (0.04,), "PASS", "the one accepted before it gained 0.000 against the anchor in all"),
        (38, (0.02, 0.0, 0.005), "INCONCLUSIVE", "this program and the 3 accepted before it lost"),
        (40, (-0.5, 0.01, 0.0, 0.0, -0.02), "PASS", "the 4 accepted before it lost 0.010 against"),
        (40, (0.5, -0.02, 0.0, 0.0, 0.0), "INCONCLUSIVE", "the 4 accepted before it lost 0.020"),
        (39, (-0.02,) * 4, "PASS", "shown to be less than 5 tolerances of 0.020 below the anchor"),
    ],
)
def test_the_differences_of_the_last_programs_add_up(
    right: int, earlier: tuple[float, ...], word: str, change: str
) -> None:
    """Those of four programs and of the present one; what loses little by itself may pass."""
    disagreeing = replace(card(40), scores=card(40).scores[::-1])
    anchor = card(40) if right == 39 else disagreeing
    judgement = judge(right, anchor=anchor, earlier=earlier)
    assert judgement.applied_to(verdict("PASS")).word == word
    assert change in judgement.clauses[-1]
    assert judgement.clauses[-1].endswith(f"in all{HELD}") is (word == "INCONCLUSIVE")


def test_what_is_shown_to_be_within_the_tolerance_may_follow_losses() -> None:
    """The programs before it do not count against a program that is shown to have lost little."""
    judgement = judge(40, tolerance=0.3, earlier=(-0.2, -0.2))
    assert (judgement.is_kept, judgement.is_low) == (True, False)
    assert judgement.clauses[-1] == "shown to be less than the tolerance of 0.300 below the anchor"


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
