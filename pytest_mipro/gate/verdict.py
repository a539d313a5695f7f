"""The kinds of verdict, the rules of PASS, FAIL and INCONCLUSIVE, and their sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_mipro.errors import DeclarationError
from pytest_mipro.gate.failure_clause import failed_answers
from pytest_mipro.gate.paired import compare, score_range
from pytest_mipro.gate.wording import (
    analysis_text,
    bounds_text,
    compared_examples,
    confidence_text,
    difference_text,
    limit_text,
    more_examples,
    p_text,
    rare_losses,
    removed_examples,
    reservation,
    sample,
    sample_size,
)
from pytest_mipro.records import PairedComparison, Scorecard, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_mipro.gate.sequential import InterimAnalysis
    from pytest_mipro.records import Unit, VerdictWord

_MOST_ALPHA = 0.5
"""A test that is wrong as often as not says nothing."""


@dataclass(frozen=True)
class VerdictKind:
    """A question that a verdict answers.

    Attributes:
        key: Its name in records, in reports for programs, and in JUnit's XML.
        label: Its name in reports for people.
        units: The units that its comparison may be in.
    """

    key: str
    label: str
    units: tuple[Unit, ...] = ("score",)


BEATS_BASELINE = VerdictKind("beats_baseline", "beats baseline")
NO_REGRESSION = VerdictKind("no_regression", "no regression")
COSTS_NO_MORE = VerdictKind("costs_no_more", "costs no more", ("tokens", "usd"))
VERDICT_KINDS = {kind.key: kind for kind in (BEATS_BASELINE, NO_REGRESSION, COSTS_NO_MORE)}


@dataclass(frozen=True)
class AcceptedScores:
    """The scores that a regression is judged against.

    Attributes:
        scorecard: Held-out scores of the accepted program.
        command: The command that accepts the present outcome instead.
        note: Where the scores are from, if a reader has to know.
    """

    scorecard: Scorecard
    command: str
    note: str = ""


def beats_baseline(  # ruff: ignore[too-many-arguments] - what a verdict depends on
    baseline: Scorecard,
    compiled: Scorecard,
    *,
    margin: float,
    alpha: float,
    unchanged: bool,
    analysis: InterimAnalysis | None = None,
) -> Verdict:
    """Judge whether the compiled program is better than the baseline by more than ``margin``.

    PASS when the one-sided paired test shows at ``alpha`` that it is. FAIL when
    the opposite test shows at ``alpha`` that it is not. INCONCLUSIVE otherwise:
    the examples do not decide it. Where the search kept the baseline, the
    difference is 0 without any test.

    Args:
        baseline: Held-out scores of the baseline.
        compiled: Held-out scores of the compiled program, on the same examples.
        margin: Difference of means that has to be exceeded.
        alpha: Accepted chance of a wrong PASS, and of a wrong FAIL, below 0.5.
        unchanged: Whether the compiled program is the baseline itself.
        analysis: That of a sequential design of the same alpha, if not all examples are asked
            at once.

    Raises:
        DeclarationError: ``margin`` or ``alpha`` cannot be used.
    """
    __tracebackhide__ = True
    _check_margin(margin, baseline.scores, compiled.scores)
    check_alpha(alpha)
    comparison = _comparer(alpha, analysis)(
        baseline.scores, compiled.scores, margin=margin, clusters=compiled.clusters
    )
    comparison = replace(comparison, rollouts=compiled.rollouts)
    if unchanged:
        word: VerdictWord = "PASS" if margin < 0 else "FAIL"
        clauses = [_kept_baseline(comparison, word), failed_answers("compiled", compiled)]
    else:
        word = _word(comparison, alpha)
        clauses = [
            analysis_text(analysis, word),
            _versus_baseline(comparison, word, alpha),
            failed_answers("compiled", compiled),
            failed_answers("baseline", baseline),
            _warning(comparison, word),
            _improvement_advice(comparison, word, alpha, analysis),
        ]
    return Verdict(BEATS_BASELINE.key, word, "; ".join(filter(None, clauses)), comparison)


def no_regression(  # ruff: ignore[too-many-arguments] - what a verdict depends on
    accepted: AcceptedScores,
    compiled: Scorecard,
    *,
    tolerance: float,
    alpha: float,
    tolerated: bool = False,
    unchanged: bool = False,
    analysis: InterimAnalysis | None = None,
) -> Verdict:
    """Judge whether the compiled program is as good as the accepted one.

    The examples that both have scores for are compared. PASS when the one-sided
    paired test shows at ``alpha`` that the loss is smaller than ``tolerance``,
    or when nothing changed, neither the program and its model nor any score.
    FAIL when it shows that the loss is larger than ``tolerance``. INCONCLUSIVE
    otherwise.

    Args:
        accepted: The accepted program's scores.
        compiled: Held-out scores of the compiled program.
        tolerance: Loss of mean score that is accepted.
        alpha: Accepted chance of a wrong PASS, and of a wrong FAIL, below 0.5.
        tolerated: Whether an assert holds on INCONCLUSIVE.
        unchanged: Whether program and model are the accepted ones.
        analysis: That of a sequential design of the same alpha, if not all examples are asked
            at once.

    Raises:
        DeclarationError: ``tolerance`` or ``alpha`` cannot be used.
        ValueError: The two programs have no example in common.
    """
    __tracebackhide__ = True
    check_no_regression(tolerance, alpha)
    accepted_scores, scores, clusters = common_scores(accepted.scorecard, compiled)
    _check_range("tolerance", tolerance, accepted_scores, scores)
    comparison = _comparer(alpha, analysis)(
        accepted_scores, scores, margin=-tolerance, clusters=clusters, worse=True
    )
    comparison = replace(comparison, rollouts=compiled.rollouts)
    if unchanged and accepted_scores == scores:
        word: VerdictWord = "PASS"
        clauses = [_nothing_changed(comparison), failed_answers("compiled", compiled)]
    else:
        word = _word(comparison, alpha)
        clauses = [
            analysis_text(analysis, word),
            _versus_reference(comparison, word, alpha),
            failed_answers("compiled", compiled),
            _warning(comparison, word),
            _regression_advice(comparison, word, alpha, accepted.command, analysis),
        ]
    left_out = compared_examples(comparison.n, len(compiled.examples), "the others are new")
    removed = removed_examples(comparison, len(accepted.scorecard.examples), analysis)
    counts_as_passed = word == "INCONCLUSIVE" and tolerated
    clauses = [accepted.note, left_out, removed, *clauses]
    if counts_as_passed:
        clauses.append("this counts as passed")
    return Verdict(NO_REGRESSION.key, word, "; ".join(filter(None, clauses)), comparison, tolerated)


def _comparer(alpha: float, analysis: InterimAnalysis | None) -> Callable[..., PairedComparison]:
    """Return the function that compares scores: those of all examples, or those of an analysis."""
    if analysis is None:
        return partial(compare, alpha=alpha)
    from pytest_mipro.gate.sequential import compare_at

    return partial(compare_at, analysis)


def no_reference(command: str, kind: VerdictKind = NO_REGRESSION) -> Verdict:
    """Return the FAIL of a test that has no reference to compare with."""
    sentence = (
        "no reference is accepted yet, so there is nothing to compare with; if the present "
        f"scores are good enough, accept them with: {command}"
    )
    return Verdict(kind.key, "FAIL", sentence, None)


def check_no_regression(tolerance: float, alpha: float) -> None:
    """Raise DeclarationError unless ``no_regression`` takes these arguments."""
    __tracebackhide__ = True
    check_alpha(alpha)
    if not _is_number(tolerance) or not 0 <= tolerance < math.inf:
        message = f"tolerance={tolerance!r}: expected a loss of mean score of 0 or more, e.g. 0.02"
        raise DeclarationError(message)


def check_alpha(alpha: float) -> None:
    """Raise DeclarationError unless ``alpha`` is a chance of an error."""
    __tracebackhide__ = True
    if not _is_number(alpha) or not 0 < alpha < _MOST_ALPHA:
        message = f"alpha={alpha!r}: expected a probability between 0 and 0.5, e.g. 0.05"
        raise DeclarationError(message)


def _check_margin(margin: float, baseline: Sequence[float], compiled: Sequence[float]) -> None:
    __tracebackhide__ = True
    if not _is_number(margin) or not math.isfinite(margin):
        message = f"margin={margin!r:.80}: expected a difference of mean scores, e.g. 0.05"
        raise DeclarationError(message)
    _check_range("margin", margin, baseline, compiled)


def _check_range(
    name: str, value: float, baseline: Sequence[float], compiled: Sequence[float]
) -> None:
    """Raise DeclarationError where no two scores can differ by as much as ``value``."""
    __tracebackhide__ = True
    if abs(value) >= (reach := score_range(baseline, compiled)):
        message = (
            f"{name}={value!r}: no two scores differ by more than {reach:g}, so this decides "
            f"without looking at them; expected a difference of mean scores, e.g. {reach / 50:g}"
        )
        raise DeclarationError(message)


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _word(comparison: PairedComparison, alpha: float) -> VerdictWord:
    if comparison.p_value < alpha:
        return "PASS"
    return "FAIL" if comparison.p_opposite < alpha else "INCONCLUSIVE"


def common_scores(
    accepted: Scorecard, compiled: Scorecard
) -> tuple[list[float], list[float], list[str]]:
    """Return both scores, and the cluster, of each example that both scorecards have."""
    accepted_scores = dict(zip(accepted.examples, accepted.scores, strict=True))
    common = [
        index for index, example in enumerate(compiled.examples) if example in accepted_scores
    ]
    return (
        [accepted_scores[compiled.examples[index]] for index in common],
        [compiled.scores[index] for index in common],
        [compiled.clusters[index] for index in common] if compiled.clusters else [],
    )


def _kept_baseline(comparison: PairedComparison, word: VerdictWord) -> str:
    advice = (
        f"its difference of 0 is above a margin of {limit_text(comparison.margin, '+')}"
        if word == "PASS"
        else "improve the metric, the training examples or the model, or drop this assert"
    )
    return (
        f"the search found nothing better than the baseline and kept it "
        f"(score {comparison.comparator:.3f} on {comparison.n} held-out examples); {advice}"
    )


def _nothing_changed(comparison: PairedComparison) -> str:
    return (
        f"nothing changed: the score is {comparison.compiled:.3f}, as in the reference, "
        f"and the same on each example, by the same program and model, {sample_size(comparison)}"
    )


def _versus_baseline(comparison: PairedComparison, word: VerdictWord, alpha: float) -> str:
    margin = (
        f" against a margin of {limit_text(comparison.margin, '+')}" if comparison.margin else ""
    )
    return _figures(comparison, "baseline", margin, word, alpha)


def _versus_reference(comparison: PairedComparison, word: VerdictWord, alpha: float) -> str:
    tolerance = (
        f" with a tolerance of {limit_text(-comparison.margin)}" if comparison.margin else ""
    )
    return _figures(comparison, "reference", tolerance, word, alpha)


def _figures(
    comparison: PairedComparison, reference: str, limit: str, word: VerdictWord, alpha: float
) -> str:
    """Return means, difference, interval, p and n in one clause."""
    # The p-value is that of the test that the word is from.
    p_value = comparison.p_opposite if word == "FAIL" else comparison.p_value
    return (
        f"compiled {comparison.compiled:.3f}, {reference} {comparison.comparator:.3f}, "
        f"difference {difference_text(comparison)} {bounds_text(comparison)} "
        f"at {confidence_text(comparison)}{limit}, "
        f"p = {p_text(p_value, alpha)} ({comparison.method}), {sample_size(comparison)}"
    )


def _improvement_advice(
    comparison: PairedComparison, word: VerdictWord, alpha: float, analysis: InterimAnalysis | None
) -> str:
    detectable = _detectable_clause(comparison, word, "difference", comparison.margin, analysis)
    if word == "PASS":
        return f"better on held-out examples at alpha = {alpha:g}; {detectable}"
    if word == "FAIL":
        return f"not better at alpha = {alpha:g}; {detectable}; keep the baseline"
    clusters = " of other clusters" if comparison.clusters else ""
    return f"the examples do not decide it: {detectable}; add held-out examples{clusters}"


def _regression_advice(
    comparison: PairedComparison,
    word: VerdictWord,
    alpha: float,
    command: str,
    analysis: InterimAnalysis | None,
) -> str:
    detectable = _detectable_clause(comparison, word, "loss", -comparison.margin, analysis)
    if word == "PASS":
        return f"no worse than the reference at alpha = {alpha:g}; {detectable}"
    if word == "FAIL":
        return (
            f"worse than the reference at alpha = {alpha:g}; {detectable}; undo what changed, "
            f"or accept it with: {command}"
        )
    # Of an analysis that is not the last one, the rest can still be asked.
    next_step = _next_step(comparison) if analysis is None or analysis.is_last else ""
    clauses = (f"the examples do not decide it: {detectable}", next_step)
    return "; ".join(filter(None, clauses))


def _detectable_clause(
    comparison: PairedComparison,
    word: VerdictWord,
    noun: str,
    limit: float,
    analysis: InterimAnalysis | None,
) -> str:
    size = sample(comparison, analysis)
    if not math.isfinite(comparison.detectable):
        return f"no {noun} would show at {size}"
    difference, warning = comparison.detectable + limit, reservation(comparison, word)
    clause = f"a {noun} of about {difference:.3f} would show at {size}"
    return f"{clause} ({warning})" if warning else clause


def _warning(comparison: PairedComparison, word: VerdictWord) -> str:
    hidden = {"PASS": "a large loss", "FAIL": "a large gain"}
    return rare_losses(comparison, hidden[word]) if word in hidden else ""


def _next_step(comparison: PairedComparison) -> str:
    if math.isfinite(comparison.sufficient):
        return more_examples(comparison, "a program as good as the reference")
    if math.isfinite(comparison.detectable):
        return (
            "no number of examples shows that a program is exactly as good, "
            f"so allow a loss, e.g. tolerance={comparison.detectable:.2g}"
        )
    return "add held-out examples"
