"""The numbers and clauses of a verdict's sentence.

A rounded number never contradicts the word: it gets as many digits as it takes
to be on the right side of what it is compared with.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mipro.gate.sequential import InterimAnalysis
    from pytest_mipro.records import PairedComparison, VerdictWord

_MOST_DIGITS = 12
_ROUNDING = 1e-12
CERTAINTY = "four times in five"
"""The power that differences and numbers of examples are computed for."""
FEW_CLUSTERS = 12
"""Clusters from which their spread says something about that of all."""


def p_text(p_value: float, alpha: float) -> str:
    """Return a p-value with two digits, or as many as keep it on its side of ``alpha``."""
    return _rounded(p_value, alpha, lambda digits: f"{p_value:.{digits}g}", 2)


def bounds_text(comparison: PairedComparison) -> str:
    """Return the interval of a difference, or of a ratio of costs, on its side of the margin."""
    bounds = (comparison.low, comparison.high)
    if comparison.unit == "score":
        low, high = (_bound_text(bound, comparison.margin, 3, "+") for bound in bounds)
    else:
        ratios = (max(comparison.times(bound), 0.0) for bound in bounds)
        allowed = comparison.times(comparison.margin)
        low, high = (_bound_text(ratio, allowed, 2, "") for ratio in ratios)
    return f"[{low}, {high}]"


def difference_text(comparison: PairedComparison) -> str:
    """Return the difference of scores, or the ratio of costs, on its side of the margin."""
    if comparison.unit == "score":
        return _bound_text(comparison.difference, comparison.margin, 3, "+")
    ratio, allowed = map(comparison.times, (comparison.difference, comparison.margin))
    return _bound_text(ratio, allowed, 2, "")


def limit_text(limit: float, sign: str = "") -> str:
    """Return a margin or a tolerance, with three digits unless it has more."""
    text = f"{limit:{sign}.3f}"
    return text if math.isclose(float(text), limit) else f"{limit:{sign}.{_MOST_DIGITS}g}"


def _bound_text(bound: float, margin: float, digits: int, sign: str) -> str:
    return _rounded(bound, margin, lambda count: f"{bound:{sign}.{count}f}", digits)


def _rounded(value: float, limit: float, render: Callable[[int], str], digits: int) -> str:
    """Return the shortest text, of at least ``digits``, that compares with a limit as the value."""
    for count in range(digits, _MOST_DIGITS):
        shown = float(render(count))
        # A margin that was computed is not quite what a user wrote.
        nearest = limit if abs(shown - limit) > _ROUNDING else shown
        if (shown < nearest, shown > nearest) == (value < limit, value > limit):
            return render(count)
    return render(digits)


def confidence_text(comparison: PairedComparison) -> str:
    """Return the confidence of a comparison's interval in percent."""
    return f"{100 * comparison.confidence:.3g}%"


def sample_size(comparison: PairedComparison) -> str:
    """Return the numbers of examples, rollouts and clusters of a comparison."""
    clusters = f" in {comparison.clusters} clusters" if comparison.clusters else ""
    rollouts = f" x {comparison.rollouts} rollouts" if comparison.rollouts > 1 else ""
    return f"n = {comparison.n}{rollouts}{clusters}"


def analysis_text(analysis: InterimAnalysis | None, word: VerdictWord) -> str:
    """Return the clause that says on how many examples of a sequential design a verdict is."""
    if analysis is None:
        return ""
    sizes, number = analysis.design.sizes, analysis.number
    examples = f"{sizes[number - 1]} of {sizes[-1]} held-out examples"
    text = f"interim analysis {number} of {len(sizes)}, at {examples}"
    is_futile = word == "INCONCLUSIVE" and not analysis.is_last
    return f"{text}, as the others would hardly decide it" if is_futile else text


def compared_examples(compared: int, total: int, reason: str) -> str:
    """Return the clause that says why examples were left out; empty if none were."""
    if compared == total:
        return ""
    return f"compared on {compared} of {total} held-out examples, {reason}"


def removed_examples(
    comparison: PairedComparison, accepted: int, analysis: InterimAnalysis | None
) -> str:
    """Return the clause that says how many accepted examples are held out no more."""
    common = comparison.n if analysis is None else analysis.design.sizes[-1]
    if common == accepted:
        return ""
    return f"{accepted - common} of {accepted} accepted examples are not held out any more"


def sample(comparison: PairedComparison, analysis: InterimAnalysis | None = None) -> str:
    """Return what limits what a comparison shows."""
    if analysis is not None:
        return f"all {analysis.design.sizes[-1]} examples"
    return "this number of clusters" if comparison.clusters else "this n"


def rare_losses(comparison: PairedComparison, hidden: str) -> str:
    """Return the warning that a sample need not contain what would reverse the verdict.

    Args:
        comparison: The comparison that the verdict is from.
        hidden: What the sample need not contain, e.g. "a large loss".
    """
    if not comparison.unseen:
        return ""
    count = f"{comparison.n} examples"
    if comparison.clusters:
        count = f"{comparison.clusters} clusters"
    return (
        f"warning: {count} can miss {hidden} that hits fewer than "
        f"1 in {math.floor(1 / comparison.unseen)}"
    )


def reservation(comparison: PairedComparison, word: VerdictWord) -> str:
    """Return the warning that what is called detectable may not show; empty without a reason.

    A PASS and a FAIL say by ``rare_losses`` what few examples can miss.
    """
    if 0 < comparison.clusters < FEW_CLUSTERS:
        return (
            f"warning: {comparison.clusters} clusters hardly tell how much others vary, so that it "
            "may take a larger one"
        )
    # Two scores can differ by 1 at least.
    if word == "INCONCLUSIVE" and comparison.unseen > comparison.detectable:
        missed = rare_losses(comparison, "a large loss or gain")
        return f"{missed}, and then it takes a larger one"
    return ""


def more_examples(comparison: PairedComparison, equal: str) -> str:
    """Return the clause that says how many examples decide about an equal program.

    Args:
        comparison: A comparison with a margin that an equal program is beyond.
        equal: The program, e.g. "a program as good as the reference".
    """
    count = comparison.sufficient - comparison.n
    if count < 1:
        return f"{equal} passes with this many examples {CERTAINTY}"
    rounded = f"{float(f'{count:.2g}'):,.0f}"
    return f"with about {rounded} more held-out examples {equal} passes {CERTAINTY}"
