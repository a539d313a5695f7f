from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.gate.suite import (
    confirmed,
    corrected_by_holm,
    fail_p_value,
    holm,
    is_measured_anew,
    next_streak,
)
from pytest_mipro.records import FailStreak, PairedComparison, Verdict

if TYPE_CHECKING:
    from pytest_mipro.records import VerdictWord

COMPARISON = PairedComparison(
    60,
    0.5,
    0.4,
    -0.1,
    -0.2,
    0.0,
    p_value=0.97,
    detectable=0.1,
    margin=0.0,
    confidence=0.95,
    method="test",
    p_opposite=0.03,
)


def verdict(word: VerdictWord, p_fail: float | None, *, deferred: bool = False) -> Verdict:
    """Return a verdict with the p-value of its FAIL."""
    return Verdict("no_regression", word, "so and so", COMPARISON, p_fail=p_fail, deferred=deferred)


@pytest.mark.parametrize(
    "p_values, corrected",
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.04, 0.01, 0.03, 0.005], [0.06, 0.03, 0.06, 0.02]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.01, 0.01], [0.02, 0.02]),
    ],
)
def test_holm_on_worked_examples(p_values: list[float], corrected: list[float]) -> None:
    """The smallest is multiplied by their number, the next by one less, and none falls below."""
    assert holm(p_values) == pytest.approx(corrected)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_what_its_procedure_rejects(p_values: list[float]) -> None:
    """It goes from the smallest on until one is too large, and keeps all from there."""
    rejected, alpha = set(), 0.05
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if not min(p_values[index] * (len(p_values) - rank), 1) < alpha:
            break
        rejected.add(index)
    assert {index for index, p in enumerate(holm(p_values)) if p < alpha} == rejected


@pytest.mark.parametrize(
    "kind, metrics, p_value",
    [
        ("no_regression", 1, 0.03),
        ("no_regression", 3, 0.09),
        ("costs_no_more", 1, 0.97),
        ("beats_baseline", 40, 1.0),
    ],
)
def test_the_evidence_for_a_fail(kind: str, metrics: int, p_value: float) -> None:
    """It is on the side of a loss, which of costs is the other; of many metrics any may fail."""
    judged = replace(verdict("FAIL", None), kind=kind)
    assert fail_p_value(judged, metrics) == pytest.approx(p_value)
    assert fail_p_value(replace(judged, comparison=None)) is None


def test_a_fail_that_is_one_of_many_does_not_stand() -> None:
    """All tested verdicts count, also those that passed; both p-values are said."""
    family = [
        verdict("FAIL", 0.001, deferred=True),
        verdict("FAIL", 0.03, deferred=True),
        verdict("PASS", 0.9),
        verdict("FAIL", None),
    ]
    clear, weak, passed, certain = corrected_by_holm(family, range(4))
    assert [bool(item) for item in (clear, weak, passed, certain)] == [False, True, True, False]
    assert (clear.p_corrected, weak.p_corrected) == pytest.approx((0.003, 0.06))
    begin = "so and so; by Holm's correction over the 3 questions of this session p = "
    assert clear.sentence == f"{begin}0.001 becomes 0.003, and the FAIL stands"
    assert weak.sentence == (
        f"{begin}0.03 becomes 0.06, so that the FAIL does not stand and does not fail the run"
    )
    assert (passed.sentence, certain) == ("so and so", family[3])


def test_a_fail_is_judged_at_its_own_alpha() -> None:
    """A stricter test stays one."""
    judged = replace(verdict("FAIL", 0.009, deferred=True), alpha=0.01)
    family = [judged, verdict("PASS", 0.5)]
    assert [item.deferred for item in corrected_by_holm(family, range(2))] == [True, False]


def test_a_question_that_is_asked_again_is_no_further_test() -> None:
    """To assert on a FAIL many times does not let it pass."""
    again = [verdict("FAIL", 0.02, deferred=True)] * 20
    corrected = corrected_by_holm([*again, verdict("PASS", 0.9)], [0] * 20 + [1])
    assert {item.p_corrected for item in corrected[:20]} == {0.04}
    assert not any(corrected[:20])
    assert all(corrected_by_holm(again, range(20)))


@pytest.mark.parametrize(
    "earlier_fails, is_fail, is_new, fails",
    [
        (None, True, True, 1),
        (None, False, True, 0),
        (1, True, True, 2),
        (1, True, False, 1),
        (2, True, False, 2),
        (0, True, False, 1),
        (1, False, True, 0),
    ],
)
def test_a_streak_counts_fails_that_were_measured(
    earlier_fails: int | None, is_fail: bool, is_new: bool, fails: int
) -> None:
    """The answers of the run before are no second FAIL."""
    streak = None if earlier_fails is None else FailStreak("key", earlier_fails, answers(3))
    new = next_streak(streak, "key", fails=is_fail, evidence=answers(4), is_new=is_new)
    assert new == FailStreak("key", fails, answers(4))


def answers(count: int, *, changed: int = 0, first: int = 0) -> dict[str, str]:
    """Return the evidence of so many examples, of which the last ones changed their answer."""
    return {
        str(number): "new" if number >= first + count - changed else "old"
        for number in range(first, first + count)
    }


@pytest.mark.parametrize(
    "evidence, is_new",
    [
        (answers(20), False),
        (answers(20, changed=1), False),
        (answers(20, changed=11), True),
        (answers(20, changed=20), True),
        (answers(80), False),
        (answers(80, changed=60), False),
        (answers(80, changed=80), True),
        (answers(10), False),
        (answers(20, first=10), False),
        (answers(20, first=11), True),
    ],
)
def test_a_measurement_has_other_answers(evidence: dict[str, str], is_new: bool) -> None:
    """More rows of a sequential task, a failed answer that now came, a new example are none."""
    assert is_measured_anew(FailStreak("key", 1, answers(20)), evidence) is is_new
    assert is_measured_anew(None, evidence)


@pytest.mark.parametrize("fails, holds", [(1, True), (2, False), (3, False)])
def test_a_fail_needs_confirmation(fails: int, holds: bool) -> None:
    """The sentence says how many there are, and how many are needed."""
    judged = confirmed(verdict("FAIL", 0.001), fails, 2)
    assert bool(judged) is holds
    assert f"FAIL {fails} of 2" in judged.sentence or f"in {fails} runs in a row" in judged.sentence
    again = confirmed(verdict("FAIL", 0.001), fails, 2, is_new=False)
    assert ("ask again with --mipro-rescore" in again.sentence) is holds
