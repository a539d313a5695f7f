"""The rule that many small losses, each within the tolerance, add up to no large one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_mipro.gate.paired import compare
from pytest_mipro.gate.verdict import AcceptedScores, no_regression
from pytest_mipro.gate.wording import bounds_text, compared_examples, confidence_text

if TYPE_CHECKING:
    from pytest_mipro.records import PairedComparison, Scorecard, Verdict

PROMOTION_ALPHA = 0.01
"""Accepted chance that an accepted program becomes the anchor without being better."""
_TINY = 1e-9


@dataclass(frozen=True)
class AnchorScores:
    """The scores of the program that all later accepted ones are held against.

    Attributes:
        scorecard: Its held-out scores.
        acceptances: How many programs were accepted so far.
        command: The command that accepts the present outcome as the new anchor.
        note: Where the scores are from, if a reader has to know.
    """

    scorecard: Scorecard
    acceptances: int
    command: str
    note: str = ""


@dataclass(frozen=True)
class AnchorJudgement:
    """The comparison of a program with the anchor, and what follows from it.

    Attributes:
        comparison: The paired comparison.
        is_worse: Whether the loss is shown to be larger than the tolerance.
        is_low: Whether the measured loss is larger than the tolerance.
        clauses: The clauses of a verdict's sentence.
    """

    comparison: PairedComparison
    is_worse: bool
    is_low: bool
    clauses: tuple[str, ...]

    def applied_to(self, verdict: Verdict) -> Verdict:
        """Return the verdict against the reference, or a worse one.

        A loss that is shown makes it FAIL. One that is only measured makes a PASS
        INCONCLUSIVE, without being tolerated: such losses are what adds up.
        """
        sentence = "; ".join((verdict.sentence, *self.clauses))
        if self.is_worse and verdict.word != "FAIL":
            return replace(verdict, word="FAIL", sentence=sentence, comparison=self.comparison)
        if self.is_low and verdict.word == "PASS":
            return replace(
                verdict, word="INCONCLUSIVE", sentence=sentence, comparison=self.comparison
            )
        return replace(verdict, sentence=sentence)


def judge_against_anchor(
    anchor: AnchorScores, compiled: Scorecard, *, tolerance: float, alpha: float
) -> AnchorJudgement:
    """Judge whether a program lost more than ``tolerance`` since the anchor.

    Args:
        anchor: The anchor's scores.
        compiled: Held-out scores of the compiled program.
        tolerance: Loss of mean score that is accepted.
        alpha: Accepted chance of a wrong FAIL.

    Raises:
        DeclarationError: ``tolerance`` or ``alpha`` cannot be used.
        ValueError: The two programs have no example in common.
    """
    __tracebackhide__ = True
    accepted = AcceptedScores(anchor.scorecard, anchor.command)
    verdict = no_regression(accepted, compiled, tolerance=tolerance, alpha=alpha)
    comparison = verdict.comparison
    if comparison is None:
        raise AssertionError(verdict)
    is_worse = verdict.word == "FAIL"
    is_low = is_worse or comparison.difference < -tolerance - _TINY
    if is_worse:
        consequence = f"worse than the anchor at alpha = {alpha:g}; {_advice(anchor)}"
    elif is_low:
        consequence = (
            f"measured more than the tolerance of {tolerance:.3f} below the anchor, which counts "
            f"as failed, for small losses add up; {_advice(anchor)}"
        )
    else:
        consequence = "within the tolerance of the anchor"
    clauses = (anchor.note, _figures(comparison, anchor, compiled), consequence)
    return AnchorJudgement(comparison, is_worse, is_low, tuple(filter(None, clauses)))


def is_shown_better(anchor: Scorecard, accepted: Scorecard) -> bool:
    """Whether an accepted program is better than the anchor, by more than chance.

    Args:
        anchor: The scores of the anchor.
        accepted: The scores of the program that is accepted.
    """
    anchor_scores = dict(zip(anchor.examples, anchor.scores, strict=True))
    common = [index for index, example in enumerate(accepted.examples) if example in anchor_scores]
    if not common:
        return False
    comparison = compare(
        [anchor_scores[accepted.examples[index]] for index in common],
        [accepted.scores[index] for index in common],
        alpha=PROMOTION_ALPHA,
        clusters=[accepted.clusters[index] for index in common] if accepted.clusters else [],
    )
    return comparison.p_value < PROMOTION_ALPHA


def _figures(comparison: PairedComparison, anchor: AnchorScores, compiled: Scorecard) -> str:
    """Return the anchor's score and the difference to it in one clause."""
    common = compared_examples(comparison.n, len(compiled.examples), "the anchor lacks the others")
    return (
        f"the anchor of {anchor.acceptances} acceptances has {comparison.baseline:.3f}, difference "
        f"{comparison.difference:+.3f} {bounds_text(comparison)} "
        f"at {confidence_text(comparison)}{f', {common}' if common else ''}"
    )


def _advice(anchor: AnchorScores) -> str:
    return f"undo what changed, or accept it as the new anchor with: {anchor.command}"
