"""The rule that many small losses, each within the tolerance, add up to no large one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_mipro.gate.paired import compare
from pytest_mipro.gate.verdict import AcceptedScores, compared_examples, no_regression

if TYPE_CHECKING:
    from pytest_mipro.records import PairedComparison, Scorecard, Verdict, VerdictWord

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


def hold_against_anchor(
    verdict: Verdict,
    anchor: AnchorScores,
    compiled: Scorecard,
    *,
    tolerance: float,
    alpha: float,
) -> Verdict:
    """Return the verdict against the reference, unless the anchor makes it a worse one.

    FAIL when the paired test shows at ``alpha`` that the loss since the anchor is
    larger than ``tolerance``. Where the measured loss is, without enough examples
    to show it, a verdict that is no FAIL becomes an INCONCLUSIVE for which an
    assert does not hold: such losses are what adds up.

    Args:
        verdict: The verdict against the reference.
        anchor: The anchor's scores.
        compiled: Held-out scores of the compiled program.
        tolerance: Loss of mean score that is accepted.
        alpha: Accepted chance of a wrong FAIL.
    """
    __tracebackhide__ = True
    accepted = AcceptedScores(anchor.scorecard, anchor.command)
    judged = no_regression(accepted, compiled, tolerance=tolerance, alpha=alpha)
    comparison = judged.comparison
    if comparison is None:
        raise AssertionError(judged)
    is_lower = comparison.difference < -tolerance - _TINY
    word = _word(verdict.word, is_worse=judged.word == "FAIL", is_lower=is_lower)
    clauses = (
        verdict.sentence,
        anchor.note,
        _figures(comparison, anchor, compiled),
        _consequence(judged.word == "FAIL", is_lower, tolerance, alpha, anchor.command),
    )
    sentence = "; ".join(filter(None, clauses))
    if word == verdict.word and not is_lower:
        return replace(verdict, sentence=sentence)
    comparison = verdict.comparison if verdict.word == "FAIL" else comparison
    return replace(verdict, word=word, sentence=sentence, comparison=comparison, tolerated=False)


def is_shown_better(anchor: Scorecard, accepted: Scorecard) -> bool:
    """Whether an accepted program is better than the anchor, by more than chance.

    Args:
        anchor: The scores of the anchor.
        accepted: The scores of the program that is accepted.
    """
    anchor_scores = dict(zip(anchor.examples, anchor.scores, strict=True))
    pairs = [
        (anchor_scores[example], score)
        for example, score in zip(accepted.examples, accepted.scores, strict=True)
        if example in anchor_scores
    ]
    if not pairs:
        return False
    comparison = compare(*zip(*pairs, strict=True), alpha=PROMOTION_ALPHA)
    return comparison.p_value < PROMOTION_ALPHA


def _word(word: VerdictWord, *, is_worse: bool, is_lower: bool) -> VerdictWord:
    if is_worse:
        return "FAIL"
    return "INCONCLUSIVE" if is_lower and word == "PASS" else word


def _figures(comparison: PairedComparison, anchor: AnchorScores, compiled: Scorecard) -> str:
    """Return the anchor's score and the difference to it in one clause."""
    common = compared_examples(comparison.n, len(compiled.examples), "the anchor lacks the others")
    return (
        f"the anchor of {anchor.acceptances} acceptances has {comparison.baseline:.3f}, difference "
        f"{comparison.difference:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}] "
        f"at {comparison.confidence:.0%}{f', {common}' if common else ''}"
    )


def _consequence(
    is_worse: bool, is_lower: bool, tolerance: float, alpha: float, command: str
) -> str:
    advice = f"undo what changed, or accept it as the new anchor with: {command}"
    if is_worse:
        return f"worse than the anchor at alpha = {alpha:g}; {advice}"
    if is_lower:
        return (
            f"which is more than the tolerance of {tolerance:.3f} below the anchor; this counts as "
            f"failed, for small losses add up; {advice}"
        )
    return "within the tolerance of the anchor"
