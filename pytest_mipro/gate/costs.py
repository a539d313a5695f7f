"""Whether an answer costs too much, compared with one of another program."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_mipro.errors import DeclarationError
from pytest_mipro.gate.paired import compare_costs
from pytest_mipro.gate.verdict import further_examples, more, number, refuse_alpha
from pytest_mipro.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.records import ExampleCost, PairedComparison, Scorecard, Unit, VerdictKind

COSTS_NO_MORE = "costs no more"
RESCORE = "ask the model again with --mipro-rescore"


@dataclass(frozen=True)
class CostBasis:
    """
    What the compiled program is compared with.

    Attributes:
        name: What it is called.
        card: Its scorecard.
        ask: How to find out what its answers take, where that is not known.
        mend: What to do where the compiled program's take too much.
        note: Where the scorecard is from, if that needs saying.

    """

    name: str
    card: Scorecard
    ask: str
    mend: str
    note: str = ""


class _Pairs(NamedTuple):
    """What answers of two programs take, for the examples for which both are known."""

    before: list[float]
    after: list[float]
    clusters: list[str]
    unit: Unit
    why: str = ""


def costs_no_more(
    other: CostBasis, compiled: Scorecard, *, ratio: float, unit: Unit | None, alpha: float
) -> Verdict:
    """
    Judge whether answers of the compiled program cost at most ``ratio`` times the other's.

    PASS when each takes exactly as much and ``ratio`` is at least 1, or when
    the one-sided paired test says at ``alpha`` that they take less than
    ``ratio`` times as much. FAIL when it says that they take more. INCONCLUSIVE
    otherwise, and where it is not known what they take.

    Args:
        other: What the compiled program is compared with.
        compiled: Its own scorecard.
        ratio: How many times as much is allowed.
        unit: What is counted; None takes US dollars where all are known, and
            tokens where not.
        alpha: Accepted chance of a wrong PASS, and of a wrong FAIL.

    Raises:
        DeclarationError: ``ratio``, ``unit`` or ``alpha`` cannot be used.

    """
    __tracebackhide__ = True
    check_costs_no_more(ratio, unit, alpha)
    pairs = _pairs(other.card, compiled, unit)
    if not pairs.before:
        return Verdict(COSTS_NO_MORE, "INCONCLUSIVE", _unknown(other, compiled, unit), None)
    comparison = compare_costs(
        pairs.before,
        pairs.after,
        ratio=ratio,
        unit=pairs.unit,
        alpha=alpha,
        clusters=pairs.clusters,
    )
    comparison = replace(comparison, rollouts=compiled.rollouts)
    word = _word(comparison, alpha, same=pairs.before == pairs.after and ratio >= 1)
    clauses = (
        other.note,
        _share(comparison.n, len(compiled.examples)),
        _described(comparison, other.name, ratio, word),
        pairs.why,
        _advice(comparison, word, ratio, alpha, other),
    )
    return Verdict(COSTS_NO_MORE, word, "; ".join(filter(None, clauses)), comparison)


def amount(value: float, unit: Unit) -> str:
    """Return what an answer takes, in words."""
    return f"${value:.6f}" if unit == "usd" else f"{value:,.0f} tokens"


def _times(comparison: PairedComparison) -> str:
    """Return how many times as much the compiled program takes, with the interval."""
    low, high = (max(comparison.times(each), 0.0) for each in (comparison.low, comparison.high))
    return f"{comparison.times(comparison.difference):.2f} times [{low:.2f}, {high:.2f}]"


def refuse_other(than: object) -> None:
    """Raise DeclarationError unless ``than`` names what there is to compare with."""
    __tracebackhide__ = True
    if than not in {"baseline", "reference"}:
        message = f"than={than!r:.80}: expected 'baseline' or 'reference'"
        raise DeclarationError(message)


def check_costs_no_more(ratio: float, unit: Unit | None, alpha: float) -> None:
    """Raise DeclarationError unless ``costs_no_more`` can be judged with these."""
    __tracebackhide__ = True
    _refuse_ratio(ratio)
    _refuse_unit(unit)
    refuse_alpha(alpha)


def _refuse_ratio(ratio: float) -> None:
    __tracebackhide__ = True
    is_number = isinstance(ratio, float | int) and not isinstance(ratio, bool)
    if not is_number or not 0 < ratio < math.inf:
        message = f"ratio={ratio!r:.80}: expected how many times as much is allowed, e.g. 1.2"
        raise DeclarationError(message)


def _refuse_unit(unit: object) -> None:
    __tracebackhide__ = True
    if unit not in {"tokens", "usd", None}:
        message = f"unit={unit!r:.80}: expected 'tokens', 'usd', or None for what is known"
        raise DeclarationError(message)


def _pairs(other: Scorecard, compiled: Scorecard, unit: Unit | None) -> _Pairs:
    before, after = other.known_costs, compiled.known_costs
    clusters = compiled.clusters or ("",) * len(compiled.examples)
    known = [
        (before[each], after[each], cluster)
        for each, cluster in zip(compiled.examples, clusters, strict=True)
        if each in before and each in after
    ]
    priced = [each for each in known if None not in {each[0].usd, each[1].usd}]
    chosen, why = (unit, "") if unit is not None else _unit_of(known, priced)
    kept = priced if chosen == "usd" else known
    return _Pairs(
        [_amount(first, chosen) for first, _, _ in kept],
        [_amount(then, chosen) for _, then, _ in kept],
        [cluster for _, _, cluster in kept] if compiled.clusters else [],
        chosen,
        why,
    )


def _unit_of(
    known: Sequence[tuple[ExampleCost, ExampleCost, str]],
    priced: Sequence[tuple[ExampleCost, ExampleCost, str]],
) -> tuple[Unit, str]:
    """Return what to count, and why it is not US dollars."""
    if len(priced) < len(known):
        return "tokens", "in tokens, as not every price is known"
    if not any(first.usd for first, _, _ in priced):
        return "tokens", "in tokens, as nothing is charged for them"
    return "usd", ""


def _amount(bill: ExampleCost, unit: Unit) -> float:
    return (bill.usd or 0.0) if unit == "usd" else bill.tokens


def _unknown(other: CostBasis, compiled: Scorecard, unit: Unit | None) -> str:
    """Return the sentence where there is nothing to compare."""
    if not other.card.known_costs:
        return f"it is not known what answers of the {other.name} take; {other.ask}"
    if not compiled.known_costs:
        return f"it is not known what answers of the compiled program take; {RESCORE}"
    if unit == "usd":
        return (
            "it is not known what answers cost in US dollars; give prices as mipro_price in the "
            f"ini file and {RESCORE}, or leave unit='usd' out"
        )
    return f"there is no held-out example of which it is known what both answers take; {RESCORE}"


def _word(comparison: PairedComparison, alpha: float, *, same: bool) -> VerdictKind:
    if same or comparison.p_opposite < alpha:
        return "PASS"
    return "FAIL" if comparison.p_value < alpha else "INCONCLUSIVE"


def _share(compared: int, present: int) -> str:
    if compared == present:
        return ""
    return (
        f"compared on {compared} of {present} held-out examples, of the others it is not known "
        "what both answers take"
    )


def _described(comparison: PairedComparison, other: str, ratio: float, word: VerdictKind) -> str:
    unit = comparison.unit
    p = comparison.p_value if word == "FAIL" else comparison.p_opposite
    return (
        f"an answer takes {amount(comparison.compiled, unit)}, of the {other} "
        f"{amount(comparison.baseline, unit)}: {_times(comparison)} as much at "
        f"{comparison.confidence:.0%}, where {ratio:g} times is allowed, "
        f"p = {p:.2g} ({comparison.method}), {number(comparison)}"
    )


def _advice(
    comparison: PairedComparison, word: VerdictKind, ratio: float, alpha: float, other: CostBasis
) -> str:
    visible = _visible(comparison, ratio)
    if word == "PASS":
        return f"no more than allowed at alpha = {alpha:g}; {visible}"
    if word == "FAIL":
        return f"more than allowed at alpha = {alpha:g}; {visible}; {other.mend}"
    return f"the examples do not decide it: {visible}; {_what_would_decide(comparison)}"


def _visible(comparison: PairedComparison, ratio: float) -> str:
    many = "this number of clusters" if comparison.clusters else "this n"
    if not math.isfinite(comparison.detectable) or not comparison.baseline:
        return f"no ratio would show at {many}"
    reach = comparison.detectable / comparison.baseline
    return (
        f"up to about {max(ratio - reach, 0):.2f} times would pass and from about "
        f"{ratio + reach:.2f} times on fail at {many}"
    )


def _what_would_decide(comparison: PairedComparison) -> str:
    further = further_examples(comparison)
    if math.isfinite(further):
        return more(further)
    if math.isfinite(comparison.detectable):
        return "no number of examples decides about exactly this ratio, so allow another one"
    return "add held-out examples"
