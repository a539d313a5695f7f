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

from pytest_mipro.records import Cut, Scorecard, Usage, Verdict
from pytest_mipro.report.summary import (
    Summary,
    earlier_program,
    earlier_prompts,
    effort,
    headline,
    repeats_verdict,
    score_change,
    score_changes,
    worst_examples,
    worst_first,
)

if TYPE_CHECKING:
    from pytest_mipro.records import HeldOutExample, VerdictKind
    from pytest_mipro.report.summary import TaskSummary

REFERENCE = Scorecard(("a",), (1.0,), Usage())
NO_REFERENCE = Verdict("no regression", "FAIL", "there is no reference", None)


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
def test_the_worst_verdict_counts(words: tuple[VerdictKind, ...], expected: str) -> None:
    """A task is as good as the worst of its verdicts, in whatever order they came."""
    assert task_summary(report(*words)).word == expected


def test_effort_of_a_compile() -> None:
    """A compile says how long it took and what it asked."""
    assert task_summary(report("PASS")).effort == "compiled in 13 s, 1,234 LM calls"


def test_effort_of_a_compile_that_went_on() -> None:
    """What earlier runs had found out is said, and where a budget ended the search."""
    cut = Cut("lm_calls=100", "calls", 100)
    went_on = task_summary(report(resumed=312, cut=cut, usage=Usage(1)))
    assert went_on.effort == (
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
def test_effort_of_what_was_there(values: dict[str, Any], effort: str) -> None:
    """What was not compiled now says where it is from."""
    assert task_summary(report(usage=Usage(), **values)).effort.startswith(effort)


def test_effort_without_calls() -> None:
    """Where the calls are told beside it, the effort does not tell them again."""
    cut = Cut("lm_calls=100", "calls", 100)
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
    words: tuple[VerdictKind, ...], message: str, expected: bool
) -> None:
    """Only what a verdict that did not pass says is told already."""
    assert repeats_verdict(task_summary(report(*words), failed=True, message=message)) == expected


def test_a_verdict_is_repeated_though_pytest_shortens_it() -> None:
    """It leaves out the middle of what an assert is about."""
    verdict = Verdict("no regression", "FAIL", "so and so; " * 40, None)
    message = f"assert {repr(verdict)[:118]}...{repr(verdict)[-119:]}\n +  where"
    assert repeats_verdict(task_summary(report(verdicts=(verdict,)), failed=True, message=message))


def test_survives_the_round_trip() -> None:
    """A summary is the same after it was plain data, as an xdist worker sends it."""
    assert Summary.from_dict(summary().to_dict()) == summary()


@pytest.mark.parametrize(
    "before, after, accepted, against_baseline, against_accepted",
    [
        (0.0, 1.0, 1.0, "better", "same"),
        (1.0, 0.5, 0.0, "worse", "better"),
        (0.5, 0.5, 0.75, "same", "worse"),
        (0.5, 0.5, None, "same", "same"),
    ],
)
def test_how_an_example_changed(
    before: float,
    after: float,
    accepted: float | None,
    against_baseline: str,
    against_accepted: str,
) -> None:
    """An example got worse or better by its score; without one to compare with, neither."""
    example = held_out(before, after, accepted=accepted)
    assert score_change(example) == against_baseline
    assert score_change(example, "accepted") == against_accepted


def numbers(examples: list[HeldOutExample]) -> list[int]:
    """Return which examples these are."""
    return [int(each.identity, 16) for each in examples]


def test_the_worst_lost_most() -> None:
    """Losses come first, the greatest at the top, then what scores least; the best do not come."""
    examples = (
        held_out(0.0, 1.0, number=1),
        held_out(0.5, 0.25, number=2),
        held_out(0.0, 0.0, number=3),
        held_out(1.0, 0.0, number=4),
        held_out(0.5, 0.5, number=5),
    )
    assert numbers(worst_examples(report(examples=examples))) == [4, 2, 3, 5]


def test_the_worst_against_the_reference() -> None:
    """Where there is a reference, a loss is what was lost since it was accepted."""
    found = replace(report(examples=EXAMPLES), accepted=REFERENCE)
    assert numbers(worst_examples(found)) == [2, 4]
    examples = (
        held_out(1.0, 0.5, number=1, accepted=0.5),
        held_out(0.0, 0.5, number=2, accepted=1.0),
        held_out(0.0, 1.0, number=3, accepted=None),
    )
    assert numbers(worst_examples(report(examples=examples, accepted=REFERENCE))) == [2, 1]


def test_how_many_changed() -> None:
    """In words, against what a reader compares with; nothing where only scores are known."""
    assert (
        score_changes(report()) == "1 of 4 held-out examples got worse than the baseline, 1 better"
    )
    assert REGRESSED.report is not None
    assert "got worse than the reference, 0 better" in score_changes(REGRESSED.report)
    assert not score_changes(report(held_out=()))


def test_what_was_not_met_decides_what_to_compare_with() -> None:
    """A gain that is missed is one over the baseline, whatever was accepted."""
    gain, kept = report("FAIL").verdicts[0], Verdict("no regression", "PASS", "as good", None)
    lost = replace(kept, word="FAIL")
    other = replace(lost, question="costs no more")
    assert earlier_program(report(verdicts=(gain, kept), accepted=REFERENCE)) == "baseline"
    for verdicts in ((), (kept,), (gain, lost), (gain, other)):
        assert earlier_program(report(verdicts=verdicts, accepted=REFERENCE)) == "accepted"


def test_nothing_is_worst_where_all_is_well() -> None:
    """A program with the best score everywhere has no worst example; nor has an empty report."""
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
def test_the_headline_says_what_became_of_the_tasks(tasks: list[TaskSummary], words: str) -> None:
    """In words, the worst first; only a loss is called worse."""
    assert headline(replace(summary(), tasks=tuple(tasks))) == words


def test_a_run_that_was_interrupted_is_said_to_be() -> None:
    """What passed until then is not all there is."""
    session = replace(summary(PASSED), interrupted=True)
    assert headline(session) == "The task passed; the run was interrupted"


def test_the_worst_task_is_the_first() -> None:
    """A bad verdict before an error, that before any other failure, and what passed at the end."""
    missed = task_summary(report("PASS"), failed=True)
    expected_loss = task_summary(report("FAIL"))
    order = [REGRESSED, ERRED, missed, expected_loss, UNDECIDED, PASSED]
    assert worst_first(reversed(order)) == order


def test_prompts_are_compared_with_those_of_the_same_program() -> None:
    """Those of the reference, if there is one; else the baseline's."""
    assert earlier_prompts(report()) == (BASELINE_PROMPT,)
    found = report(accepted=REFERENCE, prompts_accepted=(ACCEPTED_PROMPT,))
    assert earlier_prompts(found) == (ACCEPTED_PROMPT,)
