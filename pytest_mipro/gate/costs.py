"""The rule of a verdict on costs: whether an answer takes more than an allowed multiple."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_mipro.errors import DeclarationError
from pytest_mipro.gate.paired import compare_costs
from pytest_mipro.gate.verdict import COSTS_NO_MORE, check_alpha
from pytest_mipro.gate.wording import (
    bounds_text,
    compared_examples,
    confidence_text,
    difference_text,
    more_examples,
    p_text,
    rare_losses,
    sample,
    sample_size,
)
from pytest_mipro.records import Verdict

if TYPE_CHECKING:
    from pytest_mipro.records import ExampleCost, PairedComparison, Scorecard, Unit, VerdictWord

RESCORE = "ask the model again with --mipro-rescore"


@dataclass(frozen=True)
class CostComparator:
    """The program that the compiled program's costs are compared with.

    Attributes:
        name: Its name in sentences.
        scorecard: Its scorecard.
        unknown_advice: What to do where the costs of its answers are unknown.
        failure_advice: What to do where the compiled program's answers cost too much.
        note: Where the scorecard is from, if a reader has to know.
    """

    name: str
    scorecard: Scorecard
    unknown_advice: str
    failure_advice: str
    note: str = ""


class _CostPair(NamedTuple):
    """The costs of one example's answers, and the example's cluster."""

    comparator: ExampleCost
    compiled: ExampleCost
    cluster: str

    @property
    def is_priced(self) -> bool:
        return None not in {self.comparator.usd, self.compiled.usd}


class _PairedCosts(NamedTuple):
    """The paired costs of a comparison in one unit, and why it is not US dollars."""

    comparator: list[float]
    compiled: list[float]
    clusters: list[str]
    unit: Unit
    reason: str = ""


def costs_no_more(  # ruff: ignore[too-many-arguments] - what a verdict depends on
    comparator: CostComparator,
    compiled: Scorecard,
    *,
    ratio: float,
    unit: Unit | None,
    alpha: float,
    unchanged: bool = False,
) -> Verdict:
    """Judge whether answers of the compiled program cost at most ``ratio`` times the comparator's.

    PASS when the one-sided paired test shows at ``alpha`` that they take less
    than ``ratio`` times as much, or when the program is the same, each answer
    takes exactly as much, and ``ratio`` is at least 1. FAIL when the test shows
    that they take more. INCONCLUSIVE otherwise, and where the costs are unknown.

    Args:
        comparator: The program to compare with.
        compiled: The compiled program's scorecard.
        ratio: How many times as much is allowed.
        unit: What is counted; None takes US dollars where all are known, and
            tokens elsewhere.
        alpha: Accepted chance of a wrong PASS, and of a wrong FAIL, below 0.5.
        unchanged: Whether program and model are the comparator's.

    Raises:
        DeclarationError: ``ratio``, ``unit`` or ``alpha`` cannot be used.
    """
    __tracebackhide__ = True
    check_costs_no_more(ratio, unit, alpha)
    costs = _paired_costs(_cost_pairs(comparator.scorecard, compiled), unit)
    if not costs.compiled:
        sentence = _unknown_sentence(comparator, compiled, unit)
        return Verdict(COSTS_NO_MORE.key, "INCONCLUSIVE", sentence, None)
    comparison = compare_costs(
        costs.comparator,
        costs.compiled,
        ratio=ratio,
        unit=costs.unit,
        alpha=alpha,
        clusters=costs.clusters if compiled.clusters else (),
    )
    comparison = replace(comparison, rollouts=compiled.rollouts)
    same = unchanged and costs.comparator == costs.compiled and ratio >= 1
    word = "PASS" if same else _word(comparison, alpha)
    clauses = (
        comparator.note,
        compared_examples(
            comparison.n, len(compiled.examples), "the costs of the others are unknown"
        ),
        _figures(comparison, comparator.name, ratio, word, alpha),
        costs.reason,
        "" if same else _warning(comparison, word),
        _advice(comparison, word, ratio, alpha, comparator),
    )
    return Verdict(COSTS_NO_MORE.key, word, "; ".join(filter(None, clauses)), comparison)


def cost_text(value: float, unit: Unit) -> str:
    """Return the cost of an answer with its unit."""
    return f"${value:.6f}" if unit == "usd" else f"{value:,.0f} tokens"


def check_comparator(than: object) -> None:
    """Raise DeclarationError unless ``than`` names a program to compare costs with."""
    __tracebackhide__ = True
    if than not in {"baseline", "reference"}:
        message = f"than={than!r:.80}: expected 'baseline' or 'reference'"
        raise DeclarationError(message)


def check_costs_no_more(ratio: float, unit: Unit | None, alpha: float) -> None:
    """Raise DeclarationError unless ``costs_no_more`` takes these arguments."""
    __tracebackhide__ = True
    _check_ratio(ratio)
    _check_unit(unit)
    check_alpha(alpha)


def _check_ratio(ratio: float) -> None:
    __tracebackhide__ = True
    is_number = isinstance(ratio, float | int) and not isinstance(ratio, bool)
    if not is_number or not 0 < ratio < math.inf:
        message = f"ratio={ratio!r:.80}: expected how many times as much is allowed, e.g. 1.2"
        raise DeclarationError(message)


def _check_unit(unit: object) -> None:
    __tracebackhide__ = True
    if unit not in {*COSTS_NO_MORE.units, None}:
        message = f"unit={unit!r:.80}: expected 'tokens', 'usd', or None for either"
        raise DeclarationError(message)


def _cost_pairs(comparator: Scorecard, compiled: Scorecard) -> list[_CostPair]:
    """Return the costs of the examples for which both programs' are known."""
    comparator_costs, costs = comparator.known_costs, compiled.known_costs
    clusters = compiled.clusters or ("",) * len(compiled.examples)
    return [
        _CostPair(comparator_costs[example], costs[example], cluster)
        for example, cluster in zip(compiled.examples, clusters, strict=True)
        if example in comparator_costs and example in costs
    ]


def _paired_costs(pairs: list[_CostPair], unit: Unit | None) -> _PairedCosts:
    chosen, reason = (unit, "") if unit is not None else _choose_unit(pairs)
    if chosen == "usd":
        pairs = [pair for pair in pairs if pair.is_priced]
    return _PairedCosts(
        [_amount(pair.comparator, chosen) for pair in pairs],
        [_amount(pair.compiled, chosen) for pair in pairs],
        [pair.cluster for pair in pairs],
        chosen,
        reason,
    )


def _choose_unit(pairs: list[_CostPair]) -> tuple[Unit, str]:
    """Return the unit to compare in, and why it is not US dollars."""
    if not all(pair.is_priced for pair in pairs):
        return "tokens", "in tokens, as not every price is known"
    if not any(pair.comparator.usd for pair in pairs):
        return "tokens", "in tokens, as nothing is charged for them"
    return "usd", ""


def _amount(cost: ExampleCost, unit: Unit) -> float:
    return (cost.usd or 0.0) if unit == "usd" else cost.tokens


def _word(comparison: PairedComparison, alpha: float) -> VerdictWord:
    if comparison.p_opposite < alpha:
        return "PASS"
    return "FAIL" if comparison.p_value < alpha else "INCONCLUSIVE"


def _unknown_sentence(comparator: CostComparator, compiled: Scorecard, unit: Unit | None) -> str:
    """Return the sentence where no example can be compared."""
    if not comparator.scorecard.known_costs:
        return (
            f"the costs of the {comparator.name}'s answers are unknown; {comparator.unknown_advice}"
        )
    if not compiled.known_costs:
        return f"the costs of the compiled program's answers are unknown; {RESCORE}"
    if unit == "usd":
        return (
            "the costs of answers in US dollars are unknown; give prices as mipro_price in the "
            f"ini file and {RESCORE}, or leave unit='usd' out"
        )
    return f"no held-out example has known costs of both programs' answers; {RESCORE}"


def _figures(
    comparison: PairedComparison, name: str, ratio: float, word: VerdictWord, alpha: float
) -> str:
    """Return costs, their ratio, interval, p and n in one clause."""
    unit = comparison.unit
    p_value = comparison.p_value if word == "FAIL" else comparison.p_opposite
    return (
        f"an answer takes {cost_text(comparison.compiled, unit)}, of the {name} "
        f"{cost_text(comparison.comparator, unit)}: {difference_text(comparison)} times "
        f"{bounds_text(comparison)} as much at {confidence_text(comparison)}, where {ratio:.12g} "
        f"times is allowed, p = {p_text(p_value, alpha)} ({comparison.method}), "
        f"{sample_size(comparison)}"
    )


def _advice(
    comparison: PairedComparison,
    word: VerdictWord,
    ratio: float,
    alpha: float,
    comparator: CostComparator,
) -> str:
    detectable = _detectable_clause(comparison, ratio)
    if word == "PASS":
        return f"no more than allowed at alpha = {alpha:g}; {detectable}"
    if word == "FAIL":
        return f"more than allowed at alpha = {alpha:g}; {detectable}; {comparator.failure_advice}"
    return f"the examples do not decide it: {detectable}; {_next_step(comparison, comparator)}"


def _detectable_clause(comparison: PairedComparison, ratio: float) -> str:
    if not math.isfinite(comparison.detectable) or not comparison.comparator:
        return f"no ratio would show at {sample(comparison)}"
    reach = comparison.detectable / comparison.comparator
    return (
        f"up to about {max(ratio - reach, 0):.2f} times would pass and from about "
        f"{ratio + reach:.2f} times on fail at {sample(comparison)}"
    )


def _warning(comparison: PairedComparison, word: VerdictWord) -> str:
    hidden = {"PASS": "a cost twenty times as high", "FAIL": "a cost far below the others"}
    return rare_losses(comparison, hidden[word]) if word in hidden else ""


def _next_step(comparison: PairedComparison, comparator: CostComparator) -> str:
    if math.isfinite(comparison.sufficient):
        return more_examples(comparison, f"a program that takes as much as the {comparator.name}")
    return "add held-out examples"
