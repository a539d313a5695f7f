from __future__ import annotations

from dataclasses import replace

import pytest
from hostile import TEXTS

from pytest_mipro.records import Acceptance, Means, PairedComparison, Prompt, Report, Scorecard
from pytest_mipro.records import Usage as Cost
from pytest_mipro.report.escaping import printable
from pytest_mipro.report.references import (
    MOST_ORPHANS,
    render_acceptances,
    render_orphans,
    render_pruned,
)

FILES = ("__mipro__/test_x/test_router.json", "__mipro__/test_x/test_router.program.json")
CARD = Scorecard(("a",), (1.0,), Cost())
COMPARISON = PairedComparison(1, 0.0, 1.0, 1.0, 0.0, 1.0, 0.5, 0.2, 0.0, 0.95, "test")
OLD = (
    Prompt("classify", "One.\nTwo.\nThree.", ({"q": "1", "a": "x"}, {"q": "2", "a": "y"})),
    Prompt("gone", "Bye."),
)
NEW = (
    Prompt("classify", "One.\nTwo!\nThree.", ({"q": "2", "a": "y"}, {"augmented": True, "q": "3"})),
    Prompt("gone", "Bye."),
)
CHANGED = Acceptance(
    "changed",
    FILES,
    Means(60, 0.25, 0.75),
    NEW,
    before=Means(50, 0.25, 0.5),
    prompts_before=OLD,
    changed=12,
    added=10,
)


def report(acceptance: Acceptance | None) -> Report:
    """Return the report of a test that accepted."""
    return Report(
        task="router",
        test="test_x.py::test_router",
        key="12",
        origin="stored",
        reasons=(),
        baseline=CARD,
        compiled=CARD,
        comparison=COMPARISON,
        prompts_before=(),
        prompts_after=(),
        usage=Cost(),
        seconds=0.0,
        store="",
        acceptance=acceptance,
    )


def lines(acceptance: Acceptance | None) -> list[str]:
    """Return what is shown of an acceptance."""
    return render_acceptances([report(acceptance)]).splitlines()


def test_a_diff_to_the_earlier_reference() -> None:
    """Files, scores, and what was taken out of and put into instruction and demos."""
    assert lines(CHANGED) == [
        f"router: accepted: {FILES[0]} and {FILES[1]}",
        (
            "  scores: baseline 0.250, compiled 0.500 (n = 50) -> "
            "baseline 0.250, compiled 0.750 (n = 60)"
        ),
        "  examples by compiled score: 12 changed, 10 added",
        "  instruction of classify:",
        "      One.",
        "    - Two.",
        "    + Two!",
        "      Three.",
        "  demos of classify:",
        "    - q: 1 | a: x",
        "      q: 2 | a: y",
        "    + q: 3",
    ]


def test_the_first_is_all_new() -> None:
    """Without an earlier one everything is put in."""
    first = Acceptance("first", FILES, Means(60, 0.25, 0.75), (Prompt("classify", "One."),))
    assert lines(first) == [
        f"router: first reference: {FILES[0]} and {FILES[1]}",
        "  scores: baseline 0.250, compiled 0.750 (n = 60)",
        "  instruction of classify:",
        "    + One.",
    ]


def test_unchanged_is_a_line() -> None:
    """There is nothing to compare."""
    assert lines(replace(CHANGED, what="unchanged")) == [
        f"router: reference unchanged: {FILES[0]} and {FILES[1]}"
    ]


def test_replaced_says_so() -> None:
    """Files that could not be used are gone; somebody may want to know."""
    assert "in place of files that could not be used" in lines(replace(CHANGED, what="replaced"))[0]


def test_the_same_scores_and_another_metric() -> None:
    """The counts say what there is to say."""
    same = replace(CHANGED, changed=0, added=0)
    assert "  examples by compiled score: all the same" in lines(same)
    other = lines(replace(CHANGED, rescored=True))
    assert (
        "  examples by compiled score: 12 changed, 10 added, under another metric than before"
        in (other)
    )


def test_what_tests_have_in_common_is_shown_once() -> None:
    """Tests that share a task accept the same program."""
    reports = [replace(report(CHANGED), task=task) for task in ("one", "two")]
    assert render_acceptances(reports).splitlines()[-2:] == [
        f"two: accepted: {FILES[0]} and {FILES[1]}",
        "  the same as one",
    ]


def test_no_acceptance_no_line() -> None:
    """Tests that accept nothing are not mentioned."""
    assert lines(None) == []


@pytest.mark.parametrize("hostile", TEXTS.values(), ids=TEXTS.keys())
def test_what_a_model_wrote_is_not_sent_to_the_terminal(hostile: str) -> None:
    """Neither in an instruction nor in a demo, a line stays a line, and none is a command."""
    prompt = Prompt(hostile, hostile, ({hostile: f"{hostile}\nfake: PASS"},))
    text = render_acceptances([report(replace(CHANGED, prompts_after=(prompt,)))])
    assert printable(text) == text
    assert not any(line.startswith(("fake", "# ")) for line in text.splitlines())


def test_leftovers_are_a_line_each() -> None:
    """First what is out of date, then what belongs to no test."""
    assert render_orphans(["a is out of date"], ["__mipro__/b.*"]).splitlines() == [
        "a is out of date",
        "__mipro__/b.* belongs to no test; delete it if it is not needed",
    ]
    assert not render_orphans([], [])


def test_many_leftovers_are_counted() -> None:
    """A long list is cut, and says how much is missing."""
    shown = render_orphans([f"{n} is old" for n in range(8)], [f"{n}.*" for n in range(7)])
    assert len(shown.splitlines()) == MOST_ORPHANS + 1
    assert shown.splitlines()[-1] == "and 5 more"
    exactly = render_orphans([f"{n} is old" for n in range(MOST_ORPHANS)], [])
    assert "more" not in exactly


def test_what_was_deleted() -> None:
    """By kind, without those of which there was nothing."""
    assert render_pruned("sqlite:///a.db", 30.0, {"rows": 3, "artifacts": 1, "traces": 0}) == (
        "deleted from sqlite:///a.db, as not used for 30 days: 1 artifact, 3 rows"
    )
    assert render_pruned("sqlite:///a.db", 0.5, {}).endswith("0.5 days: nothing")
    assert render_pruned("sqlite:///a.db", 1.0, {}).endswith("1 day: nothing")
