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

LINES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=12)


def test_a_changed_prompt() -> None:
    """Removed lines come before those that replace them; demos are a line each."""
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
    """Every line is kept, and nothing changed."""
    (route,) = prompt_changes([COMPILED_PROMPT], [COMPILED_PROMPT])
    assert route.is_none
    assert [line.mark for line in route.instruction] == [" ", " "]


def test_predictors_come_and_go() -> None:
    """One that is new has only added lines; one that is gone comes last, with removed ones."""
    new = replace(BASELINE_PROMPT, predictor="new")
    added, gone = prompt_changes([BASELINE_PROMPT], [new])
    assert (added.predictor, {line.mark for line in added.instruction}) == ("new", {"+"})
    assert (gone.predictor, {line.mark for line in gone.instruction}) == ("route", {"-"})


@given(LINES, LINES)
def test_a_diff_holds_both_texts(before: list[str], after: list[str]) -> None:
    """Without what was added it is the text before, without what was removed the one after."""
    lines = list(diff(before, after))
    assert [line.text for line in lines if line.mark != "+"] == before
    assert [line.text for line in lines if line.mark != "-"] == after


def test_a_diff_shows_what_is_near_a_change() -> None:
    """Lines that stay are shown only beside those that do not."""
    before = Prompt("p", "\n".join("abcdefg"))
    after = Prompt("p", "\n".join("abcXefg"))
    assert list(prompt_diff([before], [after])) == [
        ("", "instruction of p:"),
        ("    ", "c"),
        ("  - ", "d"),
        ("  + ", "X"),
        ("    ", "e"),
    ]
    assert not list(prompt_diff([before], [before]))


def test_instructions_come_before_demos() -> None:
    """Of all predictors, as there may be many demos; each part can be asked for."""
    demos = ({"q": "a"},)
    before = [Prompt("one", "x"), Prompt("two", "x")]
    after = [Prompt("one", "y", demos), Prompt("two", "y")]
    headings = [text for head, text in prompt_diff(before, after) if not head]
    assert headings == ["instruction of one:", "instruction of two:", "demos of one:"]
    assert list(prompt_diff(before, after, ["demos"])) == [
        ("", "demos of one:"),
        ("  + ", "q: a"),
    ]


def test_what_changed_is_named() -> None:
    """By part and predictor; what is the same is not."""
    before = [Prompt("one", "x"), Prompt("two", "x"), Prompt("three", "x")]
    after = [Prompt("one", "y", ({"q": "a"},)), Prompt("two", "x"), Prompt("three", "y")]
    assert changed_parts(prompt_changes(before, after)) == [
        "instruction and demos of one",
        "instruction of three",
    ]
