"""From a comparison to PASS, FAIL or INCONCLUSIVE, and the sentence that says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.gate.paired import compare
from pytest_mipro.records import PairedComparison, Scorecard, Verdict

if TYPE_CHECKING:
    from pytest_mipro.records import Word


def beats_baseline(
    baseline: Scorecard, compiled: Scorecard, *, margin: float, alpha: float, unchanged: bool
) -> Verdict:
    """
    Judge whether the compiled program is better than the baseline by more than ``margin``.

    PASS when the one-sided paired test says so at ``alpha``. FAIL when the
    search kept the baseline, or when the whole interval lies at or below the
    margin. INCONCLUSIVE otherwise: the examples do not decide it.

    Args:
        baseline: Held-out scores before.
        compiled: Held-out scores after, on the same examples.
        margin: Difference of means that has to be exceeded.
        alpha: Accepted chance of a wrong PASS, between 0 and 1.
        unchanged: Whether the compiled program is the baseline itself.

    """
    if not 0 < alpha < 1:
        message = f"alpha={alpha!r}: expected a probability between 0 and 1, e.g. 0.05"
        raise ValueError(message)
    comparison = compare(baseline.scores, compiled.scores, margin=margin, alpha=alpha)
    if unchanged:
        word: Word = "FAIL"
    elif comparison.p_value < alpha:
        word = "PASS"
    elif comparison.high <= margin:
        word = "FAIL"
    else:
        word = "INCONCLUSIVE"
    sentence = _sentence(comparison, word, alpha, unchanged=unchanged)
    return Verdict("beats baseline", word, sentence, comparison)


def _sentence(comparison: PairedComparison, word: Word, alpha: float, *, unchanged: bool) -> str:
    if unchanged:
        return (
            f"the search found nothing better than the baseline and kept it "
            f"(score {comparison.baseline:.3f} on {comparison.n} held-out examples); "
            "improve the metric, the training examples or the model, or drop this assert"
        )
    return f"{describe(comparison)}; {_advice(comparison, word, alpha)}"


def describe(comparison: PairedComparison) -> str:
    """Return means, difference, interval, p and n in one clause."""
    margin = f" against a margin of {comparison.margin:+.3f}" if comparison.margin else ""
    return (
        f"compiled {comparison.compiled:.3f}, baseline {comparison.baseline:.3f}, "
        f"difference {comparison.difference:+.3f} "
        f"[{comparison.low:+.3f}, {comparison.high:+.3f}] at {comparison.confidence:.0%}{margin}, "
        f"p = {comparison.p_value:.2g} ({comparison.method}), n = {comparison.n}"
    )


def _advice(comparison: PairedComparison, word: Word, alpha: float) -> str:
    visible = f"differences from about {comparison.detectable:.3f} would show at this n"
    if word == "PASS":
        return f"better on held-out examples at alpha = {alpha:g}; {visible}"
    if word == "FAIL":
        return f"not better on held-out examples; {visible}; keep the baseline"
    return f"the examples do not decide it: {visible}; add held-out examples"
