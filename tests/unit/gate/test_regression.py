from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import settings

from pytest_mipro.errors import DeclarationError
from pytest_mipro.gate.verdict import AcceptedScores, further_examples, no_reference, no_regression
from pytest_mipro.records import PairedComparison, Scorecard, Usage, Verdict

pytestmark = pytest.mark.uses("numpy")

REPETITIONS = 16 * settings().max_examples
"""How often a chance is tried that is then counted."""
COMMAND = "pytest --mipro --mipro-update test_x.py::test_x"
OLD = tuple([1.0] * 14 + [0.0] * 6)
WORSE = tuple([1.0] * 4 + [0.0] * 16)
UNDECIDED = tuple([1.0] * 13 + [0.0] * 5 + [1.0] * 2)


def card(scores: tuple[float, ...], start: int = 0) -> Scorecard:
    """Return a scorecard with these scores for examples that are numbered from ``start``."""
    names = (f"example {number}" for number in itertools.count(start))
    return Scorecard(tuple(itertools.islice(names, len(scores))), scores, Usage())


def judge(
    before: Scorecard,
    after: Scorecard,
    *,
    tolerance: float = 0.0,
    alpha: float = 0.05,
    tolerated: bool = False,
    note: str = "",
) -> Verdict:
    """Judge with the usual alpha and no tolerance."""
    basis = AcceptedScores(before, COMMAND, note)
    return no_regression(basis, after, tolerance=tolerance, alpha=alpha, tolerated=tolerated)


def compared(verdict: Verdict) -> PairedComparison:
    """Return the verdict's comparison."""
    assert verdict.comparison is not None
    return verdict.comparison


class TestWords:
    @pytest.mark.parametrize("scores", [OLD, (1.0,), (0.0,) * 9, (0.3, 0.7)])
    def test_the_same_scores_pass(self, scores: tuple[float, ...]) -> None:
        """Nothing changed is a PASS, however few examples there are."""
        verdict = judge(card(scores), card(scores))
        assert verdict.word == "PASS"
        assert "nothing changed" in verdict.sentence

    def test_the_same_mean_is_not_the_same_scores(self) -> None:
        """As many examples won as lost decide nothing without a tolerance."""
        verdict = judge(card((1.0, 0.0) * 10), card((0.0, 1.0) * 10))
        assert compared(verdict).difference == 0
        assert verdict.word == "INCONCLUSIVE"

    def test_better_passes(self) -> None:
        """A program that is better beyond doubt is no regression."""
        assert judge(card(WORSE), card(OLD)).word == "PASS"

    def test_worse_fails(self) -> None:
        """A program that is worse beyond doubt is one."""
        verdict = judge(card(OLD), card(WORSE))
        assert verdict.word == "FAIL"
        assert not verdict

    def test_a_tolerated_loss_is_no_regression(self) -> None:
        """A small loss on many examples passes with a tolerance, and not without one."""
        before, after = card((1.0,) * 300 + (0.0,) * 100), card((1.0,) * 298 + (0.0,) * 102)
        assert judge(before, after).word == "INCONCLUSIVE"
        assert judge(before, after, tolerance=0.05).word == "PASS"

    def test_a_loss_beyond_the_tolerance_fails(self) -> None:
        """The tolerance forgives only so much."""
        assert judge(card(OLD), card(WORSE), tolerance=0.05).word == "FAIL"
        assert judge(card(OLD), card(WORSE), tolerance=0.4).word == "INCONCLUSIVE"
        assert judge(card(OLD), card(WORSE), tolerance=0.9).word == "PASS"

    def test_scores_between_0_and_1(self) -> None:
        """Scores that are no yes or no are judged as well."""
        rng = random.Random(0)
        before = tuple(rng.uniform(0.4, 0.6) for _ in range(30))
        worse = card(tuple(score - rng.uniform(0.1, 0.2) for score in before))
        assert judge(card(before), worse).word == "FAIL"
        assert judge(card(before), worse, tolerance=0.3).word == "PASS"
        assert judge(worse, card(before)).word == "PASS"

    def test_undecided_is_falsy_unless_tolerated(self) -> None:
        """Whether an assert holds on INCONCLUSIVE is for the user to say."""
        strict, lenient = (
            judge(card(OLD), card(UNDECIDED), tolerated=tolerated) for tolerated in (False, True)
        )
        assert strict.word == lenient.word == "INCONCLUSIVE"
        assert not strict
        assert lenient
        assert "counts as passed" in lenient.sentence
        assert "counts as passed" not in strict.sentence

    def test_tolerating_saves_no_failure(self) -> None:
        """What is tolerated is doubt, not a regression."""
        assert not judge(card(OLD), card(WORSE), tolerated=True)

    def test_without_a_reference(self) -> None:
        """There is nothing to compare, the verdict is falsy, and the command is there."""
        verdict = no_reference(COMMAND)
        assert verdict.word == "FAIL"
        assert not verdict
        assert verdict.comparison is None
        assert COMMAND in repr(verdict)


class TestPairing:
    def test_examples_are_paired_by_identity(self) -> None:
        """The order of either side does not matter."""
        rng = random.Random(1)
        names = [f"example {number}" for number in range(20)]
        shuffled = rng.sample(list(zip(names, OLD, strict=True)), 20)
        after = Scorecard(
            tuple(name for name, _ in shuffled), tuple(score for _, score in shuffled), Usage()
        )
        assert "nothing changed" in judge(card(OLD), after).sentence

    def test_new_examples_are_left_out_and_said(self) -> None:
        """Only common examples count; the sentence says how many."""
        verdict = judge(card(OLD), card((*OLD[5:], *[0.0] * 5), start=5))
        assert compared(verdict).n == 15
        assert "compared on 15 of 20 held-out examples" in verdict.sentence
        assert "nothing changed" in verdict.sentence

    def test_gone_examples_are_left_out_in_silence(self) -> None:
        """What is no longer held out has nothing to say."""
        verdict = judge(card(OLD), card(OLD[:15]))
        assert compared(verdict).n == 15
        assert " of " not in verdict.sentence.partition(";")[0]

    def test_no_common_example(self) -> None:
        """Nothing can be compared."""
        with pytest.raises(ValueError, match="expected"):
            judge(card(OLD), card(OLD, start=100))


class TestSentences:
    @pytest.mark.parametrize("after", [WORSE, UNDECIDED])
    def test_everything_a_reviewer_needs(self, after: tuple[float, ...]) -> None:
        """The sentence has means, difference, interval, p, n and the detectable effect."""
        verdict = judge(card(OLD), card(after))
        comparison = compared(verdict)
        for shown in (
            f"compiled {comparison.compiled:.3f}",
            f"reference {comparison.baseline:.3f}",
            f"difference {comparison.difference:+.3f}",
            f"[{comparison.low:+.3f}, {comparison.high:+.3f}] at 95%",
            f"p = {comparison.p_value:.2g} (exact McNemar test)",
            "n = 20",
            f"{comparison.detectable:.3f}",
        ):
            assert shown in verdict.sentence

    def test_the_tolerance_is_shown(self) -> None:
        """It is named where there is one."""
        assert "tolerance of 0.050" in judge(card(OLD), card(WORSE), tolerance=0.05).sentence
        assert "tolerance" not in judge(card(OLD), card(WORSE)).sentence

    def test_what_would_show_counts_from_the_tolerance(self) -> None:
        """A loss shows once it is above the tolerance by what is detectable."""
        verdict = judge(card(OLD), card(UNDECIDED), tolerance=0.1)
        least = compared(verdict).detectable + 0.1
        assert f"differences from about {least:.3f} would show" in verdict.sentence

    def test_too_few_to_show_anything(self) -> None:
        """Three examples show nothing, and the sentence says so instead of a number."""
        sentence = judge(card((1.0, 1.0, 0.0)), card((0.0, 1.0, 1.0))).sentence
        assert "no difference would show at this n" in sentence
        assert "inf" not in sentence

    def test_a_failure_names_the_way_to_accept(self) -> None:
        """Whoever wanted the change finds the command."""
        assert COMMAND in judge(card(OLD), card(WORSE)).sentence

    def test_the_note_comes_first(self) -> None:
        """Where the reference's scores are from is said before they are."""
        assert judge(card(OLD), card(WORSE), note="accepted now").sentence.startswith(
            "accepted now"
        )

    def test_an_equal_split_asks_for_a_tolerance(self) -> None:
        """Where the loss is exactly the tolerance, examples do not help."""
        sentence = judge(card((1.0, 0.0) * 10), card((0.0, 1.0) * 10)).sentence
        assert "allow more, e.g. tolerance=" in sentence

    def test_one_line(self) -> None:
        """A report can show a sentence in a line."""
        for after in (OLD, WORSE, UNDECIDED):
            assert "\n" not in judge(card(OLD), card(after)).sentence


class TestFurtherExamples:
    def test_that_many_would_decide(self) -> None:
        """Of many sets of that size, drawn from the same population, about 80% decide."""
        rng = random.Random(2)
        lost, gained, n = 0.15, 0.05, 60
        changes = [-1] * round(lost * n) + [1] * round(gained * n)
        before = tuple([0.5 - change / 2 for change in changes] + [1.0] * (n - len(changes)))
        after = tuple([0.5 + change / 2 for change in changes] + [1.0] * (n - len(changes)))
        verdict = judge(card(before), card(after))
        assert verdict.word == "INCONCLUSIVE"
        size = n + round(further_examples(compared(verdict)))
        decided = 0
        for _ in range(200):
            draws = [rng.random() for _ in range(size)]
            old = tuple(0.0 if lost <= draw < lost + gained else 1.0 for draw in draws)
            new = tuple(0.0 if draw < lost else 1.0 for draw in draws)
            decided += judge(card(old), card(new)).word == "FAIL"
        assert 0.65 <= decided / 200 <= 0.92

    def test_at_least_one(self) -> None:
        """Undecided examples are never enough."""
        verdict = judge(card(OLD), card((0.0,) * 4 + OLD[4:]))
        assert verdict.word == "INCONCLUSIVE"
        assert further_examples(compared(verdict)) >= 1

    def test_never(self) -> None:
        """No number of examples shows a difference where there is none."""
        verdict = judge(card((1.0, 0.0) * 10), card((0.0, 1.0) * 10))
        assert further_examples(compared(verdict)) == math.inf


@pytest.mark.parametrize("tolerance", [-0.01, math.nan, math.inf, "0.1"])
def test_a_tolerance_that_is_none(tolerance: float) -> None:
    """A loss below nothing is refused with an example of one that can be."""
    with pytest.raises(DeclarationError, match=r"tolerance=.*0\.02"):
        judge(card(OLD), card(OLD), tolerance=tolerance)


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan, None])
def test_an_alpha_that_is_none(alpha: float) -> None:
    """An alpha that is no probability is refused with an example of one."""
    with pytest.raises(DeclarationError, match=r"alpha=.*0\.05"):
        judge(card(OLD), card(OLD), alpha=alpha)


@pytest.mark.parametrize("n", [20, 100])
def test_equal_programs_seldom_fail_and_seldom_pass(n: int) -> None:
    """Of pairs of equally good programs at most a share of alpha is called worse, or proven."""
    rng = random.Random(n)
    alpha = 0.05
    words = []
    for _ in range(REPETITIONS):
        chance = rng.uniform(0.2, 0.9)
        pair = (card(tuple(float(rng.random() < chance) for _ in range(n))) for _ in range(2))
        words.append(judge(*pair, alpha=alpha).word)
    limit = alpha + 3 * math.sqrt(alpha * (1 - alpha) / REPETITIONS)
    assert words.count("FAIL") / REPETITIONS <= limit
    assert words.count("PASS") / REPETITIONS <= limit


def test_programs_at_the_tolerance_seldom_pass() -> None:
    """A program that lost exactly the tolerance passes with at most a chance of alpha."""
    rng = random.Random(3)
    passed = 0
    for _ in range(REPETITIONS):
        chance = rng.uniform(0.3, 0.8)
        before = card(tuple(float(rng.random() < chance) for _ in range(60)))
        after = card(tuple(float(rng.random() < chance - 0.1) for _ in range(60)))
        passed += judge(before, after, tolerance=0.1).word == "PASS"
    assert passed / REPETITIONS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)
    assert passed > 0
