"""What a test can ask of its outcome: scores, verdicts, the reference, a report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytest
from sessions import COMMAND, Adder, Host, instructed, judged_of, outcome_of, scorecard, with_demos

from pytest_mipro.errors import DeclarationError, ReferenceFileError
from pytest_mipro.records import Acceptance, ExampleCost, Means, Report, Scorecard, Usage
from pytest_mipro.session import ReferenceProgram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import dspy
    from sessions import Checkout

    from pytest_mipro.records import Verdict
    from pytest_mipro.session.outcome import Outcome

LOST, WON = (0.0,) * 6, (1.0,) * 6
HALF = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
A_LITTLE_LESS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.0)
CHEAP, DEAR = [ExampleCost(10.0)] * 6, [ExampleCost(30.0)] * 6


def loaded() -> dspy.Module:
    """Return an accepted program."""
    return instructed(Adder(), "ReferenceProgram.")


def misfit() -> dspy.Module:
    """Raise what an accepted program raises that does not fit the code."""
    message = "it does not fit the code any more"
    raise ReferenceFileError(message)


def accepted(
    scores: Sequence[float], costs: Sequence[ExampleCost] = (), **values: Any
) -> ReferenceProgram:
    """Return a reference with these scores."""
    return ReferenceProgram(scorecard(scores, costs), loaded, **values)


def outcome(
    root: Path,
    before: Sequence[float] = LOST,
    after: Sequence[float] = WON,
    **values: Any,
) -> Outcome:
    """Return the outcome of two programs with these scores."""
    return outcome_of(root, scorecard(before), scorecard(after), **values)


def billed(
    root: Path,
    before: Sequence[ExampleCost],
    after: Sequence[ExampleCost],
    reference: ReferenceProgram | None = None,
) -> Outcome:
    """Return the outcome of two programs whose answers take so much."""
    return outcome_of(root, scorecard(LOST, before), scorecard(WON, after), reference=reference)


class TestBeatsBaseline:
    @pytest.mark.parametrize(
        "before, after, word",
        [(LOST, WON, "PASS"), (WON, LOST, "FAIL"), (HALF, A_LITTLE_LESS, "INCONCLUSIVE")],
    )
    def test_its_words(
        self, tmp_path: Path, before: Sequence[float], after: Sequence[float], word: str
    ) -> None:
        """Only a PASS is truthy."""
        verdict = outcome(tmp_path, before, after).beats_baseline()
        assert (verdict.word, bool(verdict)) == (word, word == "PASS")

    def test_a_margin_and_alpha_decide(self, tmp_path: Path) -> None:
        """A larger margin asks for more, a smaller alpha for more evidence."""
        judged = outcome(tmp_path)
        verdict = judged.beats_baseline(margin=0.05)
        assert verdict
        assert verdict.comparison is not None
        assert verdict.comparison.margin == pytest.approx(0.05)
        assert not judged.beats_baseline(margin=0.95)
        assert not judged.beats_baseline(alpha=0.001)

    def test_a_program_that_is_the_baseline_does_not_beat_it(self, tmp_path: Path) -> None:
        """It is told by its prompts, whatever the scores say."""
        verdict = outcome(tmp_path, LOST, WON, is_unchanged=True).beats_baseline()
        assert verdict.word == "FAIL"
        assert verdict.sentence.startswith("the search found nothing better than the baseline")


class TestNoRegression:
    def test_without_a_reference_it_fails_with_the_command(self, tmp_path: Path) -> None:
        """There is nothing to compare with."""
        verdict = outcome(tmp_path).no_regression()
        assert (verdict.word, verdict.comparison) == ("FAIL", None)
        assert verdict.sentence.endswith(f"accept them with: {COMMAND}")

    @pytest.mark.parametrize(
        "before, after, word",
        [(WON, WON, "PASS"), (LOST, WON, "PASS"), (WON, LOST, "FAIL")],
    )
    def test_its_words(
        self, tmp_path: Path, before: Sequence[float], after: Sequence[float], word: str
    ) -> None:
        """The accepted scores decide, the baseline does not."""
        host = Host()
        judged = outcome(tmp_path, LOST, after, reference=accepted(before), host=host)
        assert judged.no_regression().word == word
        assert host.warnings == []

    def test_a_tolerance_decides(self, tmp_path: Path) -> None:
        """A loss that is allowed is no regression."""
        judged = outcome(tmp_path, LOST, A_LITTLE_LESS, reference=accepted(WON))
        assert judged.no_regression(tolerance=0.9).word == "PASS"

    @pytest.mark.parametrize("tolerant", [True, False])
    def test_doubt_is_a_warning_or_a_failure(self, tmp_path: Path, tolerant: bool) -> None:
        """Where it is tolerated, it passes with a warning that names the task."""
        host = Host(tolerant=tolerant)
        judged = outcome(tmp_path, LOST, A_LITTLE_LESS, reference=accepted(WON), host=host)
        verdict = judged.no_regression()
        assert verdict.word == "INCONCLUSIVE"
        assert bool(verdict) is tolerant
        warning = f"test_adder: no regression: {verdict!r}"
        assert host.warnings == ([warning] if tolerant else [])
        assert ("this counts as passed" in verdict.sentence) is tolerant

    def test_examples_that_are_new_are_left_out(self, tmp_path: Path) -> None:
        """What both have is compared, and the sentence says how much that is."""
        judged = outcome(tmp_path, LOST, WON, reference=accepted((1.0, 1.0)))
        verdict = judged.no_regression()
        assert verdict.sentence.startswith("compared on 2 of 6 held-out examples")

    def test_nothing_in_common_cannot_be_judged(self, tmp_path: Path) -> None:
        """The error has the place and the command, for costs as for scores."""
        gone = ReferenceProgram(Scorecard(("gone",), (1.0,), Usage()), loaded)
        judged = outcome(tmp_path, reference=gone)
        said = "none of the 6 held-out examples is in the reference __mipro__/test_sums/test_adder"
        for ask in (judged.no_regression, lambda: judged.costs_no_more(than="reference")):
            with pytest.raises(ReferenceFileError, match=said) as caught:
                ask()
            assert str(caught.value).endswith(f"accept anew with: {COMMAND}")

    def test_where_the_scores_are_from_is_said(self, tmp_path: Path) -> None:
        """Another metric, or an acceptance of this run."""
        rescored = outcome(tmp_path, reference=accepted(WON, rescored=True))
        assert rescored.no_regression().sentence.startswith("the metric changed since the refer")
        means = Means(6, 0.0, 1.0)
        now = outcome(
            tmp_path, reference=accepted(WON), acceptance=Acceptance("first", (), means, ())
        )
        assert now.no_regression().sentence.startswith("the reference was accepted now; nothing")


class TestCostsNoMore:
    @pytest.mark.parametrize(
        "before, after, ratio, word",
        [(CHEAP, CHEAP, 1.2, "PASS"), (CHEAP, DEAR, 1.2, "FAIL"), (CHEAP, DEAR, 5, "PASS")],
    )
    def test_its_words(
        self,
        tmp_path: Path,
        before: list[ExampleCost],
        after: list[ExampleCost],
        ratio: float,
        word: str,
    ) -> None:
        """What answers take is compared with the baseline, whatever their scores."""
        verdict = billed(tmp_path, before, after).costs_no_more(ratio=ratio)
        assert (verdict.question, verdict.word) == ("costs no more", word)

    def test_a_failure_says_what_to_do(self, tmp_path: Path) -> None:
        """Against the baseline there are demos to drop, against the reference what changed."""
        judged = billed(tmp_path, CHEAP, DEAR, accepted(WON, CHEAP))
        assert "ask for fewer demos" in judged.costs_no_more().sentence
        verdict = judged.costs_no_more(than="reference")
        assert verdict.word == "FAIL"
        assert verdict.sentence.endswith(f"undo what changed, or accept it with: {COMMAND}")

    def test_the_reference_is_compared_with_where_it_is_asked_for(self, tmp_path: Path) -> None:
        """A prompt as dear as the accepted one passes there, and not against the baseline."""
        judged = billed(tmp_path, CHEAP, DEAR, accepted(WON, DEAR))
        assert judged.costs_no_more(than="reference")
        assert not judged.costs_no_more()

    def test_without_a_reference_it_fails_with_the_command(self, tmp_path: Path) -> None:
        """As for a regression, and under its own question."""
        verdict = billed(tmp_path, CHEAP, CHEAP).costs_no_more(than="reference")
        assert (verdict.question, verdict.word) == ("costs no more", "FAIL")
        assert verdict.sentence.endswith(f"accept them with: {COMMAND}")

    @pytest.mark.parametrize(
        "than, hint",
        [
            ("baseline", "of the baseline take; ask the model again with --mipro-rescore"),
            ("reference", f"of the reference take; accept anew with: {COMMAND} --mipro-rescore"),
        ],
    )
    def test_what_is_not_known_decides_nothing(
        self, tmp_path: Path, than: Literal["baseline", "reference"], hint: str
    ) -> None:
        """The sentence says how to find out."""
        judged = billed(tmp_path, [], DEAR, accepted(WON))
        verdict = judged.costs_no_more(than=than)
        assert (verdict.word, verdict.comparison) == ("INCONCLUSIVE", None)
        assert verdict.sentence.endswith(hint)
        assert not verdict

    def test_the_unit_is_dollars_where_all_are_known(self, tmp_path: Path) -> None:
        """Or tokens, if asked for."""
        dear = [ExampleCost(10.0, 3.0)] * 6
        judged = billed(tmp_path, [ExampleCost(10.0, 1.0)] * 6, dear)
        verdicts = [judged.costs_no_more(), judged.costs_no_more(unit="tokens")]
        assert [verdict.word for verdict in verdicts] == ["FAIL", "PASS"]
        units = [verdict.comparison.unit for verdict in verdicts if verdict.comparison]
        assert units == ["usd", "tokens"]


WRONG: dict[str, tuple[Callable[[Any], Verdict], str]] = {
    "margin": (lambda it: it.beats_baseline(margin=float("nan")), "margin=nan: expected a diff"),
    "alpha": (lambda it: it.beats_baseline(alpha=0.0), "alpha=0.0: expected a probability"),
    "alpha of a regression": (lambda it: it.no_regression(alpha=2), "alpha=2: expected a prob"),
    "tolerance": (lambda it: it.no_regression(tolerance=-1), "tolerance=-1: expected a loss"),
    "ratio": (lambda it: it.costs_no_more(ratio=0), "ratio=0: expected how many times"),
    "alpha of costs": (lambda it: it.costs_no_more(alpha=1), "alpha=1: expected a probability"),
    "unit": (lambda it: it.costs_no_more(unit="eur"), "unit='eur': expected 'tokens', 'usd'"),
    "than": (lambda it: it.costs_no_more(than="x"), "than='x': expected 'baseline' or 'refer"),
    "ratio to a reference": (
        lambda it: it.costs_no_more(than="reference", ratio=True),
        "ratio=True: expected how many times",
    ),
}


class TestWrongArguments:
    @pytest.mark.parametrize("has_reference", [True, False])
    @pytest.mark.parametrize("ask, said", WRONG.values(), ids=WRONG)
    def test_they_are_named_and_give_no_verdict(
        self,
        tmp_path: Path,
        ask: Callable[[Outcome], Verdict],
        said: str,
        has_reference: bool,
    ) -> None:
        """Also where there is no reference to compare with."""
        judged = outcome(tmp_path, reference=accepted(WON) if has_reference else None)
        with pytest.raises(DeclarationError, match=said):
            ask(judged)
        assert judged.report().verdicts == ()


class TestReference:
    def test_its_program_is_loaded_once_and_on_demand(self) -> None:
        """Most tests ask for its scores alone."""
        loads: list[int] = []

        def load() -> dspy.Module:
            loads.append(1)
            return loaded()

        reference = ReferenceProgram(scorecard(WON), load)
        assert reference.score == 1
        assert loads == []
        assert reference.program is reference.program
        assert loads == [1]

    def test_it_has_scores_and_usage(self) -> None:
        """They are those of its card."""
        reference = accepted(HALF)
        assert reference.comparable_card is reference.card
        assert (reference.scores, reference.score, reference.usage) == (HALF, 0.5, Usage(6))

    def test_scores_of_another_metric_are_none(self) -> None:
        """A program that cannot run gets no scores of the present one, whoever asks."""
        reference = ReferenceProgram(None, misfit)
        assert reference.comparable_card is None
        for name in ("card", "score", "scores", "usage", "program"):
            with pytest.raises(ReferenceFileError, match="does not fit"):
                getattr(reference, name)


class TestJudged:
    @pytest.mark.parametrize(
        "values, origin",
        [
            ({}, "stored"),
            ({"reasons": ("new",)}, "compiled"),
            ({"accepted": True}, "accepted"),
            ({"shared": "test_other", "accepted": True}, "shared"),
        ],
    )
    def test_where_the_program_is_from(
        self, checkout: Checkout, values: dict[str, Any], origin: str
    ) -> None:
        """Another test that did the work goes before everything else."""
        task = checkout.task()
        judged = judged_of(task, with_demos(task), scorecard(LOST), scorecard(WON))
        assert replace(judged, **values).origin == origin


class TestReport:
    def test_it_has_the_verdicts_in_their_order(self, tmp_path: Path) -> None:
        """Each that was asked for, also several times."""
        judged = outcome(tmp_path)
        assert judged.report().verdicts == ()
        verdicts = [judged.beats_baseline(), judged.no_regression(), judged.beats_baseline()]
        verdicts.append(judged.costs_no_more(than="reference"))
        assert list(judged.report().verdicts) == verdicts

    def test_it_compares_without_a_margin(self, tmp_path: Path) -> None:
        """Whatever the verdicts were asked with."""
        judged = outcome(tmp_path)
        judged.beats_baseline(margin=0.3)
        assert judged.report().comparison == judged.comparison
        comparison = judged.comparison
        assert (comparison.n, comparison.margin, comparison.difference) == (6, 0, 1)

    def test_it_compares_clusters_where_there_are_some(self, tmp_path: Path) -> None:
        """The comparison and the verdict count them alike."""
        before, after = (
            replace(scorecard(scores), clusters=tuple("aabbcc")) for scores in (LOST, WON)
        )
        judged = outcome_of(tmp_path, before, after)
        assert judged.comparison.clusters == 3
        assert "n = 6 in 3 clusters" in judged.beats_baseline().sentence

    def test_it_has_every_held_out_example(self, tmp_path: Path) -> None:
        """Its fields, what both programs made of it, and its accepted score."""
        first, *_, last = outcome(tmp_path, reference=accepted(HALF[:5])).report().held_out
        assert first.inputs == {"question": "What is 20 + 23?"}
        assert first.expected == {"answer": 43}
        assert (first.baseline.score, first.compiled.score, first.accepted) == (0, 1, 1)
        assert last.accepted is None

    def test_it_has_the_prompts(self, tmp_path: Path) -> None:
        """Those before, after and accepted; what was accepted now is what is after."""
        report = outcome(tmp_path, reference=accepted(WON)).report()
        assert [prompt.demos for prompt in report.prompts_before] == [()]
        assert [len(prompt.demos) for prompt in report.prompts_after] == [1]
        assert [prompt.instruction for prompt in report.prompts_accepted] == ["ReferenceProgram."]
        now = Acceptance("first", (), Means(6, 0.0, 1.0), ())
        accepted_now = outcome(tmp_path, reference=accepted(WON), acceptance=now).report()
        assert accepted_now.prompts_accepted == ()
        assert accepted_now.acceptance is now

    def test_a_reference_that_does_not_fit_is_left_out(self, tmp_path: Path) -> None:
        """The report is for tests that did not need it."""
        report = outcome(tmp_path, reference=ReferenceProgram(None, misfit)).report()
        assert (report.accepted, report.prompts_accepted) == (None, ())

    def test_it_survives_the_round_trip(self, tmp_path: Path) -> None:
        """It goes through xdist and into files."""
        judged = outcome(tmp_path, reference=accepted(HALF))
        judged.beats_baseline()
        report = judged.report()
        assert Report.from_dict(report.to_dict()) == report

    def test_it_says_whose_it_is(self, tmp_path: Path) -> None:
        """The task, the test, the model, and the store."""
        report = outcome(tmp_path).report()
        assert (report.task, report.test) == ("test_adder", "test_sums.py::test_adder")
        assert (report.model, report.store) == ("scripted", ".mipro/store.db")
        assert repr(outcome(tmp_path)) == "<Outcome of test_adder>"
