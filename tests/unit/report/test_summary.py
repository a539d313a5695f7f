from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from summaries import (
    ACCEPTED_PROMPT,
    BASELINE_PROMPT,
    ERRED,
    EXAMPLES,
    PASSED,
    REGRESSED,
    UNDECIDED,
    held_out,
    report,
    summary,
    task_summary,
)

from pytest_mipro.records import Acceptance, BudgetCut, Means, Scorecard, Usage, Verdict
from pytest_mipro.report.summary import (
    Summary,
    earlier_program,
    earlier_prompts,
    effort,
    headline,
    repeats_verdict,
    score_change,
    score_changes,
    seal_note,
    worst_examples,
    worst_first,
)

if TYPE_CHECKING:
    from pytest_mipro.records import HeldOutExample, VerdictWord
    from pytest_mipro.report.summary import TaskSummary

REFERENCE = Scorecard(("a",), (1.0,), Usage())
NO_REFERENCE = Verdict("no_regression", "FAIL", "there is no reference", None)


@pytest.mark.parametrize(
    "words, expected",
    [
        ((), "not judged"),
        (("PASS",), "PASS"),
        (("PASS", "INCONCLUSIVE"), "INCONCLUSIVE"),
        (("INCONCLUSIVE", "PASS", "FAIL"), "FAIL"),
        (("PASS", "PASS"), "PASS"),
        (("FAIL", "INCONCLUSIVE"), "FAIL"),
    ],
)
def test_the_worst_verdict_counts(words: tuple[VerdictWord, ...], expected: str) -> None:
    """A task has the worst word of its verdicts, in any order."""
    assert task_summary(report(*words)).word == expected


def test_effort_of_a_compile() -> None:
    """It has the time and the LM calls of the compile."""
    assert task_summary(report("PASS")).effort == "compiled in 13 s, 1,234 LM calls"


def test_effort_of_a_resumed_compile() -> None:
    """It has the stored results of earlier runs, and the budget that ended the search."""
    cut = BudgetCut("lm_calls=100", "calls", 100)
    resumed = task_summary(report(resumed=312, cut=cut, usage=Usage(1)))
    assert resumed.effort == (
        "compiled in 13 s, resumed with 312 stored results, 1 LM call, search cut at lm_calls=100"
    )


@pytest.mark.parametrize(
    "values, effort",
    [
        ({"origin": "stored"}, "from the store, 0 LM calls"),
        ({"origin": "accepted"}, "from the reference, 0 LM calls"),
        ({"origin": "shared", "shared": "test_a.py::test_b"}, "shared with test_a.py::test_b"),
    ],
)
def test_effort_without_a_compile(values: dict[str, Any], effort: str) -> None:
    """It says where a program is from that was not compiled in this run."""
    assert task_summary(report(usage=Usage(), **values)).effort.startswith(effort)


def test_effort_without_calls() -> None:
    """The calls can be left out for a place that has them in a column."""
    cut = BudgetCut("lm_calls=100", "calls", 100)
    assert (
        effort(report(cut=cut), with_calls=False) == "compiled in 13 s, search cut at lm_calls=100"
    )


@pytest.mark.parametrize(
    "words, message, expected",
    [
        (("FAIL",), "assert FAIL: so and so", True),
        (("FAIL",), "assert 1 == 2", False),
        (("PASS",), "assert not PASS: so and so", False),
        (("FAIL",), "AssertionError: look at the demos\nassert FAIL: so and so", False),
        ((), "so and so", False),
    ],
)
def test_a_message_that_repeats_a_verdict(
    words: tuple[VerdictWord, ...], message: str, expected: bool
) -> None:
    """Only an assert on a verdict that did not pass repeats it."""
    assert repeats_verdict(task_summary(report(*words), failed=True, message=message)) == expected


def test_a_verdict_is_repeated_though_pytest_shortens_it() -> None:
    """Pytest leaves out the middle of a long operand."""
    verdict = Verdict("no_regression", "FAIL", "so and so; " * 40, None)
    message = f"assert {repr(verdict)[:118]}...{repr(verdict)[-119:]}\n +  where"
    assert repeats_verdict(task_summary(report(verdicts=(verdict,)), failed=True, message=message))


def test_survives_the_round_trip() -> None:
    """A summary is equal after a round trip through plain data, as xdist workers send it."""
    assert Summary.from_dict(summary().to_dict()) == summary()


@pytest.mark.parametrize(
    "baseline, compiled, accepted, baseline_change, accepted_change",
    [
        (0.0, 1.0, 1.0, "better", "same"),
        (1.0, 0.5, 0.0, "worse", "better"),
        (0.5, 0.5, 0.75, "same", "worse"),
        (0.5, 0.5, None, "same", "same"),
    ],
)
def test_the_change_of_an_example(
    baseline: float,
    compiled: float,
    accepted: float | None,
    baseline_change: str,
    accepted_change: str,
) -> None:
    """An example got worse or better by its score; without an earlier score, neither."""
    example = held_out(baseline, compiled, accepted=accepted)
    assert score_change(example) == baseline_change
    assert score_change(example, "accepted") == accepted_change


def numbers(examples: list[HeldOutExample]) -> list[int]:
    """Return the numbers of examples."""
    return [int(example.identity, 16) for example in examples]


def test_the_worst_examples_lost_most() -> None:
    """The greatest loss comes first, then the lowest score; the best scores are left out."""
    examples = (
        held_out(0.0, 1.0, number=1),
        held_out(0.5, 0.25, number=2),
        held_out(0.0, 0.0, number=3),
        held_out(1.0, 0.0, number=4),
        held_out(0.5, 0.5, number=5),
    )
    assert numbers(worst_examples(report(examples=examples))) == [4, 2, 3, 5]


def test_the_worst_examples_against_the_reference() -> None:
    """With a reference, a loss is one against its scores."""
    outcome = replace(report(examples=EXAMPLES), accepted=REFERENCE)
    assert numbers(worst_examples(outcome)) == [2, 4]
    examples = (
        held_out(1.0, 0.5, number=1, accepted=0.5),
        held_out(0.0, 0.5, number=2, accepted=1.0),
        held_out(0.0, 1.0, number=3, accepted=None),
    )
    assert numbers(worst_examples(report(examples=examples, accepted=REFERENCE))) == [2, 1]


def test_changed_examples_are_counted() -> None:
    """A phrase counts them against the earlier program; it is empty without examples."""
    assert (
        score_changes(report()) == "1 of 4 held-out examples got worse than the baseline, 1 better"
    )
    assert REGRESSED.report is not None
    assert "got worse than the reference, 0 better" in score_changes(REGRESSED.report)
    assert not score_changes(report(held_out=()))


def test_unmet_verdicts_decide_on_the_earlier_program() -> None:
    """It is the baseline if the only unmet verdict is about it, also with a reference."""
    gain, regression = report("FAIL").verdicts[0], Verdict("no_regression", "PASS", "as good", None)
    lost = replace(regression, word="FAIL")
    dearer = replace(lost, kind="costs_no_more")
    assert earlier_program(report(verdicts=(gain, regression), accepted=REFERENCE)) == "baseline"
    for verdicts in ((), (regression,), (gain, lost), (gain, dearer)):
        assert earlier_program(report(verdicts=verdicts, accepted=REFERENCE)) == "accepted"


def test_no_example_is_worst_where_all_have_the_best_score() -> None:
    """There is none either where only scores are known."""
    assert worst_examples(report(examples=(held_out(1.0, 1.0),))) == []
    assert worst_examples(report(held_out=())) == []


XFAILED = replace(task_summary(report("FAIL")), status="xfailed")
SKIPPED = replace(task_summary(report("PASS")), status="skipped")


@pytest.mark.parametrize(
    "tasks, words",
    [
        ([], "No prompt was judged"),
        ([PASSED], "The task passed"),
        ([PASSED] * 4, "All 4 tasks passed"),
        ([PASSED, UNDECIDED], "All 2 tasks passed, 1 undecided"),
        ([ERRED], "1 task could not be judged"),
        ([XFAILED], "0 of 1 tasks passed, 1 failed as expected"),
        (
            [PASSED, UNDECIDED, XFAILED, SKIPPED],
            "2 of 4 tasks passed, 1 undecided, 1 failed as expected, 1 skipped",
        ),
        ([REGRESSED, SKIPPED], "1 of 2 tasks got worse, 1 skipped"),
        (
            [PASSED, UNDECIDED, REGRESSED, ERRED],
            "1 of 4 tasks got worse, 1 could not be judged, 1 passed undecided",
        ),
        (
            [task_summary(report("FAIL"), failed=True), PASSED],
            "1 of 2 tasks failed",
        ),
        (
            [
                task_summary(report(verdicts=(NO_REFERENCE,)), failed=True),
                REGRESSED,
            ],
            "1 of 2 tasks got worse, 1 failed",
        ),
    ],
)
def test_the_headline_counts_the_results_of_the_tasks(tasks: list[TaskSummary], words: str) -> None:
    """The worst result comes first, and only a regression is called worse."""
    assert headline(replace(summary(), tasks=tuple(tasks))) == words


def test_the_headline_of_an_interrupted_run() -> None:
    """It says that not every task was judged."""
    session = replace(summary(PASSED), interrupted=True)
    assert headline(session) == "The task passed; the run was interrupted"


def test_the_worst_task_is_the_first() -> None:
    """A FAIL comes before an error, that before other failures, and passed tasks come last."""
    missed = task_summary(report("PASS"), failed=True)
    expected_loss = task_summary(report("FAIL"))
    order = [REGRESSED, ERRED, missed, expected_loss, UNDECIDED, PASSED]
    assert worst_first(reversed(order)) == order


def test_prompts_are_those_of_the_earlier_program() -> None:
    """They are those of the reference, if there is one, else the baseline's."""
    assert earlier_prompts(report()) == (BASELINE_PROMPT,)
    outcome = report(accepted=REFERENCE, prompts_accepted=(ACCEPTED_PROMPT,))
    assert earlier_prompts(outcome) == (ACCEPTED_PROMPT,)


def test_what_this_run_accepted_has_the_prompts_of_the_compiled_program() -> None:
    """A report has them once; against none at all, each line would be a new one."""
    acceptance = Acceptance("changed", (), Means(4, 0.0, 1.0), ())
    outcome = report("FAIL", accepted=REFERENCE, acceptance=acceptance)
    verdict = replace(outcome.verdicts[0], kind="no_regression")
    outcome = replace(outcome, verdicts=(verdict,))
    assert earlier_prompts(outcome) == outcome.prompts_after


def test_a_summary_says_what_may_be_believed() -> None:
    """Where nothing is sealed, scores may be forged."""
    assert "can forge scores" in seal_note(summary())
    assert not seal_note(replace(summary(), sealed=True))
