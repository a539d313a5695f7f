from __future__ import annotations

from dataclasses import replace

import pytest
from hostile import TEXTS

from pytest_mipro.escaping import printable
from pytest_mipro.records import Acceptance, Means, PairedComparison, Prompt, Report, Scorecard
from pytest_mipro.records import Usage as Cost
from pytest_mipro.report.references import (
    MOST_ORPHANS,
    render_acceptances,
    render_orphans,
    render_pruned,
)

FILES = ("__mipro__/test_x/test_router.json", "__mipro__/test_x/test_router.program.json")
COMMIT = "commit these files, so that later runs compare with them"
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
    previous=Means(50, 0.25, 0.5),
    prompts_before=OLD,
    changed=12,
    added=10,
)


def report(acceptance: Acceptance | None) -> Report:
    """Return the report of a test with this acceptance."""
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
    """Return the lines about an acceptance."""
    return render_acceptances([report(acceptance)]).splitlines()


def test_a_diff_to_the_earlier_reference() -> None:
    """An acceptance shows its files, the scores, and the diff of instruction and demos."""
    assert lines(CHANGED) == [
        f"router: accepted: {FILES[0]}, {FILES[1]}",
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
        COMMIT,
    ]


def test_the_first_is_all_new() -> None:
    """Without an earlier reference, every line of the prompt is an added one."""
    first = Acceptance("first", FILES, Means(60, 0.25, 0.75), (Prompt("classify", "One."),))
    assert lines(first) == [
        f"router: first reference: {FILES[0]}, {FILES[1]}",
        "  scores: baseline 0.250, compiled 0.750 (n = 60)",
        "  instruction of classify:",
        "    + One.",
        COMMIT,
    ]


def test_an_unchanged_reference_is_one_line() -> None:
    """A reference that stays the same has no diff."""
    assert lines(replace(CHANGED, change="unchanged")) == [
        f"router: reference unchanged: {FILES[0]}, {FILES[1]}"
    ]


def test_replaced_files_are_named_so() -> None:
    """The line says that unusable files were replaced."""
    assert (
        "in place of files that could not be used" in lines(replace(CHANGED, change="replaced"))[0]
    )


def test_counts_of_examples_and_another_metric() -> None:
    """The line counts the examples that changed, and names a change of the metric."""
    same = replace(CHANGED, changed=0, added=0)
    assert "  examples by compiled score: all the same" in lines(same)
    counts = "  examples by compiled score: 12 changed, 10 added, under another metric than before"
    assert counts in lines(replace(CHANGED, rescored=True))


def test_a_shared_diff_is_shown_once() -> None:
    """The second of two tests that share a task refers to the first."""
    reports = [replace(report(CHANGED), task=task) for task in ("one", "two")]
    assert render_acceptances(reports).splitlines()[-3:] == [
        f"two: accepted: {FILES[0]}, {FILES[1]}",
        "  the same as one",
        COMMIT,
    ]


def test_no_acceptance_no_line() -> None:
    """A test without an acceptance has no line."""
    assert lines(None) == []


@pytest.mark.parametrize("hostile", TEXTS.values(), ids=TEXTS.keys())
def test_texts_of_a_model_are_escaped(hostile: str) -> None:
    """No instruction and no demo has a control character, a line break or a command."""
    prompt = Prompt(hostile, hostile, ({hostile: f"{hostile}\nfake: PASS"},))
    text = render_acceptances([report(replace(CHANGED, prompts_after=(prompt,)))])
    assert printable(text) == text
    assert not any(line.startswith(("fake", "# ")) for line in text.splitlines())


def test_orphans_are_a_line_each() -> None:
    """References that are out of date come before those that belong to no test."""
    assert render_orphans(["a is out of date"], ["__mipro__/b.*"]).splitlines() == [
        "a is out of date",
        "__mipro__/b.* belongs to no test; delete it if it is not needed",
    ]
    assert not render_orphans([], [])


def test_many_orphans_are_counted() -> None:
    """A long list is cut, and its last line counts the rest."""
    shown = render_orphans([f"{n} is old" for n in range(8)], [f"{n}.*" for n in range(7)])
    assert len(shown.splitlines()) == MOST_ORPHANS + 1
    assert shown.splitlines()[-1] == "and 5 more"
    exactly = render_orphans([f"{n} is old" for n in range(MOST_ORPHANS)], [])
    assert "more" not in exactly


def test_deleted_rows_are_counted_by_kind() -> None:
    """A kind without deleted rows is left out."""
    assert render_pruned("sqlite:///a.db", 30.0, {"rows": 3, "artifacts": 1, "traces": 0}) == (
        "deleted from sqlite:///a.db, as not used for 30 days: 1 artifact, 3 rows"
    )
    assert render_pruned("postgresql://host/db", 30.0, {"rows": 3}) == (
        "deleted from postgresql://host/db, as not used for 30 days by any of the projects that "
        "share it: 3 rows"
    )
    assert render_pruned("sqlite:///a.db", 0.5, {}).endswith("0.5 days: nothing")
    assert render_pruned("sqlite:///a.db", 1.0, {}).endswith("1 day: nothing")
