from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from pytest_mipro.gate.failure_clause import failed_answers
from pytest_mipro.gate.verdict import AcceptedScores, beats_baseline, no_regression
from pytest_mipro.records import Failure, FailureReason, Scorecard, Usage, Verdict


def scorecard(*scores: float, reasons: tuple[FailureReason, ...] = ()) -> Scorecard:
    """Return a scorecard with a failure for each reason."""
    failures = tuple(Failure("KeyError", "a message", "a trace", reason) for reason in reasons)
    names = tuple(f"example {number}" for number in range(len(scores)))
    return Scorecard(names, scores, Usage(), failures)


def test_answers_that_did_not_fail_have_no_clause() -> None:
    """It is empty, so that no sentence has it."""
    assert not failed_answers("compiled", scorecard(1.0, 0.0))


def test_failures_are_counted_by_kind() -> None:
    """The most frequent kind comes first; what is no fault of a reply has the exception's name."""
    card = scorecard(*[0.0] * 5, reasons=("filter", "token limit", "token limit", ""))
    assert failed_answers("compiled", replace(card, rollouts=2)) == (
        "4 of 10 compiled answers failed and score 0: 2 cut at the token limit (raise "
        "max_tokens), 1 withheld by a content filter, 1 KeyError"
    )


@pytest.mark.parametrize("reason", get_args(FailureReason))
def test_every_reason_has_words(reason: FailureReason) -> None:
    """No reason leaves a clause without its kind."""
    clause = failed_answers("baseline", scorecard(0.0, reasons=(reason,)))
    assert clause.startswith("1 of 1 baseline answers failed and score 0: 1 ")
    assert len(clause) > len("1 of 1 baseline answers failed and score 0: 1 ")


FAILED = scorecard(*[0.0] * 6, *[1.0] * 14, reasons=("token limit",) * 3)
SOUND = scorecard(*[0.0] * 12, *[1.0] * 8)


@pytest.mark.parametrize(
    "verdict, programs",
    [
        (beats_baseline(SOUND, FAILED, margin=0, alpha=0.05, unchanged=False), ["compiled"]),
        (beats_baseline(FAILED, SOUND, margin=0, alpha=0.05, unchanged=False), ["baseline"]),
        (beats_baseline(FAILED, FAILED, margin=0, alpha=0.05, unchanged=True), ["compiled"]),
        (
            no_regression(
                AcceptedScores(SOUND, "a command"), FAILED, tolerance=0, alpha=0.05, unchanged=False
            ),
            ["compiled"],
        ),
        (
            no_regression(
                AcceptedScores(FAILED, "a command"), SOUND, tolerance=0, alpha=0.05, unchanged=False
            ),
            [],
        ),
    ],
)
def test_a_verdict_counts_failed_answers(verdict: Verdict, programs: list[str]) -> None:
    """The clause is in the sentence of each program that the verdict compares now."""
    for program in programs:
        assert f"; 3 of 20 {program} answers failed and score 0: 3 cut" in verdict.sentence
    assert ("answers failed" in verdict.sentence) == bool(programs)
