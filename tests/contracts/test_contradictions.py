"""No sentence of a verdict contradicts itself: its word, p-value, interval and figures agree.

``pytest --hypothesis-profile exhaustive`` draws 10,000 cases of each kind.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_mipro import gate
from pytest_mipro.gate import AcceptedScores, AnchorScores, CostComparator
from pytest_mipro.gate.paired import score_range
from pytest_mipro.records import ExampleCost, Scorecard, Usage, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = ("right or wrong", "thirds", "graded", "alike", "one apart")
LIMITS = st.sampled_from([0.0, 0.0, 0.02, 0.1, 0.0125, 0.0004]) | st.floats(0, 0.3)
ALPHAS = st.sampled_from([0.05, 0.05, 0.2, 0.01, 0.025 / 3]) | st.floats(0.001, 0.45)
TINY = 1e-9


@dataclass(frozen=True)
class Case:
    """Two programs' scores on the same examples, a limit and a level.

    Attributes:
        baseline: The scores of the baseline, the reference or the anchor.
        compiled: The scores of the compiled program.
        limit: A margin, or a tolerance.
        alpha: The level of the test.
    """

    baseline: Scorecard
    compiled: Scorecard
    limit: float
    alpha: float


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return random programs, of which either may be better, and all answers may be the same."""
    rng, n = random.Random(draw(st.integers(0, 2**32))), draw(st.integers(1, 40))
    kind, gap = draw(st.sampled_from(KINDS)), draw(st.sampled_from([0.0, 0.1, -0.2, 0.4, -0.4]))
    scale = draw(st.sampled_from([1.0, 1.0, 1.0, 80.0, 0.01]))
    step = {"right or wrong": 1, "thirds": 3, "alike": 2}.get(kind)
    changed = {"alike": 0.05, "one apart": 0.0}.get(kind, 0.8)

    def score(mean: float) -> float:
        level = min(max(rng.gauss(mean, 0.3), 0.0), 1.0)
        return scale * (level if step is None else round(level * step) / step)

    baseline = [score(0.5) for _ in range(n)]
    compiled = [score(0.5 + gap) if rng.random() < changed else old for old in baseline]
    if kind == "one apart":
        compiled = [old + scale * rng.gauss(gap / 10, 0.001) for old in baseline]
        compiled[0] += scale * rng.choice([1, -1])
    clusters = tuple(str(index // 3) for index in range(n)) if draw(st.booleans()) else ()
    names = tuple(map(str, range(n)))
    first, second = (
        Scorecard(names, tuple(scores), Usage(), clusters=clusters)
        for scores in (baseline, compiled)
    )
    limit = scale * draw(LIMITS)
    assume(limit < score_range(baseline, compiled))
    return Case(first, second, limit, draw(ALPHAS))


def assert_agreement(
    word: str, p_value: float, interval: tuple[float, float], measured: float, case: Case
) -> None:
    """Check that a word goes with a p-value, an interval and a difference beyond the limit, 0."""
    low, high = interval
    assert low <= measured <= high
    if word == "INCONCLUSIVE":
        assert p_value >= case.alpha
        assert low <= 0 <= high
    else:
        assert p_value < case.alpha
        assert low > 0 if word == "PASS" else high < 0


def check(verdict: Verdict, case: Case) -> None:
    """Check the figures of a verdict on scores, as they are printed."""
    shown = re.search(
        r"compiled (\S+), \S+ (\S+), difference (\S+) \[(\S+), (\S+)\] at (\S+)%"
        r"(?: with a tolerance of (\S+)| against a margin of (\S+)|), p = (\S+) \(",
        verdict.sentence,
    )
    assert shown is not None, verdict
    compiled, baseline, difference, low, high, confidence = map(float, shown.groups()[:6])
    tolerance, margin, p_value = (float(text or 0) for text in shown.groups()[6:])
    limit = margin - tolerance
    interval = low - limit, high - limit
    assert_agreement(verdict.word, p_value, interval, difference - limit, case)
    assert abs(compiled - baseline - difference) < 0.0016
    assert abs(confidence / 100 - (1 - 2 * case.alpha)) < 0.006


def beats_baseline(case: Case, analysis: gate.InterimAnalysis | None = None) -> None:
    """Judge an improvement."""
    verdict = gate.beats_baseline(
        case.baseline,
        case.compiled,
        margin=case.limit,
        alpha=case.alpha,
        unchanged=False,
        analysis=analysis,
    )
    check(verdict, case)


def at_a_look(case: Case) -> None:
    """Judge it at the first and at the last analysis of a sequential design."""
    n, alpha = len(case.compiled.examples), 0.2 if case.alpha > 0.1 else 0.05
    case = replace(case, alpha=alpha)
    beats_baseline(case, gate.InterimAnalysis(gate.SequentialDesign((n, 2 * n), alpha), 1))
    if n % 2 == 0:
        beats_baseline(case, gate.InterimAnalysis(gate.SequentialDesign((n // 2, n), alpha), 2))


def no_regression(case: Case) -> None:
    """Judge a regression, by one metric and by several."""
    accepted = AcceptedScores(case.baseline, "accept")

    def judge(*, alpha: float) -> Verdict:
        return gate.no_regression(accepted, case.compiled, tolerance=case.limit, alpha=alpha)

    check(judge(alpha=case.alpha), case)
    verdict = gate.by_all_metrics({"a": judge, "b": judge}, case.alpha)
    check(verdict, replace(case, alpha=case.alpha if verdict.word == "PASS" else case.alpha / 2))


def against_anchor(case: Case) -> None:
    """Hold a program against an anchor, whose clause has a word of its own."""
    anchor = AnchorScores(case.baseline, 7, "accept")
    judgement = gate.judge_against_anchor(
        anchor, case.compiled, tolerance=case.limit, alpha=case.alpha
    )
    figures, consequence = judgement.clauses[:2]
    shown = re.search(r"difference (\S+) \[(\S+), (\S+)\] at ", figures)
    assert shown is not None, figures
    difference, low, high = map(float, shown.groups())
    assert low <= difference <= high
    named = re.search(r"tolerances? of (\d\S*) ", consequence)
    tolerance = case.limit if named is None else float(named[1])
    assert judgement.is_worse is (high < -tolerance)
    is_within = difference >= -tolerance - TINY
    assert consequence.startswith("within the tolerance") is is_within
    passed = Verdict("no_regression", "PASS", "as good", None, tolerated=False)
    assert bool(judgement.applied_to(passed)) is not judgement.is_low


def costs_no_more(case: Case) -> None:
    """Judge costs, of which some may be nothing."""
    cards = [
        Scorecard(
            card.examples,
            card.scores,
            Usage(),
            clusters=card.clusters,
            costs=tuple(ExampleCost(abs(score), None) for score in card.scores),
        )
        for card in (case.baseline, case.compiled)
    ]
    ratio = 1 + case.limit
    comparator = CostComparator("baseline", cards[0], "", "")
    verdict = gate.costs_no_more(comparator, cards[1], ratio=ratio, unit=None, alpha=case.alpha)
    shown = re.search(
        r": (\S+) times \[(\S+), (\S+)\] as much at \S+%, where (\S+) times is allowed, "
        r"p = (\S+) \(",
        verdict.sentence,
    )
    assert shown is not None, verdict
    measured, low, high, allowed, p_value = map(float, shown.groups())
    # A program is the better, the less it takes.
    interval = allowed - high, allowed - low
    assert_agreement(verdict.word, p_value, interval, allowed - measured, case)


@pytest.mark.parametrize(
    "judge, share",
    [
        (beats_baseline, 1),
        (at_a_look, 10),
        (no_regression, 1),
        (against_anchor, 1),
        (costs_no_more, 1),
    ],
)
def test_no_sentence_contradicts_itself(judge: Callable[[Case], None], share: int) -> None:
    """Of random programs, limits and levels; analyses take longer, so that fewer are drawn."""

    @settings(max_examples=max(settings().max_examples // share, 5))
    @given(cases())
    def check_cases(case: Case) -> None:
        judge(case)

    check_cases()
