from __future__ import annotations

import math
import random
import re

import pytest
from hypothesis import settings

from pytest_mipro.errors import DeclarationError
from pytest_mipro.gate.verdict import beats_baseline
from pytest_mipro.records import Scorecard, Usage, Verdict

REPETITIONS = 16 * settings().max_examples
"""How often a chance is tried that is then counted."""


def card(*scores: float) -> Scorecard:
    """Return a scorecard with these scores."""
    return Scorecard(tuple(f"example {index}" for index in range(len(scores))), scores, Usage())


def judge(
    baseline: Scorecard,
    compiled: Scorecard,
    *,
    margin: float = 0.0,
    alpha: float = 0.05,
    unchanged: bool = False,
) -> Verdict:
    """Judge with the usual margin and alpha."""
    return beats_baseline(baseline, compiled, margin=margin, alpha=alpha, unchanged=unchanged)


WON = card(*[0.0] * 12, *[1.0] * 8), card(*[1.0] * 18, 0.0, 0.0)
LOST = WON[1], WON[0]
UNDECIDED = card(0.0, 0.0, 1.0, 1.0, 0.0), card(1.0, 0.0, 1.0, 1.0, 0.0)


class TestWords:
    def test_pass_is_truthy(self) -> None:
        """A program that won many examples and lost few passes, and an assert on it holds."""
        verdict = judge(*WON)
        assert verdict.word == "PASS"
        assert verdict
        assert verdict.comparison is not None
        assert verdict.comparison.p_value < 0.05

    def test_fail_is_falsy(self) -> None:
        """A program that is worse beyond doubt fails."""
        verdict = judge(*LOST)
        assert verdict.word == "FAIL"
        assert not verdict

    def test_inconclusive_is_falsy(self) -> None:
        """Too few examples decide nothing, and deciding nothing is no PASS."""
        verdict = judge(*UNDECIDED)
        assert verdict.word == "INCONCLUSIVE"
        assert not verdict

    def test_the_baseline_itself_does_not_beat_itself(self) -> None:
        """Where the search kept the baseline the verdict is FAIL, without statistics."""
        verdict = judge(WON[0], WON[0], unchanged=True)
        assert verdict.word == "FAIL"
        assert "kept it" in verdict.sentence
        assert not verdict

    def test_the_baseline_itself_is_within_a_loss_that_is_allowed(self) -> None:
        """A difference of 0 is above a margin below 0, without statistics."""
        verdict = judge(WON[0], WON[0], margin=-0.01, unchanged=True)
        assert verdict.word == "PASS"
        assert "kept it" in verdict.sentence
        assert "above a margin of -0.010" in verdict.sentence

    @pytest.mark.parametrize("margin", [math.nan, math.inf, -math.inf, "0.1", None])
    def test_a_margin_that_is_none(self, margin: float) -> None:
        """The error names the value, whatever the scores."""
        with pytest.raises(DeclarationError, match=rf"margin={margin!r}: expected a difference"):
            judge(*WON, margin=margin)

    def test_alpha_decides(self) -> None:
        """The same evidence passes at a generous alpha and not at a strict one."""
        four = card(0.0, 0.0, 0.0, 0.0, 1.0), card(1.0, 1.0, 1.0, 1.0, 1.0)
        assert judge(*four, alpha=0.07).word == "PASS"
        assert judge(*four, alpha=0.06).word == "INCONCLUSIVE"
        assert judge(*four).word == "INCONCLUSIVE"

    def test_p_at_alpha_is_no_pass(self) -> None:
        """A p-value that equals alpha is not below it."""
        four = card(0.0, 0.0, 0.0, 0.0), card(1.0, 1.0, 1.0, 1.0)
        assert judge(*four, alpha=1 / 16).word == "INCONCLUSIVE"

    def test_margin_decides(self) -> None:
        """A difference that is there is not enough where a larger one was asked for."""
        assert judge(*WON, margin=0.1).word == "PASS"
        assert judge(*WON, margin=0.4).word == "INCONCLUSIVE"
        assert judge(*WON, margin=0.9).word == "FAIL"

    def test_scores_between_0_and_1(self) -> None:
        """Scores that are no yes or no are judged as well."""
        rng = random.Random(0)
        before = [rng.uniform(0, 0.5) for _ in range(15)]
        better = card(*before), card(*(score + rng.uniform(0.1, 0.4) for score in before))
        assert judge(*better).word == "PASS"
        assert judge(*reversed(better)).word == "FAIL"

    @pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 5.0, math.nan])
    def test_an_alpha_that_is_none(self, alpha: float) -> None:
        """An alpha that is no probability is refused with an example of one."""
        with pytest.raises(ValueError, match=r"alpha=.*0\.05"):
            judge(*WON, alpha=alpha)


class TestSentences:
    @pytest.mark.parametrize("pair", [WON, LOST, UNDECIDED])
    def test_everything_a_reviewer_needs(self, pair: tuple[Scorecard, Scorecard]) -> None:
        """The sentence has means, difference, interval, p, n and the detectable effect."""
        verdict = judge(*pair)
        comparison = verdict.comparison
        assert comparison is not None
        for shown in (
            f"compiled {comparison.compiled:.3f}",
            f"baseline {comparison.baseline:.3f}",
            f"difference {comparison.difference:+.3f}",
            f"[{comparison.low:+.3f}, {comparison.high:+.3f}] at 95%",
            f"n = {comparison.n}",
            f"{comparison.detectable:.3f}",
        ):
            assert shown in verdict.sentence
        assert re.search(r"p = [\d.e-]+ \(exact McNemar test\)", verdict.sentence)

    def test_the_repr_is_the_sentence(self) -> None:
        """What pytest shows of a failing assert is the word and the sentence."""
        verdict = judge(*UNDECIDED)
        assert repr(verdict) == f"INCONCLUSIVE: {verdict.sentence}"

    def test_the_next_step(self) -> None:
        """Each verdict that is no PASS says what to do."""
        assert "add held-out examples" in judge(*UNDECIDED).sentence
        assert "keep the baseline" in judge(*LOST).sentence
        assert "drop this assert" in judge(*WON, unchanged=True).sentence

    def test_the_margin_is_shown(self) -> None:
        """A margin is named where there is one, and only there."""
        assert "margin of +0.100" in judge(*WON, margin=0.1).sentence
        assert "margin" not in judge(*WON).sentence

    def test_one_line(self) -> None:
        """A sentence is one line, so that a report can show it in one."""
        for pair in (WON, LOST, UNDECIDED):
            assert "\n" not in judge(*pair).sentence

    def test_survives_the_round_trip(self) -> None:
        """A verdict is the same after it was plain data."""
        verdict = judge(*WON)
        assert Verdict.from_dict(verdict.to_dict()) == verdict


@pytest.mark.parametrize("n", [20, 50])
@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_equal_programs_seldom_pass(n: int, alpha: float) -> None:
    """Of pairs of equally good programs at most a share of alpha passes, give or take."""
    rng = random.Random(n)
    passed = 0
    for _ in range(REPETITIONS):
        chance = rng.uniform(0.2, 0.9)
        pair = (
            card(*(float(rng.random() < chance) for _ in range(n))),
            card(*(float(rng.random() < chance) for _ in range(n))),
        )
        passed += bool(judge(*pair, alpha=alpha))
    error = math.sqrt(alpha * (1 - alpha) / REPETITIONS)
    assert passed / REPETITIONS <= alpha + 3 * error
    assert passed > 0


@pytest.mark.parametrize("n", [20, 50])
@pytest.mark.parametrize("margin", [0.1, -0.05])
def test_programs_at_the_margin_seldom_pass(n: int, margin: float) -> None:
    """Programs whose true difference is exactly the margin seldom pass, too."""
    rng = random.Random(n)
    passed = 0
    for _ in range(REPETITIONS):
        chance = rng.uniform(0.3, 0.8)
        pair = (
            card(*(float(rng.random() < chance) for _ in range(n))),
            card(*(float(rng.random() < chance + margin) for _ in range(n))),
        )
        passed += bool(judge(*pair, margin=margin))
    error = math.sqrt(0.05 * 0.95 / REPETITIONS)
    assert passed / REPETITIONS <= 0.05 + 3 * error
