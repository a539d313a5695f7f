from __future__ import annotations

import itertools
import math
import random
import re
from dataclasses import replace

import pytest
from hypothesis import settings

from pytest_mipro.errors import DeclarationError
from pytest_mipro.gate.verdict import (
    VERDICT_KINDS,
    AcceptedScores,
    beats_baseline,
    no_reference,
    no_regression,
)
from pytest_mipro.gate.wording import p_text
from pytest_mipro.records import PairedComparison, Scorecard, Usage, Verdict

REPETITIONS = 4 * settings().max_examples
"""Samples from which an error rate is estimated."""
COMMAND = "pytest --mipro --mipro-update test_x.py::test_x"


def scorecard(*scores: float, start: int = 0) -> Scorecard:
    """Return a scorecard with these scores for examples that are numbered from ``start``."""
    names = (f"example {number}" for number in itertools.count(start))
    return Scorecard(tuple(itertools.islice(names, len(scores))), scores, Usage())


def improvement(
    baseline: Scorecard,
    compiled: Scorecard,
    *,
    margin: float = 0.0,
    alpha: float = 0.05,
    unchanged: bool = False,
) -> Verdict:
    """Judge whether a program beats its baseline, with the usual alpha and no margin."""
    return beats_baseline(baseline, compiled, margin=margin, alpha=alpha, unchanged=unchanged)


def regression(
    accepted: Scorecard,
    compiled: Scorecard,
    *,
    tolerance: float = 0.0,
    alpha: float = 0.05,
    tolerated: bool = False,
    note: str = "",
    unchanged: bool = False,
) -> Verdict:
    """Judge whether a program is a regression, with the usual alpha and no tolerance."""
    scores = AcceptedScores(accepted, COMMAND, note)
    return no_regression(
        scores,
        compiled,
        tolerance=tolerance,
        alpha=alpha,
        tolerated=tolerated,
        unchanged=unchanged,
    )


def comparison_of(verdict: Verdict) -> PairedComparison:
    """Return the verdict's comparison, which has to exist."""
    assert verdict.comparison is not None
    return verdict.comparison


WON = scorecard(*[0.0] * 12, *[1.0] * 8), scorecard(*[1.0] * 18, 0.0, 0.0)
LOST = WON[1], WON[0]
UNDECIDED = scorecard(0.0, 0.0, 1.0, 1.0, 0.0), scorecard(1.0, 0.0, 1.0, 1.0, 0.0)
ACCEPTED = (*[1.0] * 14, *[0.0] * 6)
WORSE = (*[1.0] * 4, *[0.0] * 16)
UNCLEAR = (*[1.0] * 13, *[0.0] * 5, *[1.0] * 2)


def test_kinds_have_keys_and_labels_of_their_own() -> None:
    """The table finds a kind by its key, and no two kinds have the same label."""
    assert [kind.key for kind in VERDICT_KINDS.values()] == list(VERDICT_KINDS)
    assert all(key.isidentifier() for key in VERDICT_KINDS)
    assert len({kind.label for kind in VERDICT_KINDS.values()}) == len(VERDICT_KINDS)
    assert all(kind.units for kind in VERDICT_KINDS.values())


class TestImprovement:
    def test_pass_is_truthy(self) -> None:
        """A program that gains many examples and loses few passes, and an assert on it holds."""
        verdict = improvement(*WON)
        assert verdict.word == "PASS"
        assert verdict
        assert verdict.comparison is not None
        assert verdict.comparison.p_value < 0.05

    @pytest.mark.parametrize("pair, word", [(LOST, "FAIL"), (UNDECIDED, "INCONCLUSIVE")])
    def test_fail_and_inconclusive_are_falsy(
        self, pair: tuple[Scorecard, Scorecard], word: str
    ) -> None:
        """A program that is significantly worse fails; too few examples are INCONCLUSIVE."""
        verdict = improvement(*pair)
        assert verdict.word == word
        assert not verdict

    def test_the_baseline_itself_does_not_beat_itself(self) -> None:
        """Where the search kept the baseline the verdict is FAIL, without statistics."""
        verdict = improvement(WON[0], WON[0], unchanged=True)
        assert verdict.word == "FAIL"
        assert "kept it" in verdict.sentence
        assert not verdict

    def test_the_baseline_itself_is_within_a_loss_that_is_allowed(self) -> None:
        """A difference of 0 is above a margin below 0, without statistics."""
        verdict = improvement(WON[0], WON[0], margin=-0.01, unchanged=True)
        assert verdict.word == "PASS"
        assert "kept it" in verdict.sentence
        assert "above a margin of -0.010" in verdict.sentence

    @pytest.mark.parametrize("margin", [math.nan, math.inf, -math.inf, "0.1", None, True])
    def test_margin_has_to_be_finite(self, margin: float) -> None:
        """The error names the value."""
        with pytest.raises(DeclarationError, match=rf"margin={margin!r}: expected a difference"):
            improvement(*WON, margin=margin)

    def test_alpha_decides(self) -> None:
        """The same evidence passes or fails at a generous alpha and not at a strict one."""
        assert improvement(*WON, alpha=0.02).word == "PASS"
        assert improvement(*WON, alpha=0.001).word == "INCONCLUSIVE"
        assert improvement(*LOST, alpha=0.02).word == "FAIL"
        assert improvement(*LOST, alpha=0.001).word == "INCONCLUSIVE"

    def test_p_at_alpha_is_no_pass(self) -> None:
        """A p-value that equals alpha is not below it."""
        p_value = comparison_of(improvement(*WON)).p_value
        assert improvement(*WON, alpha=p_value).word == "INCONCLUSIVE"

    def test_equal_graded_scores_decide_nothing(self) -> None:
        """They are neither PASS nor FAIL, and their interval is not a single point."""
        same = scorecard(*(0.3, 0.7) * 20)
        verdict = improvement(same, same)
        assert verdict.word == "INCONCLUSIVE"
        assert comparison_of(verdict).low < -0.05
        assert comparison_of(verdict).high > 0.05
        assert comparison_of(verdict).detectable > 0.05

    def test_margin_decides(self) -> None:
        """The same difference passes, is undecided or fails by the margin."""
        assert improvement(*WON, margin=0.1).word == "PASS"
        assert improvement(*WON, margin=0.4).word == "INCONCLUSIVE"
        assert improvement(*WON, margin=0.9).word == "FAIL"

    def test_scores_between_0_and_1(self) -> None:
        """Graded scores get the same words."""
        rng = random.Random(0)
        baseline = [rng.uniform(0, 0.5) for _ in range(15)]
        pair = (
            scorecard(*baseline),
            scorecard(*(score + rng.uniform(0.1, 0.4) for score in baseline)),
        )
        assert improvement(*pair).word == "PASS"
        assert improvement(*reversed(pair)).word == "FAIL"


class TestImprovementSentence:
    @pytest.mark.parametrize("pair", [WON, LOST, UNDECIDED])
    def test_figures(self, pair: tuple[Scorecard, Scorecard]) -> None:
        """The sentence has means, difference, interval, p, n and the detectable effect."""
        verdict = improvement(*pair)
        comparison = verdict.comparison
        assert comparison is not None
        for figure in (
            f"compiled {comparison.compiled:.3f}",
            f"baseline {comparison.comparator:.3f}",
            f"difference {comparison.difference:+.3f}",
            f"[{comparison.low:+.3f}, {comparison.high:+.3f}] at 90%",
            f"n = {comparison.n}",
            f"{comparison.detectable:.3f}",
        ):
            assert figure in verdict.sentence
        assert re.search(r"p = [\d.e-]+ \(exact score test\)", verdict.sentence)

    def test_the_next_step(self) -> None:
        """Each verdict but PASS names a next step."""
        assert "add held-out examples" in improvement(*UNDECIDED).sentence
        assert "keep the baseline" in improvement(*LOST).sentence
        assert "drop this assert" in improvement(*WON, unchanged=True).sentence

    def test_the_margin_is_shown(self) -> None:
        """The sentence names a margin, and only where there is one."""
        assert "margin of +0.100" in improvement(*WON, margin=0.1).sentence
        assert "margin" not in improvement(*WON).sentence


@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_equal_programs_seldom_pass(alpha: float) -> None:
    """Of pairs of equally good programs at most a share of alpha passes."""
    rng, n = random.Random(20), 20
    passed = 0
    for _ in range(REPETITIONS):
        chance = rng.uniform(0.2, 0.9)
        pair = (
            scorecard(*(float(rng.random() < chance) for _ in range(n))),
            scorecard(*(float(rng.random() < chance) for _ in range(n))),
        )
        passed += bool(improvement(*pair, alpha=alpha))
    error = math.sqrt(alpha * (1 - alpha) / REPETITIONS)
    assert passed / REPETITIONS <= alpha + 3 * error
    assert passed > 0


@pytest.mark.parametrize("margin", [0.1, -0.05])
def test_programs_at_the_margin_seldom_pass(margin: float) -> None:
    """Of programs whose true difference is exactly the margin at most a share of alpha passes."""
    rng, n = random.Random(20), 20
    passed = 0
    for _ in range(REPETITIONS):
        chance = rng.uniform(0.3, 0.8)
        pair = (
            scorecard(*(float(rng.random() < chance) for _ in range(n))),
            scorecard(*(float(rng.random() < chance + margin) for _ in range(n))),
        )
        passed += bool(improvement(*pair, margin=margin))
    error = math.sqrt(0.05 * 0.95 / REPETITIONS)
    assert passed / REPETITIONS <= 0.05 + 3 * error


class TestRegression:
    @pytest.mark.parametrize("scores", [ACCEPTED, (1.0,), (0.0,) * 9, (0.3, 0.7)])
    def test_the_same_scores_pass_for_the_same_program(self, scores: tuple[float, ...]) -> None:
        """Equal scores of the accepted program on its model pass, for any number of examples."""
        card = scorecard(*scores)
        verdict = regression(card, card, unchanged=True)
        assert verdict.word == "PASS"
        assert "nothing changed" in verdict.sentence
        assert regression(card, card).word == "INCONCLUSIVE"

    def test_other_scores_of_the_same_program_are_judged(self) -> None:
        """A model that changed under its name is no reason to pass."""
        accepted, worse = scorecard(*ACCEPTED), scorecard(*WORSE)
        assert regression(accepted, worse, unchanged=True).word == "FAIL"

    @pytest.mark.parametrize("score", [1.0, 0.5])
    def test_equal_scores_of_another_program_pass_once_there_are_enough(self, score: float) -> None:
        """It takes 149, as a loss of the tolerance, 0.02, misses so many only once in twenty."""
        for n, word in ((10, "INCONCLUSIVE"), (148, "INCONCLUSIVE"), (149, "PASS")):
            card = scorecard(*(score,) * n)
            assert regression(card, card, tolerance=0.02).word == word

    def test_clusters_of_equal_scores_count_once(self) -> None:
        """Equal scores are evidence by the cluster."""
        card = replace(scorecard(*(1.0,) * 160), clusters=tuple(str(i // 4) for i in range(160)))
        assert regression(card, card, tolerance=0.02).word == "INCONCLUSIVE"
        assert regression(card, card, tolerance=0.08).word == "PASS"

    def test_the_same_mean_is_not_the_same_scores(self) -> None:
        """As many examples gained as lost decide nothing without a tolerance."""
        verdict = regression(scorecard(*(1.0, 0.0) * 10), scorecard(*(0.0, 1.0) * 10))
        assert comparison_of(verdict).difference == 0
        assert verdict.word == "INCONCLUSIVE"

    def test_better_passes(self) -> None:
        """A program that is significantly better is no regression."""
        assert regression(scorecard(*WORSE), scorecard(*ACCEPTED)).word == "PASS"

    def test_worse_fails(self) -> None:
        """A program that is significantly worse is a regression."""
        verdict = regression(scorecard(*ACCEPTED), scorecard(*WORSE))
        assert verdict.word == "FAIL"
        assert not verdict

    def test_a_tolerated_loss_is_no_regression(self) -> None:
        """A small loss on many examples passes with a tolerance, and not without one."""
        pair = scorecard(*[1.0] * 300, *[0.0] * 100), scorecard(*[1.0] * 298, *[0.0] * 102)
        assert regression(*pair).word == "INCONCLUSIVE"
        assert regression(*pair, tolerance=0.05).word == "PASS"

    def test_a_loss_beyond_the_tolerance_fails(self) -> None:
        """A loss fails, is undecided or passes by the tolerance it is compared with."""
        assert regression(scorecard(*ACCEPTED), scorecard(*WORSE), tolerance=0.05).word == "FAIL"
        assert (
            regression(scorecard(*ACCEPTED), scorecard(*WORSE), tolerance=0.4).word
            == "INCONCLUSIVE"
        )
        assert regression(scorecard(*ACCEPTED), scorecard(*WORSE), tolerance=0.9).word == "PASS"

    def test_scores_between_0_and_1(self) -> None:
        """Graded scores get the same three words."""
        rng = random.Random(0)
        accepted = [rng.uniform(0.4, 0.6) for _ in range(30)]
        worse = scorecard(*(score - rng.uniform(0.1, 0.2) for score in accepted))
        assert regression(scorecard(*accepted), worse).word == "FAIL"
        assert regression(scorecard(*accepted), worse, tolerance=0.3).word == "PASS"
        assert regression(worse, scorecard(*accepted)).word == "PASS"

    def test_undecided_is_falsy_unless_tolerated(self) -> None:
        """An assert on INCONCLUSIVE holds only where the user tolerates it."""
        strict, lenient = (
            regression(scorecard(*ACCEPTED), scorecard(*UNCLEAR), tolerated=tolerated)
            for tolerated in (False, True)
        )
        assert strict.word == lenient.word == "INCONCLUSIVE"
        assert not strict
        assert lenient
        assert "counts as passed" in lenient.sentence
        assert "counts as passed" not in strict.sentence

    def test_a_tolerated_doubt_is_no_tolerated_failure(self) -> None:
        """``tolerated`` leaves a FAIL falsy."""
        assert not regression(scorecard(*ACCEPTED), scorecard(*WORSE), tolerated=True)

    def test_without_a_reference(self) -> None:
        """The verdict is FAIL without a comparison, and names the command that accepts."""
        verdict = no_reference(COMMAND)
        assert verdict.word == "FAIL"
        assert not verdict
        assert verdict.comparison is None
        assert COMMAND in repr(verdict)


class TestRegressionPairing:
    def test_examples_are_paired_by_identity(self) -> None:
        """The order of the examples changes nothing."""
        rng = random.Random(1)
        names = [f"example {number}" for number in range(20)]
        shuffled = rng.sample(list(zip(names, ACCEPTED, strict=True)), 20)
        compiled = Scorecard(
            tuple(name for name, _ in shuffled), tuple(score for _, score in shuffled), Usage()
        )
        assert comparison_of(regression(scorecard(*ACCEPTED), compiled)).p_opposite == 1

    def test_new_examples_are_left_out_and_counted(self) -> None:
        """Only common examples are compared, and the sentence says how many."""
        verdict = regression(scorecard(*ACCEPTED), scorecard(*(*ACCEPTED[5:], *[0.0] * 5), start=5))
        assert comparison_of(verdict).n == 15
        assert "compared on 15 of 20 held-out examples" in verdict.sentence
        assert comparison_of(verdict).difference == 0

    def test_removed_examples_are_left_out_and_counted(self) -> None:
        """A reader learns that examples are gone, which may be those that got worse."""
        verdict = regression(scorecard(*ACCEPTED), scorecard(*ACCEPTED[:15]))
        assert comparison_of(verdict).n == 15
        assert verdict.sentence.startswith("5 of 20 accepted examples are not held out any more; ")

    def test_no_common_example(self) -> None:
        """Programs without a common example raise ValueError."""
        with pytest.raises(ValueError, match="expected"):
            regression(scorecard(*ACCEPTED), scorecard(*ACCEPTED, start=100))


class TestRegressionSentence:
    @pytest.mark.parametrize("scores, word", [(WORSE, "FAIL"), (UNCLEAR, "INCONCLUSIVE")])
    def test_figures(self, scores: tuple[float, ...], word: str) -> None:
        """The sentence has means, difference, interval, p, n and the detectable effect."""
        verdict = regression(scorecard(*ACCEPTED), scorecard(*scores))
        assert verdict.word == word
        comparison = comparison_of(verdict)
        p_value = comparison.p_opposite if word == "FAIL" else comparison.p_value
        for figure in (
            f"compiled {comparison.compiled:.3f}",
            f"reference {comparison.comparator:.3f}",
            f"difference {comparison.difference:+.3f}",
            f"[{comparison.low:+.3f}, {comparison.high:+.3f}] at 90%",
            f"p = {p_text(p_value, 0.05)} (exact score test)",
            "n = 20",
            f"{comparison.detectable:.3f}",
        ):
            assert figure in verdict.sentence

    def test_the_tolerance_is_shown(self) -> None:
        """The sentence names a tolerance, and only where there is one."""
        assert (
            "tolerance of 0.050"
            in regression(scorecard(*ACCEPTED), scorecard(*WORSE), tolerance=0.05).sentence
        )
        assert "tolerance" not in regression(scorecard(*ACCEPTED), scorecard(*WORSE)).sentence

    @pytest.mark.parametrize(
        "lost, tolerance, figures",
        [
            (1, 0.02, "difference -0.0204 ["),
            (1, 0.0125, "with a tolerance of 0.0125,"),
            (0, 0.0004, "with a tolerance of 0.0004,"),
        ],
    )
    def test_a_figure_has_the_digits_that_it_takes(
        self, lost: int, tolerance: float, figures: str
    ) -> None:
        """A loss of one in 49 is above a tolerance of 0.02, and a tolerance is what was meant."""
        accepted, less = (1.0,) * 49, (*[1.0] * (49 - lost), *[0.0] * lost)
        assert (
            figures
            in regression(scorecard(*accepted), scorecard(*less), tolerance=tolerance).sentence
        )

    def test_what_would_show_counts_from_the_tolerance(self) -> None:
        """A loss shows once it is above the tolerance by what is detectable."""
        verdict = regression(scorecard(*ACCEPTED), scorecard(*UNCLEAR), tolerance=0.1)
        least = comparison_of(verdict).detectable + 0.1
        assert f"a loss of about {least:.3f} would show" in verdict.sentence

    def test_too_few_to_show_anything(self) -> None:
        """Where three examples show no difference, the sentence says so instead of a number."""
        sentence = regression(scorecard(*(1.0, 1.0, 0.0)), scorecard(*(0.0, 1.0, 1.0))).sentence
        assert "no loss would show at this n" in sentence
        assert "inf" not in sentence

    def test_a_failure_names_the_way_to_accept(self) -> None:
        """A FAIL names the command that accepts the change."""
        assert COMMAND in regression(scorecard(*ACCEPTED), scorecard(*WORSE)).sentence

    def test_the_note_comes_first(self) -> None:
        """The origin of the reference's scores stands before the scores."""
        assert regression(
            scorecard(*ACCEPTED), scorecard(*WORSE), note="accepted now"
        ).sentence.startswith("accepted now")

    def test_an_equal_split_asks_for_a_tolerance(self) -> None:
        """Where the loss is exactly the tolerance, the advice is a larger tolerance."""
        sentence = regression(scorecard(*(1.0, 0.0) * 10), scorecard(*(0.0, 1.0) * 10)).sentence
        assert "so allow a loss, e.g. tolerance=" in sentence

    def test_how_many_examples_would_pass_an_equal_program(self) -> None:
        """The number comes from the tolerance and from how often answers change, not the gap."""
        sentence = regression(scorecard(*ACCEPTED), scorecard(*UNCLEAR), tolerance=0.1).sentence
        more = re.search(
            r"with about (\d+) more held-out examples a program as good as the reference passes "
            r"four times in five",
            sentence,
        )
        assert more is not None
        assert 60 <= int(more[1]) <= 200

    def test_enough_examples_are_called_enough(self) -> None:
        """Where an equal program would mostly pass, the sentence asks for no more examples."""
        accepted, less = (*[1.0] * 190, *[0.0] * 10), (*[1.0] * 181, *[0.0] * 19)
        verdict = regression(scorecard(*accepted), scorecard(*less), tolerance=0.06)
        assert verdict.word == "INCONCLUSIVE"
        assert "as the reference passes with this many examples" in verdict.sentence


class TestWarning:
    @pytest.mark.parametrize("n, share", [(10, "1 in 3"), (20, "1 in 7")])
    def test_few_graded_examples_may_miss_a_rare_loss(self, n: int, share: str) -> None:
        """A PASS names what the sample need not contain, and so does a FAIL."""
        rng = random.Random(n)
        baseline = scorecard(*(rng.uniform(0.4, 0.5) for _ in range(n)))
        better = scorecard(*(score + rng.uniform(0, 0.1) for score in baseline.scores))
        passed, failed = improvement(baseline, better), improvement(better, baseline)
        assert (passed.word, failed.word) == ("PASS", "FAIL")
        assert f"warning: {n} examples can miss a large loss that hits" in passed.sentence
        assert f"a large gain that hits fewer than {share}" in failed.sentence
        assert failed.sentence.endswith("keep the baseline")

    def test_enough_examples_need_no_warning(self) -> None:
        """A loss that could reverse the verdict would be in 200 examples."""
        rng = random.Random(1)
        baseline = scorecard(*(rng.uniform(0.4, 0.5) for _ in range(200)))
        better = scorecard(*(score + rng.uniform(0, 0.1) for score in baseline.scores))
        assert "warning" not in improvement(baseline, better).sentence

    def test_right_and_wrong_answers_need_no_warning(self) -> None:
        """The exact test counts what it has not seen."""
        assert "warning" not in improvement(*WON).sentence


@pytest.mark.parametrize(
    "scores, tolerance", [((1.0, 0.0), 5), ((1.0, 0.0), 1.0), ((0.2, 0.4), 1), ((80.0, 20.0), 80)]
)
def test_a_tolerance_beyond_the_scores_is_refused(
    scores: tuple[float, ...], tolerance: float
) -> None:
    """A total loss cannot be within the tolerance; the error names the largest difference."""
    card = scorecard(*scores * 10)
    with pytest.raises(DeclarationError, match=rf"tolerance={tolerance}: no two scores differ"):
        regression(card, card, tolerance=tolerance)
    with pytest.raises(DeclarationError, match=rf"margin=-{tolerance}: no two scores differ"):
        improvement(card, card, margin=-tolerance)


def test_a_tolerance_in_points_of_a_hundred_is_meant() -> None:
    """Scores up to 80 can lose 5."""
    card = scorecard(*(80.0, 20.0) * 10)
    assert "with a tolerance of 5.000" in regression(card, card, tolerance=5).sentence


@pytest.mark.parametrize("tolerance", [-0.01, math.nan, math.inf, "0.1", True])
def test_tolerance_has_to_be_a_finite_loss(tolerance: float) -> None:
    """The error has an example of a tolerance that can be used."""
    with pytest.raises(DeclarationError, match=r"tolerance=.*0\.02"):
        regression(scorecard(*ACCEPTED), scorecard(*ACCEPTED), tolerance=tolerance)


def test_equal_programs_are_seldom_called_worse_or_proven() -> None:
    """Of pairs of equally good programs at most a share of alpha fails, and of alpha passes."""
    rng, n = random.Random(20), 20
    alpha = 0.05
    words = []
    for _ in range(REPETITIONS):
        chance = rng.uniform(0.2, 0.9)
        pair = (scorecard(*(float(rng.random() < chance) for _ in range(n))) for _ in range(2))
        words.append(regression(*pair, alpha=alpha).word)
    limit = alpha + 3 * math.sqrt(alpha * (1 - alpha) / REPETITIONS)
    assert words.count("FAIL") / REPETITIONS <= limit
    assert words.count("PASS") / REPETITIONS <= limit


def test_programs_at_the_tolerance_seldom_pass() -> None:
    """A program that lost exactly the tolerance passes with at most a chance of alpha."""
    rng = random.Random(3)
    passed = 0
    for _ in range(REPETITIONS):
        chance = rng.uniform(0.3, 0.8)
        accepted = scorecard(*(float(rng.random() < chance) for _ in range(25)))
        compiled = scorecard(*(float(rng.random() < chance - 0.1) for _ in range(25)))
        passed += regression(accepted, compiled, tolerance=0.1).word == "PASS"
    assert passed / REPETITIONS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)
    assert passed > 0


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.5, -0.1, 5.0, math.nan, None, True])
def test_alpha_has_to_be_a_probability(alpha: float) -> None:
    """The error has an example of an alpha that can be used."""
    for judge in (improvement, regression):
        with pytest.raises(DeclarationError, match=r"alpha=.*0\.05"):
            judge(*WON, alpha=alpha)


def test_sentences_are_one_line() -> None:
    """A sentence has no line break."""
    for pair in (WON, LOST, UNDECIDED, (WON[0], WON[0])):
        assert "\n" not in improvement(*pair).sentence
        assert "\n" not in regression(*pair).sentence
