"""Decide about the FAILs of all verdicts of a session together.

With many tasks, some FAIL is an accident in most runs. Holm's correction keeps the chance of any
such FAIL at ``alpha``; that a FAIL has to come twice in a row keeps it small over many runs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_mipro.gate.verdict import COSTS_NO_MORE
from pytest_mipro.gate.wording import p_text
from pytest_mipro.records import FailStreak, Verdict

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence


def fail_p_value(verdict: Verdict, metrics: int = 1) -> float | None:
    """Return the p-value of the evidence for FAIL; None if nothing was compared.

    Args:
        verdict: Any verdict.
        metrics: The number of metrics that it judges; any of them can make it a FAIL.
    """
    comparison = verdict.comparison
    if comparison is None:
        return None
    is_cost = verdict.kind == COSTS_NO_MORE.key
    p_value = comparison.p_value if is_cost else comparison.p_opposite
    return min(p_value * metrics, 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of a family of tests after Holm's correction, in their order.

    The tests whose corrected p-value is below ``alpha`` are those that Holm's procedure rejects
    at ``alpha``, whatever depends on what.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(p_values[index] * (len(p_values) - rank), 1.0))
        corrected[index] = highest
    return corrected


def corrected_by_holm(verdicts: Sequence[Verdict], questions: Sequence[Hashable]) -> list[Verdict]:
    """Return the verdicts of a session with their corrected p-values, in their order.

    A FAIL that stands is no longer deferred: then its assert does not hold.

    Args:
        verdicts: The verdicts.
        questions: What each of them is about. A question that is asked again is no further test,
            so that no FAIL gets lost among answers that are all the same.
    """
    p_values: dict[Hashable, float] = {}
    for verdict, asked_about in zip(verdicts, questions, strict=True):
        if verdict.p_fail is not None:
            p_values[asked_about] = min(verdict.p_fail, p_values.get(asked_about, 1.0))
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [
        verdict
        if verdict.p_fail is None
        else _with_corrected_p(verdict, corrected[asked_about], len(p_values))
        for verdict, asked_about in zip(verdicts, questions, strict=True)
    ]


def _with_corrected_p(verdict: Verdict, p_value: float, count: int) -> Verdict:
    verdict = replace(verdict, p_corrected=p_value)
    if verdict.word != "FAIL" or verdict.p_fail is None:
        return verdict
    raw, corrected = (p_text(p, verdict.alpha) for p in (verdict.p_fail, p_value))
    by_holm = (
        f"by Holm's correction over the {count} questions of this session p = {raw} "
        f"becomes {corrected}"
    )
    if p_value < verdict.alpha:
        return _with_clause(replace(verdict, deferred=False), f"{by_holm}, and the FAIL stands")
    clause = f"{by_holm}, so that the FAIL does not stand and does not fail the run"
    return _with_clause(verdict, clause)


def is_measured_anew(streak: FailStreak | None, evidence: Mapping[str, str]) -> bool:
    """Return whether the answers of a run are others than those of the run before.

    They are the same measurement while at least half of the examples of the smaller run have
    the same answers: a sequential task may have asked for more of them, and an example may be new.

    Args:
        streak: The streak before this run; None without one.
        evidence: The digest of the answers to each example.
    """
    if streak is None:
        return True
    same = sum(streak.evidence.get(example) == answers for example, answers in evidence.items())
    return 2 * same < min(len(streak.evidence), len(evidence))


def next_streak(
    streak: FailStreak | None,
    key: str,
    *,
    fails: bool,
    evidence: Mapping[str, str],
    is_new: bool,
) -> FailStreak:
    """Return how many runs in a row, up to this one, a verdict is a FAIL.

    Args:
        streak: The streak before this run; None without one.
        key: The key of the verdict.
        fails: Whether it is a FAIL in this run.
        evidence: The digest of the answers to each example.
        is_new: Whether they are a measurement of this run. Others are no second FAIL.
    """
    earlier_fails = 0 if streak is None else streak.fails
    fails_now = earlier_fails + 1 if is_new or not earlier_fails else earlier_fails
    return FailStreak(key, fails_now if fails else 0, dict(evidence))


def confirmed(verdict: Verdict, fails: int, needed: int, *, is_new: bool = True) -> Verdict:
    """Return a FAIL, which stands if it is the last of ``needed`` in a row.

    Args:
        verdict: The FAIL.
        fails: How many runs in a row it is one.
        needed: How many there have to be.
        is_new: Whether this run measured it.
    """
    if fails >= needed:
        clause = f"this is a FAIL in {fails} runs in a row, {needed} are needed"
        return _with_clause(replace(verdict, deferred=False), clause)
    clause = f"this is FAIL {fails} of {needed} in a row that are needed to fail a run"
    if not is_new:
        clause += (
            "; the answers are those of the run before, which confirm nothing, so ask again with "
            "--mipro-rescore"
        )
    return _with_clause(replace(verdict, deferred=True), clause)


def _with_clause(verdict: Verdict, clause: str) -> Verdict:
    return replace(verdict, sentence=f"{verdict.sentence}; {clause}")
