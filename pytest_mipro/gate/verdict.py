"""The kinds of verdict, the rules of PASS, FAIL and INCONCLUSIVE, and their sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_mipro.errors import DeclarationError
from pytest_mipro.gate.failure_clause import failed_answers
from pytest_mipro.gate.paired import compare
from pytest_mipro.records import PairedComparison, Scorecard, Verdict

if TYPE_CHECKING:
    from pytest_mipro.records import Unit, VerdictWord


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


def beats_baseline(
    baseline: Scorecard, compiled: Scorecard, *, margin: float, alpha: float, unchanged: bool
) -> Verdict:
    """Judge whether the compiled program is better than the baseline by more than ``margin``.

    PASS when the one-sided paired test is significant at ``alpha``. FAIL when
    the whole interval lies at or below the margin. INCONCLUSIVE otherwise: the
    examples do not decide it. Where the search kept the baseline, the
    difference is 0 without any test.

    Args:
        baseline: Held-out scores of the baseline.
        compiled: Held-out scores of the compiled program, on the same examples.
        margin: Difference of means that has to be exceeded.
        alpha: Accepted chance of a wrong PASS, between 0 and 1.
        unchanged: Whether the compiled program is the baseline itself.

    Raises:
        DeclarationError: ``margin`` or ``alpha`` cannot be used.
    """
    __tracebackhide__ = True
    _check_margin(margin)
    check_alpha(alpha)
    comparison = compare(
        baseline.scores, compiled.scores, margin=margin, alpha=alpha, clusters=compiled.clusters
    )
    comparison = replace(comparison, rollouts=compiled.rollouts)
    if unchanged:
        word: VerdictWord = "PASS" if margin < 0 else "FAIL"
        clauses = [_kept_baseline(comparison, word), failed_answers("compiled", compiled)]
    else:
        word = _improvement_word(comparison, alpha)
        advice = _improvement_advice(comparison, word, alpha)
        clauses = [
            _versus_baseline(comparison),
            failed_answers("compiled", compiled),
            failed_answers("baseline", baseline),
            advice,
        ]
    return Verdict(BEATS_BASELINE.key, word, "; ".join(filter(None, clauses)), comparison)


def no_regression(
    accepted: AcceptedScores,
    compiled: Scorecard,
    *,
    tolerance: float,
    alpha: float,
    tolerated: bool = False,
) -> Verdict:
    """Judge whether the compiled program is as good as the accepted one.

    The examples that both have scores for are compared. PASS when every score
    is the same, or when the one-sided paired test shows at ``alpha`` that the
    loss is smaller than ``tolerance``. FAIL when it shows that the loss is
    larger than ``tolerance``. INCONCLUSIVE otherwise.

    Args:
        accepted: The accepted program's scores.
        compiled: Held-out scores of the compiled program.
        tolerance: Loss of mean score that is accepted.
        alpha: Accepted chance of a wrong PASS, and of a wrong FAIL.
        tolerated: Whether an assert holds on INCONCLUSIVE.

    Raises:
        DeclarationError: ``tolerance`` or ``alpha`` cannot be used.
        ValueError: The two programs have no example in common.
    """
    __tracebackhide__ = True
    check_no_regression(tolerance, alpha)
    accepted_scores, scores, clusters = _common_scores(accepted.scorecard, compiled)
    comparison = compare(accepted_scores, scores, margin=-tolerance, alpha=alpha, clusters=clusters)
    comparison = replace(comparison, rollouts=compiled.rollouts)
    same = accepted_scores == scores
    word = "PASS" if same else _regression_word(comparison, alpha)
    clauses = (
        accepted.note,
        compared_examples(comparison.n, len(compiled.examples), "the others are new"),
        _versus_reference(comparison, same=same),
        failed_answers("compiled", compiled),
        _regression_advice(comparison, word, alpha, accepted.command, same=same),
        "this counts as passed" if word == "INCONCLUSIVE" and tolerated else "",
    )
    sentence = "; ".join(filter(None, clauses))
    return Verdict(NO_REGRESSION.key, word, sentence, comparison, tolerated)


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
    if not isinstance(tolerance, float | int) or not 0 <= tolerance < math.inf:
        message = f"tolerance={tolerance!r}: expected a loss of mean score of 0 or more, e.g. 0.02"
        raise DeclarationError(message)


def check_alpha(alpha: float) -> None:
    """Raise DeclarationError unless ``alpha`` is a probability."""
    __tracebackhide__ = True
    if not isinstance(alpha, float | int) or not 0 < alpha < 1:
        message = f"alpha={alpha!r}: expected a probability between 0 and 1, e.g. 0.05"
        raise DeclarationError(message)


def _check_margin(margin: float) -> None:
    __tracebackhide__ = True
    if not isinstance(margin, float | int) or not math.isfinite(margin):
        message = f"margin={margin!r:.80}: expected a difference of mean scores, e.g. 0.05"
        raise DeclarationError(message)


def further_examples(comparison: PairedComparison) -> float:
    """Estimate how many more examples would decide, if the difference stays the same."""
    gap = abs(comparison.difference - comparison.margin)
    if not gap:
        return math.inf
    # The detectable difference shrinks with the square root of the number of examples.
    needed = comparison.n * (comparison.detectable / gap) ** 2
    return max(needed - comparison.n, 1.0)


def further_examples_clause(count: float) -> str:
    """Return the clause that says how many more examples would decide."""
    return f"about {float(f'{count:.2g}'):,.0f} more held-out examples would decide it"


def sample_size(comparison: PairedComparison) -> str:
    """Return the numbers of examples, rollouts and clusters of a comparison."""
    clusters = f" in {comparison.clusters} clusters" if comparison.clusters else ""
    rollouts = f" x {comparison.rollouts} rollouts" if comparison.rollouts > 1 else ""
    return f"n = {comparison.n}{rollouts}{clusters}"


def compared_examples(compared: int, total: int, reason: str) -> str:
    """Return the clause that says why examples were left out; empty if none were."""
    if compared == total:
        return ""
    return f"compared on {compared} of {total} held-out examples, {reason}"


def _improvement_word(comparison: PairedComparison, alpha: float) -> VerdictWord:
    if comparison.p_value < alpha:
        return "PASS"
    return "FAIL" if comparison.high <= comparison.margin else "INCONCLUSIVE"


def _regression_word(comparison: PairedComparison, alpha: float) -> VerdictWord:
    if comparison.p_value < alpha:
        return "PASS"
    return "FAIL" if comparison.p_opposite < alpha else "INCONCLUSIVE"


def _common_scores(
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
        f"its difference of 0 is above a margin of {comparison.margin:+.3f}"
        if word == "PASS"
        else "improve the metric, the training examples or the model, or drop this assert"
    )
    return (
        f"the search found nothing better than the baseline and kept it "
        f"(score {comparison.baseline:.3f} on {comparison.n} held-out examples); {advice}"
    )


def _versus_baseline(comparison: PairedComparison) -> str:
    margin = f" against a margin of {comparison.margin:+.3f}" if comparison.margin else ""
    return _figures(comparison, "baseline", margin)


def _versus_reference(comparison: PairedComparison, *, same: bool) -> str:
    if same:
        return (
            f"nothing changed: the score is {comparison.compiled:.3f}, as in the reference, "
            f"and the same on each example, {sample_size(comparison)}"
        )
    tolerance = f" with a tolerance of {-comparison.margin:.3f}" if comparison.margin else ""
    return _figures(comparison, "reference", tolerance)


def _figures(comparison: PairedComparison, reference: str, limit: str) -> str:
    """Return means, difference, interval, p and n in one clause."""
    return (
        f"compiled {comparison.compiled:.3f}, {reference} {comparison.baseline:.3f}, "
        f"difference {comparison.difference:+.3f} "
        f"[{comparison.low:+.3f}, {comparison.high:+.3f}] at {comparison.confidence:.0%}{limit}, "
        f"p = {comparison.p_value:.2g} ({comparison.method}), {sample_size(comparison)}"
    )


def _improvement_advice(comparison: PairedComparison, word: VerdictWord, alpha: float) -> str:
    detectable = _detectable_clause(comparison, comparison.detectable + comparison.margin)
    if word == "PASS":
        return f"better on held-out examples at alpha = {alpha:g}; {detectable}"
    if word == "FAIL":
        return f"not better on held-out examples; {detectable}; keep the baseline"
    clusters = " of other clusters" if comparison.clusters else ""
    return f"the examples do not decide it: {detectable}; add held-out examples{clusters}"


def _regression_advice(
    comparison: PairedComparison, word: VerdictWord, alpha: float, command: str, *, same: bool
) -> str:
    detectable = _detectable_clause(comparison, comparison.detectable - comparison.margin)
    if same:
        return detectable
    if word == "PASS":
        return f"no worse than the reference at alpha = {alpha:g}; {detectable}"
    if word == "FAIL":
        return (
            f"worse than the reference at alpha = {alpha:g}; {detectable}; undo what changed, "
            f"or accept it with: {command}"
        )
    return f"the examples do not decide it: {detectable}; {_next_step(comparison)}"


def _detectable_clause(comparison: PairedComparison, difference: float) -> str:
    sample = "this number of clusters" if comparison.clusters else "this n"
    if math.isfinite(difference):
        return f"differences from about {difference:.3f} would show at {sample}"
    return f"no difference would show at {sample}"


def _next_step(comparison: PairedComparison) -> str:
    count = further_examples(comparison)
    if math.isfinite(count):
        return further_examples_clause(count)
    if math.isfinite(comparison.detectable):
        return (
            "no number of examples decides about a loss of exactly the tolerance, "
            f"so allow more, e.g. tolerance={comparison.detectable - comparison.margin:.2g}"
        )
    return "add held-out examples"
