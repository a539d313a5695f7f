"""From a comparison to PASS, FAIL or INCONCLUSIVE, and the sentence that says why."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_mipro.errors import DeclarationError
from pytest_mipro.gate.paired import compare
from pytest_mipro.records import PairedComparison, Scorecard, Verdict

if TYPE_CHECKING:
    from pytest_mipro.records import VerdictKind

BEATS_BASELINE = "beats baseline"
NO_REGRESSION = "no regression"


@dataclass(frozen=True)
class Basis:
    """
    What a regression is judged against.

    Attributes:
        card: Held-out scores of the accepted program.
        command: The command that accepts the present outcome instead.
        note: Where the scores are from, if that needs saying.

    """

    card: Scorecard
    command: str
    note: str = ""


def beats_baseline(
    baseline: Scorecard, compiled: Scorecard, *, margin: float, alpha: float, unchanged: bool
) -> Verdict:
    """
    Judge whether the compiled program is better than the baseline by more than ``margin``.

    PASS when the one-sided paired test says so at ``alpha``. FAIL when the
    whole interval lies at or below the margin. INCONCLUSIVE otherwise: the
    examples do not decide it. Where the search kept the baseline, the
    difference is known to be 0.

    Args:
        baseline: Held-out scores before.
        compiled: Held-out scores after, on the same examples.
        margin: Difference of means that has to be exceeded.
        alpha: Accepted chance of a wrong PASS, between 0 and 1.
        unchanged: Whether the compiled program is the baseline itself.

    Raises:
        DeclarationError: ``margin`` or ``alpha`` cannot be used.

    """
    __tracebackhide__ = True
    _refuse_margin(margin)
    refuse_alpha(alpha)
    comparison = compare(
        baseline.scores, compiled.scores, margin=margin, alpha=alpha, clusters=compiled.clusters
    )
    comparison = replace(comparison, rollouts=compiled.rollouts)
    if unchanged:
        word: VerdictKind = "PASS" if margin < 0 else "FAIL"
    elif comparison.p_value < alpha:
        word = "PASS"
    elif comparison.high <= margin:
        word = "FAIL"
    else:
        word = "INCONCLUSIVE"
    sentence = _sentence(comparison, word, alpha, unchanged=unchanged)
    return Verdict(BEATS_BASELINE, word, sentence, comparison)


def no_regression(
    reference: Basis,
    compiled: Scorecard,
    *,
    tolerance: float,
    alpha: float,
    tolerated: bool = False,
) -> Verdict:
    """
    Judge whether the compiled program is as good as the accepted one.

    The examples both have scores for are compared. PASS when every score is
    the same, or when the one-sided paired test says at ``alpha`` that the
    program is not worse by ``tolerance`` or more. FAIL when it says that the
    program is worse by more than ``tolerance``. INCONCLUSIVE otherwise.

    Args:
        reference: The accepted program's scores.
        compiled: Held-out scores now.
        tolerance: Loss of mean score that is accepted.
        alpha: Accepted chance of a wrong PASS, and of a wrong FAIL.
        tolerated: Whether an assert holds on INCONCLUSIVE.

    Raises:
        DeclarationError: ``tolerance`` or ``alpha`` cannot be used.
        ValueError: No example is in both.

    """
    __tracebackhide__ = True
    check_no_regression(tolerance, alpha)
    before, after, clusters = _common(reference.card, compiled)
    comparison = compare(before, after, margin=-tolerance, alpha=alpha, clusters=clusters)
    comparison = replace(comparison, rollouts=compiled.rollouts)
    same = before == after
    word = _regression_word(before, after, comparison, alpha)
    clauses = (
        reference.note,
        _share(comparison.n, len(compiled.examples)),
        _versus_reference(comparison, same=same),
        _regression_advice(comparison, word, alpha, reference.command, same=same),
        "this counts as passed" if word == "INCONCLUSIVE" and tolerated else "",
    )
    return Verdict(NO_REGRESSION, word, "; ".join(filter(None, clauses)), comparison, tolerated)


def no_reference(command: str, question: str = NO_REGRESSION) -> Verdict:
    """Return the verdict where nothing was accepted that could be compared with."""
    sentence = (
        "no reference is accepted yet, so there is nothing to compare with; if the present "
        f"scores are good enough, accept them with: {command}"
    )
    return Verdict(question, "FAIL", sentence, None)


def further_examples(comparison: PairedComparison) -> float:
    """Return about how many more examples would decide, if the difference stays as it is."""
    gap = abs(comparison.difference - comparison.margin)
    if not gap:
        return math.inf
    # The detectable difference shrinks with the square root of the number of examples.
    needed = comparison.n * (comparison.detectable / gap) ** 2
    return max(needed - comparison.n, 1.0)


def more(examples: float) -> str:
    """Return in words that so many more examples would decide."""
    return f"about {float(f'{examples:.2g}'):,.0f} more held-out examples would decide it"


def _refuse_margin(margin: float) -> None:
    __tracebackhide__ = True
    if not isinstance(margin, float | int) or not math.isfinite(margin):
        message = f"margin={margin!r:.80}: expected a difference of mean scores, e.g. 0.05"
        raise DeclarationError(message)


def check_no_regression(tolerance: float, alpha: float) -> None:
    """Raise DeclarationError unless ``no_regression`` can be judged with these."""
    __tracebackhide__ = True
    refuse_alpha(alpha)
    if not isinstance(tolerance, float | int) or not 0 <= tolerance < math.inf:
        message = f"tolerance={tolerance!r}: expected a loss of mean score of 0 or more, e.g. 0.02"
        raise DeclarationError(message)


def refuse_alpha(alpha: float) -> None:
    """Raise DeclarationError unless ``alpha`` is a probability."""
    __tracebackhide__ = True
    if not isinstance(alpha, float | int) or not 0 < alpha < 1:
        message = f"alpha={alpha!r}: expected a probability between 0 and 1, e.g. 0.05"
        raise DeclarationError(message)


def _common(
    reference: Scorecard, compiled: Scorecard
) -> tuple[list[float], list[float], list[str]]:
    """Return both scores, and the cluster, of each example that both cards have."""
    accepted = dict(zip(reference.examples, reference.scores, strict=True))
    common = [index for index, each in enumerate(compiled.examples) if each in accepted]
    return (
        [accepted[compiled.examples[index]] for index in common],
        [compiled.scores[index] for index in common],
        [compiled.clusters[index] for index in common] if compiled.clusters else [],
    )


def _share(compared: int, present: int) -> str:
    if compared == present:
        return ""
    return f"compared on {compared} of {present} held-out examples, the others are new"


def _regression_word(
    before: list[float], after: list[float], comparison: PairedComparison, alpha: float
) -> VerdictKind:
    if before == after or comparison.p_value < alpha:
        return "PASS"
    return "FAIL" if comparison.p_opposite < alpha else "INCONCLUSIVE"


def _versus_reference(comparison: PairedComparison, *, same: bool) -> str:
    if same:
        return (
            f"nothing changed: the score is {comparison.compiled:.3f}, as in the reference, "
            f"and the same on each example, {number(comparison)}"
        )
    tolerance = f" with a tolerance of {-comparison.margin:.3f}" if comparison.margin else ""
    return _describe(comparison, "reference", tolerance)


def _regression_advice(
    comparison: PairedComparison, word: VerdictKind, alpha: float, command: str, *, same: bool
) -> str:
    visible = _visible(comparison, comparison.detectable - comparison.margin)
    if same:
        return visible
    if word == "PASS":
        return f"no worse than the reference at alpha = {alpha:g}; {visible}"
    if word == "FAIL":
        return (
            f"worse than the reference at alpha = {alpha:g}; {visible}; undo what changed, "
            f"or accept it with: {command}"
        )
    return f"the examples do not decide it: {visible}; {_what_would_decide(comparison)}"


def _visible(comparison: PairedComparison, least: float) -> str:
    many = "this number of clusters" if comparison.clusters else "this n"
    if math.isfinite(least):
        return f"differences from about {least:.3f} would show at {many}"
    return f"no difference would show at {many}"


def _what_would_decide(comparison: PairedComparison) -> str:
    further = further_examples(comparison)
    if math.isfinite(further):
        return more(further)
    if math.isfinite(comparison.detectable):
        return (
            "no number of examples decides about a loss of exactly the tolerance, "
            f"so allow more, e.g. tolerance={comparison.detectable - comparison.margin:.2g}"
        )
    return "add held-out examples"


def _sentence(
    comparison: PairedComparison, word: VerdictKind, alpha: float, *, unchanged: bool
) -> str:
    if unchanged:
        advice = (
            f"its difference of 0 is above a margin of {comparison.margin:+.3f}"
            if word == "PASS"
            else "improve the metric, the training examples or the model, or drop this assert"
        )
        return (
            f"the search found nothing better than the baseline and kept it "
            f"(score {comparison.baseline:.3f} on {comparison.n} held-out examples); {advice}"
        )
    return f"{describe(comparison)}; {_advice(comparison, word, alpha)}"


def describe(comparison: PairedComparison) -> str:
    """Return means, difference, interval, p and n in one clause."""
    margin = f" against a margin of {comparison.margin:+.3f}" if comparison.margin else ""
    return _describe(comparison, "baseline", margin)


def _describe(comparison: PairedComparison, other: str, limit: str) -> str:
    return (
        f"compiled {comparison.compiled:.3f}, {other} {comparison.baseline:.3f}, "
        f"difference {comparison.difference:+.3f} "
        f"[{comparison.low:+.3f}, {comparison.high:+.3f}] at {comparison.confidence:.0%}{limit}, "
        f"p = {comparison.p_value:.2g} ({comparison.method}), {number(comparison)}"
    )


def number(comparison: PairedComparison) -> str:
    """Return what was compared, and how often each was answered."""
    clusters = f" in {comparison.clusters} clusters" if comparison.clusters else ""
    rollouts = f" x {comparison.rollouts} rollouts" if comparison.rollouts > 1 else ""
    return f"n = {comparison.n}{rollouts}{clusters}"


def _advice(comparison: PairedComparison, word: VerdictKind, alpha: float) -> str:
    visible = _visible(comparison, comparison.detectable + comparison.margin)
    if word == "PASS":
        return f"better on held-out examples at alpha = {alpha:g}; {visible}"
    if word == "FAIL":
        return f"not better on held-out examples; {visible}; keep the baseline"
    others = " of other clusters" if comparison.clusters else ""
    return f"the examples do not decide it: {visible}; add held-out examples{others}"
