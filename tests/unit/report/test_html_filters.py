from __future__ import annotations

from dataclasses import replace

import pytest
import summaries

from pytest_mipro.records import ExampleResult, Scorecard, Usage
from pytest_mipro.report.html_filters import (
    Excerpt,
    Limits,
    change_counts,
    changed_prompt,
    cost_cells,
    earlier_programs,
    excerpt,
    numbered_examples,
    result_excerpt,
    score_counts,
    scorecards,
    unfolded,
)

LIMITS = Limits(rows=10, characters=1000)


def test_a_long_text_is_folded_and_cut() -> None:
    """A text beyond its first lines is folded, and one beyond the limit is counted."""
    long = excerpt("word " * 300, LIMITS)
    assert long.head == "word " * 48
    assert long.head + long.rest == "word " * 200
    assert (long.left, long.hidden) == (500, 1260)
    assert excerpt("a\n" * 20, LIMITS).head == "a\n" * 6
    assert excerpt("short", LIMITS) == Excerpt("short")


def test_a_text_worth_reading_is_not_folded() -> None:
    """It is cut at four times the limit of others."""
    assert unfolded("x" * 4000, LIMITS) == Excerpt("x" * 4000)
    assert unfolded("x" * 4001, LIMITS) == Excerpt("x" * 4000, "", 1)


def test_a_traceback_is_behind_its_failure() -> None:
    """The head of a result has the answers and the failure, and the rest the traceback."""
    result = ExampleResult(0.5, ({"team": "a"}, None), (summaries.FAILURE,))
    shown = result_excerpt(result, LIMITS)
    assert shown.head == "1. team: a\nValueError: no team called 'x'"
    assert shown.rest == f"\n{summaries.FAILURE.traceback}"
    assert result_excerpt(ExampleResult(0.5), LIMITS) == Excerpt("(not kept)")


def test_programs_without_scores_have_no_scorecard() -> None:
    """A reference with no score for these examples is left out of tables and charts."""
    empty = summaries.report(accepted=Scorecard((), (), Usage()))
    assert list(scorecards(empty)) == list(score_counts(empty).counts) == ["baseline", "compiled"]
    assert summaries.REGRESSED.report is not None
    assert list(scorecards(summaries.REGRESSED.report)) == ["baseline", "compiled", "accepted"]


def test_examples_are_numbered_in_their_split() -> None:
    """The worst examples come first, each with its number in the split."""
    outcome = summaries.report()
    assert [number for number, _ in numbered_examples(outcome)] == [2, 4, 1, 3]
    assert change_counts(numbered_examples(outcome), "baseline") == {
        "all": 4,
        "worse": 1,
        "better": 1,
        "same": 2,
        "new": 0,
        "failed": 1,
    }


def test_an_example_without_an_accepted_score_is_new() -> None:
    """It is new only where examples are compared with the reference."""
    numbered = [(1, summaries.held_out(1.0, 0.0))]
    assert change_counts(numbered, "accepted")["new"] == 1
    assert change_counts(numbered, "baseline")["worse"] == 1


def test_the_changed_prompt_in_words() -> None:
    """A phrase names the changed parts, or says that nothing changed."""
    outcome = summaries.report()
    same = replace(outcome, prompts_before=outcome.prompts_after)
    assert changed_prompt(same) == "the prompt is that of the baseline"
    assert changed_prompt(outcome) == (
        "changed in the prompt since the baseline: instruction and demos of route"
    )


def test_prompts_are_compared_with_the_earlier_program_first() -> None:
    """A reference without prompts is left out."""
    assert [name for name, _ in earlier_programs(summaries.report())] == ["baseline"]
    assert summaries.REGRESSED.report is not None
    names = [name for name, _ in earlier_programs(summaries.REGRESSED.report)]
    assert names == ["reference", "baseline"]


@pytest.mark.parametrize(
    "usage, examples, cells",
    [
        (Usage(), None, ("none", "none", "none")),
        (Usage(1234, 56000, 7000), None, ("1,234", "63,000", "unknown")),
        (Usage(4, 400, 80, priced=4, usd=0.002), 4, ("1.0", "120", "$0.000500")),
    ],
)
def test_costs_in_cells(usage: Usage, examples: int | None, cells: tuple[str, str, str]) -> None:
    """Costs are those of one example, or of all without a count; unknown ones are named so."""
    assert cost_cells(usage, examples) == cells
