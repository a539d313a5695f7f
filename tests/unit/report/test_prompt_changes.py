from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from summaries import BASELINE_PROMPT, COMPILED_PROMPT

from pytest_mipro.records import Prompt
from pytest_mipro.report.prompt_changes import (
    DiffLine,
    changed_parts,
    diff,
    prompt_changes,
    prompt_diff,
)

FIELDS = "Question: ${question}", "Answer: ${answer}"
LINES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=12)


def test_a_changed_prompt() -> None:
    """Removed lines come before those that replace them; a demo is one line."""
    (route,) = prompt_changes([BASELINE_PROMPT], [COMPILED_PROMPT])
    assert not route.is_none
    assert route.predictor == "route"
    assert route.instruction == (
        DiffLine("-", "Route the ticket to a team."),
        DiffLine("+", "Route the ticket to the team that owns the product."),
        DiffLine("+", "Answer with one word."),
    )
    assert route.demos == (DiffLine("+", "ticket: The app crashes | team: mobile"),)


def test_an_unchanged_prompt() -> None:
    """Every line of it is unchanged."""
    (route,) = prompt_changes([COMPILED_PROMPT], [COMPILED_PROMPT])
    assert route.is_none
    assert [line.mark for line in route.instruction] == [" ", " "]


def test_changed_fields() -> None:
    """What a prompt says of a field stands under the instruction, where it changed."""
    old = Prompt("p", "Answer.", fields=FIELDS)
    new = replace(old, fields=(FIELDS[0], "Answer: always 7"))
    (change,) = prompt_changes([old], [new])
    assert change.instruction == (
        DiffLine(" ", "Answer."),
        DiffLine(" ", "field Question: ${question}"),
        DiffLine("-", "field Answer: ${answer}"),
        DiffLine("+", "field Answer: always 7"),
    )
    (unchanged,) = prompt_changes([old], [old])
    assert unchanged.instruction == (DiffLine(" ", "Answer."),)


def test_predictors_come_and_go() -> None:
    """A new predictor has added lines only; a missing one comes last, with removed lines."""
    new = replace(BASELINE_PROMPT, predictor="new")
    added, gone = prompt_changes([BASELINE_PROMPT], [new])
    assert (added.predictor, {line.mark for line in added.instruction}) == ("new", {"+"})
    assert (gone.predictor, {line.mark for line in gone.instruction}) == ("route", {"-"})


@given(LINES, LINES)
def test_a_diff_holds_both_texts(old: list[str], new: list[str]) -> None:
    """Without added lines it is the old text, without removed lines the new one."""
    lines = list(diff(old, new))
    assert [line.text for line in lines if line.mark != "+"] == old
    assert [line.text for line in lines if line.mark != "-"] == new


def test_a_diff_shows_the_lines_next_to_a_change() -> None:
    """Unchanged lines are shown only beside changed ones."""
    old = Prompt("p", "\n".join("abcdefg"))
    new = Prompt("p", "\n".join("abcXefg"))
    assert list(prompt_diff([old], [new])) == [
        ("", "instruction of p:"),
        ("    ", "c"),
        ("  - ", "d"),
        ("  + ", "X"),
        ("    ", "e"),
    ]
    assert not list(prompt_diff([old], [old]))


def test_instructions_come_before_demos() -> None:
    """The instructions of all predictors come first; either part can be requested."""
    demos = ({"q": "a"},)
    old = [Prompt("one", "x"), Prompt("two", "x")]
    new = [Prompt("one", "y", demos), Prompt("two", "y")]
    headings = [text for head, text in prompt_diff(old, new) if not head]
    assert headings == ["instruction of one:", "instruction of two:", "demos of one:"]
    assert list(prompt_diff(old, new, ["demos"])) == [
        ("", "demos of one:"),
        ("  + ", "q: a"),
    ]


def test_changed_parts_are_named() -> None:
    """A phrase names the part and the predictor; unchanged ones have no phrase."""
    old = [Prompt("one", "x"), Prompt("two", "x"), Prompt("three", "x")]
    new = [Prompt("one", "y", ({"q": "a"},)), Prompt("two", "x"), Prompt("three", "y")]
    assert changed_parts(prompt_changes(old, new)) == [
        "instruction and demos of one",
        "instruction of three",
    ]
