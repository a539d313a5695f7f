from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sessions import (
    COMMAND,
    HELD_OUT,
    ROWS,
    Renamed,
    held_out,
    nearly_right,
    sums,
    unchanged,
    with_demos,
)

from pytest_mipro.errors import ReferenceFileError

if TYPE_CHECKING:
    from sessions import Checkout

    from pytest_mipro.task import Task

NEW_ANCHOR = f"{COMMAND} --mipro-new-anchor"


def worse(checkout: Checkout) -> Task:
    """Accept a program that answers everything wrongly, and return its task."""
    checkout.recorder.optimizer = unchanged
    task = checkout.task(seed=7)
    checkout.outcome(task, update=True)
    return task


def test_a_worse_program_is_compared_with_the_anchor(accepted: Checkout) -> None:
    """The sentence names the reference and the anchor, also in a run that asks for nothing."""
    task = worse(accepted)
    for policy in ({}, {"frozen": True}, {"update": True}):
        verdict = accepted.outcome(task, **policy).no_regression(tolerance=0.02)
        assert verdict.word == "FAIL"
        assert "nothing changed: the score is 0.000, as in the reference" in verdict.sentence
        assert "; the anchor of 2 acceptances has 1.000, difference -1.000 [" in verdict.sentence
        assert verdict.sentence.endswith(
            "worse than the anchor at alpha = 0.025; undo what changed, or accept it as the new "
            f"anchor with: {NEW_ANCHOR}"
        )


def test_a_new_anchor_is_accepted_explicitly(accepted: Checkout) -> None:
    """After that the earlier program is forgotten, but not that it was accepted."""
    task = worse(accepted)
    accepted.outcome(task, update=True, new_anchor=True)
    verdict = accepted.outcome(task).no_regression()
    assert verdict.word == "PASS"
    assert "anchor" not in verdict.sentence


def test_another_verdict_needs_no_anchor(accepted: Checkout) -> None:
    """Only ``no_regression`` is about what was accepted."""
    accepted.recorder.optimizer = unchanged
    task = accepted.task(seed=7, dataset=held_out(*sums(40, 6)))
    accepted.outcome(task, update=True)
    outcome = accepted.outcome(task)
    assert "anchor" not in outcome.beats_baseline().sentence
    with pytest.raises(ReferenceFileError) as caught:
        outcome.no_regression()
    assert str(caught.value) == (
        "none of the 6 held-out examples is among those of the anchor, so nothing keeps small "
        f"losses from adding up; accept a new anchor with: {NEW_ANCHOR}"
    )


@pytest.mark.parametrize(
    "examples, compared",
    [
        ((*HELD_OUT, *sums(40, 2)), "compared on 6 of 8 held-out examples, the anchor lacks the"),
        (HELD_OUT[:4], ""),
        ((*HELD_OUT[:4], *sums(40, 2)), "compared on 4 of 6 held-out examples, the anchor lacks"),
    ],
    ids=["added", "removed", "edited"],
)
def test_common_examples_are_compared_with_the_anchor(
    accepted: Checkout, examples: tuple[object, ...], compared: str
) -> None:
    """Examples that the anchor was not scored on are left out, and counted."""
    accepted.recorder.optimizer = unchanged
    task = accepted.task(seed=7, dataset=held_out(*examples))  # type: ignore[arg-type]
    accepted.outcome(task, update=True)
    sentence = accepted.outcome(task).no_regression().sentence
    assert "the anchor of 2 acceptances has 1.000" in sentence
    assert compared in sentence
    assert ("the anchor lacks" in sentence) is bool(compared)


@pytest.mark.parametrize("has_store", [True, False])
def test_another_metric_scores_the_anchor_again(accepted: Checkout, has_store: bool) -> None:
    """The accepted program and the anchor are scored by the present metric, with their answers."""
    worse(accepted)
    if not has_store:
        accepted.store.unlink()
    calls = accepted.calls
    task = accepted.task(metric=nearly_right, seed=7)
    outcome = accepted.outcome(task)
    line = "mipro: test_adder: the metric changed: scoring the anchor again"
    assert accepted.recorder.lines[-1] == line
    # The program of this run, the accepted one and the anchor.
    assert accepted.calls - calls == (0 if has_store else 3 * len(HELD_OUT))
    assert outcome.report().usage.calls == accepted.calls - calls
    sentence = outcome.no_regression().sentence
    assert "the metric changed since the anchor was accepted, so it was scored again" in sentence
    assert "the anchor of 2 acceptances has 1.000" in sentence


def test_an_acceptance_keeps_the_anchor_under_another_metric(accepted: Checkout) -> None:
    """To change the metric is no way to a new anchor, and the anchor is scored again only once."""
    worse(accepted)
    task = accepted.task(metric=nearly_right, seed=7)
    accepted.outcome(task, update=True)
    accepted.recorder.lines.clear()
    verdict = accepted.outcome(task).no_regression()
    assert verdict.word == "FAIL"
    assert "the anchor of 3 acceptances has 1.000" in verdict.sentence
    assert not any("scoring the anchor" in line for line in accepted.recorder.lines)


@pytest.mark.parametrize("update", [False, True])
def test_an_anchor_that_does_not_fit_is_an_error(accepted: Checkout, update: bool) -> None:
    """With other predictors and another metric there is nothing to compare, unless it is new."""
    accepted.recorder.optimizer = with_demos
    renamed = accepted.task(program=Renamed(), seed=7)
    accepted.outcome(renamed, update=True)  # The metric is the same, and so are the scores.
    task = accepted.task(program=Renamed(), seed=7, metric=nearly_right)
    message = (
        r"the anchor in .*test_adder\.history\.json has scores of another metric, and does not "
        rf"fit the code any more: .*: add, sum; accept a new anchor with: {NEW_ANCHOR}"
    )
    with pytest.raises(ReferenceFileError, match=message):
        accepted.outcome(task, update=update).no_regression()
    assert accepted.outcome(task, update=True, new_anchor=True).no_regression()


def test_a_dry_run_counts_the_anchors_rows(accepted: Checkout) -> None:
    """Both accepted programs may have to answer again under another metric."""
    worse(accepted)
    accepted.recorder.optimizer = with_demos
    estimate = accepted.estimate(accepted.task(seed=7, metric=nearly_right))
    assert estimate is not None
    rows = {bound.phase: bound.rows for bound in estimate.bounds}["held-out"]
    assert rows == 2 * len(HELD_OUT) + ROWS
