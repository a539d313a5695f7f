"""The rule that many small losses, each within the tolerance, add up to no large one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_mipro.gate.paired import compare, score_range
from pytest_mipro.gate.verdict import AcceptedScores, common_scores, no_regression
from pytest_mipro.gate.wording import (
    bounds_text,
    compared_examples,
    confidence_text,
    difference_text,
    limit_text,
)

if TYPE_CHECKING:
    from pytest_mipro.gate.sequential import InterimAnalysis
    from pytest_mipro.records import PairedComparison, Scorecard, Verdict

PROMOTION_ALPHA = 0.01
"""Accepted chance that an accepted program becomes the anchor without being better."""
MOST_TOLERANCES = 5
"""Tolerances that the losses since the anchor may add up to, however many programs follow."""
_TINY = 1e-9


@dataclass(frozen=True)
class AnchorScores:
    """The scores of the program that all later accepted ones are compared with.

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
        is_low: Whether the measured loss is larger than the tolerance, and not
            shown to be smaller than ``MOST_TOLERANCES`` of them.
        is_kept: Whether the loss is shown to be smaller than the tolerance.
        clauses: The clauses of a verdict's sentence.
    """

    comparison: PairedComparison
    is_worse: bool
    is_low: bool
    is_kept: bool
    clauses: tuple[str, ...]

    def applied_to(self, verdict: Verdict) -> Verdict:
        """Return the verdict against the reference, or a worse one.

        A loss that is shown makes it FAIL. One that is only measured, and that may
        be large, makes a PASS INCONCLUSIVE, without being tolerated: such losses
        are what adds up.
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
    anchor: AnchorScores,
    compiled: Scorecard,
    *,
    tolerance: float,
    alpha: float,
    analysis: InterimAnalysis | None = None,
) -> AnchorJudgement:
    """Judge whether a program lost more than ``tolerance`` since the anchor.

    Args:
        anchor: The anchor's scores.
        compiled: Held-out scores of the compiled program.
        tolerance: Loss of mean score that is accepted.
        alpha: Accepted chance of a wrong FAIL.
        analysis: That of a sequential design of the same alpha, if not all examples are asked
            at once.

    Raises:
        DeclarationError: ``tolerance`` or ``alpha`` cannot be used.
        ValueError: The two programs have no example in common.
    """
    __tracebackhide__ = True
    accepted = AcceptedScores(anchor.scorecard, anchor.command)
    verdict = no_regression(accepted, compiled, tolerance=tolerance, alpha=alpha, analysis=analysis)
    comparison = verdict.comparison
    if comparison is None:
        raise AssertionError(verdict)
    is_worse = verdict.word == "FAIL"
    is_beyond = comparison.difference < -tolerance - _TINY
    is_low = is_worse or (
        is_beyond and not _is_bounded(anchor.scorecard, compiled, tolerance, alpha)
    )
    limit = limit_text(tolerance)
    if is_worse:
        consequence = f"worse than the anchor at alpha = {alpha:g}; {_advice(anchor)}"
    elif is_low:
        consequence = (
            f"measured more than the tolerance of {limit} below the anchor, which counts "
            f"as failed, for small losses add up; {_advice(anchor)}"
        )
    elif is_beyond:
        consequence = (
            f"shown to be less than {MOST_TOLERANCES} tolerances of {limit} below the anchor"
        )
    else:
        consequence = "within the tolerance of the anchor"
    clauses = (anchor.note, _figures(comparison, anchor, compiled), consequence)
    return AnchorJudgement(
        comparison, is_worse, is_low, verdict.word == "PASS", tuple(filter(None, clauses))
    )


def _is_bounded(anchor: Scorecard, compiled: Scorecard, tolerance: float, alpha: float) -> bool:
    """Return whether a loss of ``MOST_TOLERANCES`` is excluded.

    With enough examples, chance alone measures more than the tolerance below an equally good
    anchor, and this lets such a program pass. Only a loss that is possible can be excluded.
    """
    most = MOST_TOLERANCES * tolerance
    anchor_scores, scores, clusters = common_scores(anchor, compiled)
    if not 0 < most < score_range(anchor_scores, scores):
        return False
    comparison = compare(
        anchor_scores, scores, margin=-most, alpha=alpha, clusters=clusters, worse=True
    )
    # Two tests share the chance of a wrong FAIL, and this one alone has that of a wrong PASS.
    return comparison.p_value < 2 * alpha


def is_shown_better(anchor: Scorecard, accepted: Scorecard) -> bool:
    """Whether an accepted program is better than the anchor, by more than chance.

    Args:
        anchor: The scores of the anchor.
        accepted: The scores of the program that is accepted.
    """
    anchor_scores, scores, clusters = common_scores(anchor, accepted)
    if not scores:
        return False
    comparison = compare(anchor_scores, scores, alpha=PROMOTION_ALPHA, clusters=clusters)
    return comparison.p_value < PROMOTION_ALPHA


def _figures(comparison: PairedComparison, anchor: AnchorScores, compiled: Scorecard) -> str:
    """Return the anchor's score and the difference to it in one clause."""
    common = compared_examples(comparison.n, len(compiled.examples), "the anchor lacks the others")
    return (
        f"the anchor of {anchor.acceptances} acceptances has {comparison.comparator:.3f}, "
        f"difference {difference_text(comparison)} {bounds_text(comparison)} "
        f"at {confidence_text(comparison)}{f', {common}' if common else ''}"
    )


def _advice(anchor: AnchorScores) -> str:
    return f"undo what changed, or accept it as the new anchor with: {anchor.command}"
