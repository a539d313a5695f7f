from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytest
from sessions import COMMAND, Adder, instructed, outcome_of, scorecard, unchanged

from pytest_mipro.errors import DeclarationError, ReferenceFileError
from pytest_mipro.records import Acceptance, ExampleCost, Means, Report, Scorecard, Usage
from pytest_mipro.session.results import ReferenceProgram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_mipro.records import Verdict
    from pytest_mipro.session import Outcome

LOST, WON = (0.0,) * 6, (1.0,) * 6
HALF = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
A_LITTLE_LESS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.0)
CHEAP, DEAR = [ExampleCost(10.0)] * 6, [ExampleCost(30.0)] * 6
PRICED, PRICIER = [ExampleCost(10.0, 1.0)] * 6, [ExampleCost(10.0, 3.0)] * 6
TO_REFERENCE = {"than": "reference"}
FEWER_DEMOS = (
    "ask for fewer demos (max_bootstrapped_demos, max_labeled_demos), or allow a larger ratio"
)
UNDO = f"undo what changed, or accept it with: {COMMAND}"
ASK_AGAIN = (
    "the costs of the baseline's answers are unknown; ask the model again with --mipro-rescore"
)
ACCEPT_ANEW = (
    f"the costs of the reference's answers are unknown; accept anew with: {COMMAND} --mipro-rescore"
)
ACCEPTED_NOW = Acceptance("first", (), Means(6, 0.0, 1.0), ())
MISFIT = ReferenceFileError("it does not fit the code any more")


def misfit() -> Adder:
    """Raise the error of an accepted program that does not fit the code."""
    raise MISFIT


def accepted(
    scores: Sequence[float], costs: Sequence[ExampleCost] = (), **values: Any
) -> ReferenceProgram:
    """Return a reference with these scores."""
    program = instructed(Adder(), "Accepted.")
    return ReferenceProgram(scorecard(scores, costs), lambda: program, **values)


def outcome(
    root: Path, baseline: Sequence[float] = LOST, compiled: Sequence[float] = WON, **values: Any
) -> Outcome:
    """Return the outcome of two programs with these scores."""
    return outcome_of(root, scorecard(baseline), scorecard(compiled), **values)


@pytest.mark.parametrize(
    "baseline, compiled, values, word",
    [
        (LOST, WON, {}, "PASS"),
        (WON, LOST, {}, "FAIL"),
        (HALF, A_LITTLE_LESS, {}, "INCONCLUSIVE"),
        (LOST, WON, {"margin": 0.05}, "PASS"),
        (LOST, WON, {"margin": 0.95}, "INCONCLUSIVE"),
        (LOST, WON, {"alpha": 0.001}, "INCONCLUSIVE"),
    ],
)
def test_beats_baseline(
    tmp_path: Path, baseline: Sequence[float], compiled: Sequence[float], values: Any, word: str
) -> None:
    """Only a PASS is truthy; a margin needs a larger difference, a smaller alpha more evidence."""
    verdict = outcome(tmp_path, baseline, compiled).beats_baseline(**values)
    assert (verdict.word, bool(verdict)) == (word, word == "PASS")
    assert verdict.comparison is not None
    assert verdict.comparison.margin == pytest.approx(values.get("margin", 0))


def test_a_program_with_the_baselines_prompts_does_not_beat_it(tmp_path: Path) -> None:
    """The prompts decide, not the scores."""
    verdict = outcome(tmp_path, optimizer=unchanged).beats_baseline()
    assert verdict.word == "FAIL"
    assert verdict.sentence.startswith("the search found nothing better than the baseline")


@pytest.mark.parametrize(
    "reference, scores, tolerance, word",
    [
        (WON, WON, 0.45, "PASS"),
        (LOST, WON, 0, "PASS"),
        (WON, LOST, 0, "FAIL"),
        (WON, A_LITTLE_LESS, 0.9, "PASS"),
    ],
)
def test_no_regression(
    tmp_path: Path, reference: Sequence[float], scores: Sequence[float], tolerance: float, word: str
) -> None:
    """The accepted scores decide, not the baseline; a decided verdict warns about nothing."""
    texts: list[str] = []
    result = outcome(tmp_path, LOST, scores, reference=accepted(reference), warn=texts.append)
    assert result.no_regression(tolerance=tolerance).word == word
    assert texts == []


@pytest.mark.parametrize("stale, word", [("", "PASS"), ("the model changed", "INCONCLUSIVE")])
def test_equal_scores_pass_only_for_the_accepted_program(
    tmp_path: Path, stale: str, word: str
) -> None:
    """Equal scores of another program, or after the task changed, are no evidence."""
    result = outcome(tmp_path, reference=accepted(WON), stale=stale)
    assert result.no_regression().word == "INCONCLUSIVE"
    result.reference = ReferenceProgram(scorecard(WON), lambda: result.compiled.program)
    verdict = result.no_regression()
    assert verdict.word == word
    assert verdict.sentence.startswith("nothing changed") is (word == "PASS")


@pytest.mark.parametrize("than", ["baseline", "reference"])
def test_equal_costs_pass_for_the_same_program(
    tmp_path: Path, than: Literal["baseline", "reference"]
) -> None:
    """The program and its model decide, whichever the costs are compared with."""
    cards = scorecard(WON, CHEAP), scorecard(WON, CHEAP)
    reference = accepted(WON, CHEAP)
    result = outcome_of(tmp_path, *cards, reference=reference)
    assert result.costs_no_more(ratio=1, than=than).word == "INCONCLUSIVE"
    same = outcome_of(tmp_path, *cards, reference=reference, optimizer=unchanged)
    same.reference = ReferenceProgram(cards[1], lambda: same.compiled.program)
    assert same.costs_no_more(ratio=1, than=than).word == "PASS"


@pytest.mark.parametrize("tolerant", [True, False])
def test_an_inconclusive_regression_warns_or_fails(tmp_path: Path, tolerant: bool) -> None:
    """The warning names the task and has the sentence."""
    texts: list[str] = []
    result = outcome(
        tmp_path,
        compiled=A_LITTLE_LESS,
        reference=accepted(WON),
        tolerant=tolerant,
        warn=texts.append,
    )
    verdict = result.no_regression()
    assert (verdict.word, bool(verdict)) == ("INCONCLUSIVE", tolerant)
    assert ("this counts as passed" in verdict.sentence) is tolerant
    assert texts == ([f"test_adder: no regression: {verdict!r}"] if tolerant else [])


@pytest.mark.parametrize(
    "values, start",
    [
        ({"reference": accepted((1.0, 1.0))}, "compared on 2 of 6 held-out examples"),
        (
            {"reference": accepted(WON, rescored_metrics=[""])},
            "the metric changed since the reference",
        ),
        (
            {"reference": accepted(WON), "acceptance": ACCEPTED_NOW},
            "the reference was accepted now; compiled 1.000",
        ),
    ],
    ids=["new examples", "another metric", "accepted now"],
)
def test_the_sentence_says_what_is_compared(
    tmp_path: Path, values: dict[str, Any], start: str
) -> None:
    """It names examples without an accepted score, and the source of the scores."""
    assert outcome(tmp_path, **values).no_regression().sentence.startswith(start)


def test_a_reference_without_a_common_example_is_an_error(tmp_path: Path) -> None:
    """The error has the file and the command, for costs as for scores."""
    gone = ReferenceProgram(Scorecard(("gone",), (1.0,), Usage()), Adder)
    result = outcome(tmp_path, reference=gone)
    text = "none of the 6 held-out examples is in the reference __mipro__/test_sums/test_adder"
    for judge in (result.no_regression, lambda: result.costs_no_more(than="reference")):
        with pytest.raises(ReferenceFileError, match=text) as caught:
            judge()
        assert str(caught.value).endswith(f"accept anew with: {COMMAND}")


def test_verdicts_without_a_reference_fail(tmp_path: Path) -> None:
    """The sentence ends with the command, and the kind is that of the method."""
    result = outcome(tmp_path)
    verdicts = [result.no_regression(), result.costs_no_more(than="reference")]
    assert [verdict.kind for verdict in verdicts] == ["no_regression", "costs_no_more"]
    for verdict in verdicts:
        assert (verdict.word, verdict.comparison) == ("FAIL", None)
        assert verdict.sentence.endswith(f"accept them with: {COMMAND}")


@pytest.mark.parametrize(
    "baseline, compiled, reference, values, word, unit, end",
    [
        (CHEAP, CHEAP, [], {}, "PASS", "tokens", ""),
        (CHEAP, DEAR, [], {}, "FAIL", "tokens", FEWER_DEMOS),
        (CHEAP, DEAR, [], {"ratio": 5}, "PASS", "tokens", ""),
        (CHEAP, DEAR, DEAR, TO_REFERENCE, "PASS", "tokens", ""),
        (CHEAP, DEAR, CHEAP, TO_REFERENCE, "FAIL", "tokens", UNDO),
        ([], DEAR, [], {}, "INCONCLUSIVE", None, ASK_AGAIN),
        (CHEAP, DEAR, [], TO_REFERENCE, "INCONCLUSIVE", None, ACCEPT_ANEW),
        (PRICED, PRICIER, [], {}, "FAIL", "usd", ""),
        (PRICED, PRICIER, [], {"unit": "tokens"}, "PASS", "tokens", ""),
    ],
)
def test_costs_no_more(
    tmp_path: Path,
    baseline: Sequence[ExampleCost],
    compiled: Sequence[ExampleCost],
    reference: Sequence[ExampleCost],
    values: Any,
    word: str,
    unit: str | None,
    end: str,
) -> None:
    """Costs decide, whatever the scores; a verdict that is no PASS names the next step."""
    cards = scorecard(LOST, baseline), scorecard(WON, compiled)
    result = outcome_of(tmp_path, *cards, reference=accepted(WON, reference))
    verdict = result.costs_no_more(**values)
    assert (verdict.kind, verdict.word) == ("costs_no_more", word)
    assert bool(verdict) is (word == "PASS")
    assert (verdict.comparison.unit if verdict.comparison else None) == unit
    assert verdict.sentence.endswith(end)


WRONG: dict[str, tuple[Callable[[Any], Verdict], str]] = {
    "margin": (lambda it: it.beats_baseline(margin=float("nan")), "margin=nan: expected a diff"),
    "alpha": (lambda it: it.beats_baseline(alpha=0.0), "alpha=0.0: expected a probability"),
    "alpha of a regression": (lambda it: it.no_regression(alpha=2), "alpha=2: expected a prob"),
    "tolerance": (lambda it: it.no_regression(tolerance=-1), "tolerance=-1: expected a loss"),
    "ratio": (lambda it: it.costs_no_more(ratio=0), "ratio=0: expected how many times"),
    "alpha of costs": (lambda it: it.costs_no_more(alpha=1), "alpha=1: expected a probability"),
    "unit": (lambda it: it.costs_no_more(unit="eur"), "unit='eur': expected 'tokens', 'usd'"),
    "metric of a task with one": (
        lambda it: it.beats_baseline(metric="tone"),
        "metric='tone': the task declares one metric, which has no name; leave metric out",
    ),
    "metric of a regression": (
        lambda it: it.no_regression(metric="tone"),
        "metric='tone': the task declares one",
    ),
    "than": (lambda it: it.costs_no_more(than="x"), "than='x': expected 'baseline' or 'refer"),
    "ratio to a reference": (
        lambda it: it.costs_no_more(than="reference", ratio=True),
        "ratio=True: expected how many times",
    ),
}


@pytest.mark.parametrize("reference", [accepted(WON), None], ids=["reference", "no reference"])
@pytest.mark.parametrize("judge, text", WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_an_error(
    tmp_path: Path,
    judge: Callable[[Outcome], Verdict],
    text: str,
    reference: ReferenceProgram | None,
) -> None:
    """The error names the argument, and the report gets no verdict."""
    result = outcome(tmp_path, reference=reference)
    with pytest.raises(DeclarationError, match=text):
        judge(result)
    assert result.report().verdicts == ()


def test_a_report_has_the_verdicts_in_their_order(tmp_path: Path) -> None:
    """It has each verdict, also one that repeats an earlier one."""
    result = outcome(tmp_path)
    assert result.report().verdicts == ()
    verdicts = [result.beats_baseline(), result.no_regression(), result.beats_baseline()]
    verdicts.append(result.costs_no_more(than="reference"))
    assert list(result.report().verdicts) == verdicts


def test_a_report_compares_without_a_margin(tmp_path: Path) -> None:
    """The comparison and the verdict count the same clusters."""
    cards = [replace(scorecard(scores), clusters=tuple("aabbcc")) for scores in (LOST, WON)]
    result = outcome_of(tmp_path, *cards)
    assert "n = 6 in 3 clusters" in result.beats_baseline(margin=0.3).sentence
    comparison = result.comparison
    assert result.report().comparison == comparison
    assert (comparison.n, comparison.clusters) == (6, 3)
    assert (comparison.margin, comparison.difference) == (0, 1)


def test_a_report_has_every_held_out_example(tmp_path: Path) -> None:
    """An example has its fields, both results, and its accepted score if there is one."""
    first, *_, last = outcome(tmp_path, reference=accepted(HALF[:5])).report().held_out
    assert first.inputs == {"question": "What is 20 + 23?"}
    assert first.expected == {"answer": 43}
    assert (first.baseline.score, first.compiled.score, first.accepted) == (0, 1, 1)
    assert last.accepted is None


def test_a_report_has_the_prompts(tmp_path: Path) -> None:
    """A reference that this run accepted has the compiled prompts, which are there already."""
    report = outcome(tmp_path, reference=accepted(WON)).report()
    assert [prompt.demos for prompt in report.prompts_before] == [()]
    assert [len(prompt.demos) for prompt in report.prompts_after] == [1]
    assert [prompt.instruction for prompt in report.prompts_accepted] == ["Accepted."]
    report = outcome(tmp_path, reference=accepted(WON), acceptance=ACCEPTED_NOW).report()
    assert (report.prompts_accepted, report.acceptance) == ((), ACCEPTED_NOW)


def test_a_report_leaves_out_a_program_that_does_not_fit(tmp_path: Path) -> None:
    """The report is also made for tests that do not use the reference."""
    report = outcome(tmp_path, reference=ReferenceProgram(None, misfit, error=MISFIT)).report()
    assert (report.accepted, report.prompts_accepted) == (None, ())


def test_a_report_names_its_task_and_survives_the_round_trip(tmp_path: Path) -> None:
    """It goes through xdist and into files with the task, the test, the model and the store."""
    result = outcome(tmp_path, reference=accepted(HALF))
    result.beats_baseline()
    report = result.report()
    assert (report.task, report.test) == ("test_adder", "test_sums.py::test_adder")
    assert (report.model, report.store) == ("scripted", ".mipro/store.db")
    assert Report.from_dict(report.to_dict()) == report
    assert repr(result) == "<Outcome of test_adder>"


def with_tone(root: Path, tone: Sequence[float], **values: Any) -> Outcome:
    """Return an outcome whose answers are as right as accepted ones, and scored for their tone."""
    return outcome(root, tones=(scorecard(LOST), scorecard(tone)), **values)


def test_a_verdict_judges_one_metric_or_all(tmp_path: Path) -> None:
    """It names its metric, except on costs; a metric that passes hides none that does not."""
    reference = accepted(LOST, further={"tone": scorecard(WON)})
    result = with_tone(tmp_path, LOST, reference=reference)
    verdicts = {
        "": result.no_regression(tolerance=0.0),
        "exact": result.no_regression(tolerance=0.0, metric="exact"),
        "tone": result.no_regression(tolerance=0.0, metric="tone"),
        "all": result.no_regression(tolerance=0.0, metric="all"),
    }
    assert [verdict.word for verdict in verdicts.values()] == ["PASS", "PASS", "FAIL", "FAIL"]
    assert [verdict.metric for verdict in verdicts.values()] == ["exact", "exact", "tone", "all"]
    assert verdicts["all"].comparison is not None
    assert verdicts["all"].comparison.difference == -1
    assert result.beats_baseline()
    assert not result.beats_baseline(metric="tone")
    assert not result.costs_no_more().metric


@pytest.mark.parametrize(
    "judge, name",
    [
        (lambda it: it.no_regression(metric="tonne"), "tonne"),
        (lambda it: it.beats_baseline(metric="all"), "all"),
        (lambda it: it.compiled.score_of("tonne"), "tonne"),
        (lambda it: it.baseline.scores_of("tonne"), "tonne"),
    ],
)
def test_a_metric_that_is_not_declared_is_an_error(
    tmp_path: Path, judge: Callable[[Outcome], object], name: str
) -> None:
    """The message has the names of those that are."""
    expected = f"metric='{name}': the task has no such metric; expected one of 'exact', 'tone'"
    with pytest.raises(DeclarationError, match=expected):
        judge(with_tone(tmp_path, WON))


def test_a_report_has_further_metrics(tmp_path: Path) -> None:
    """Each has its scores, and compiled is compared with the baseline."""
    report = with_tone(tmp_path, WON).report()
    assert report.metric == "exact"
    (tone,) = report.further
    assert (tone.metric, tone.compiled.scores, tone.accepted) == ("tone", WON, None)
    assert (tone.comparison.comparator, tone.comparison.compiled) == (0, 1)


def test_a_session_that_decides_at_its_end_defers_fails(tmp_path: Path) -> None:
    """A FAIL that could be an accident is deferred; one that needs no test is not."""
    result = outcome(tmp_path, reference=accepted(WON), compiled=LOST, defers_fails=True)
    assert result.no_regression()
    result.beats_baseline(margin=0.5, alpha=0.04)
    deferred, looked_at = result.report().verdicts
    assert (deferred.word, deferred.deferred, deferred.alpha) == ("FAIL", True, 0.05)
    assert deferred.comparison is not None
    assert deferred.p_fail == deferred.comparison.p_opposite
    assert (looked_at.word, looked_at.deferred, looked_at.alpha) == ("FAIL", False, 0.04)
    result.decide_at_once()
    assert not result.no_regression()
    without = outcome(tmp_path, optimizer=unchanged, defers_fails=True)
    assert not without.no_regression()
    assert not without.beats_baseline()
    assert [verdict.p_fail for verdict in without.report().verdicts] == [None, None]
