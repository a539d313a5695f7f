from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from scripted import ScriptedEngine
from sessions import (
    COMMAND,
    HELD_OUT,
    ROWS,
    Adder,
    Renamed,
    held_out,
    instructed,
    nearly_right,
    sums,
    unchanged,
    with_demos,
)

from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.reference import read_reference

if TYPE_CHECKING:
    import dspy
    from sessions import Checkout

    from pytest_mipro.reference import Reference
    from pytest_mipro.session import Outcome
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


def lossy(checkout: Checkout, seed: int) -> Task:
    """Return the task with another seed, by which its program is wrong now and then."""

    def optimizer(task: Task) -> dspy.Module:
        program = with_demos(task)
        assert isinstance(program, Adder)
        return instructed(program, f"Add with seed {seed}.")

    checkout.model.drift_to(ScriptedEngine(base=0, per_demo=75))
    checkout.recorder.optimizer = optimizer
    return checkout.task(seed=seed)


def accepted_reference(checkout: Checkout) -> Reference:
    """Return the accepted reference."""
    reference = read_reference(checkout.location())
    assert reference is not None
    return reference


def added_up(outcome: Outcome) -> tuple[str, float]:
    """Return how many programs a verdict adds up, in its words, and their loss."""
    sentence = outcome.no_regression(tolerance=0.02).sentence
    shown = re.search(
        r"this program(?: and the (\S+) accepted before it)? (lost|gained) (\S+) against", sentence
    )
    assert shown is not None, sentence
    return shown[1] or "", float(shown[3]) * (-1 if shown[2] == "lost" else 1)


def test_the_losses_of_accepted_programs_add_up(accepted: Checkout) -> None:
    """A verdict has those of the programs before its own, whether that is accepted or not."""
    assert accepted_reference(accepted).since_anchor.differences == ()
    differences: list[float] = []
    for seed, predecessors in enumerate(["", "one", "2"], start=20):
        task = lossy(accepted, seed)
        outcome = accepted.outcome(task)
        difference = outcome.compiled.score - 1
        if differences:
            programs, total = added_up(outcome)
            assert programs == predecessors
            assert total == pytest.approx(sum((*differences, difference)), abs=0.001)
        accepted.outcome(task, update=True)
        differences.append(difference)
        since_anchor = accepted_reference(accepted).since_anchor
        assert since_anchor.differences == pytest.approx(differences)
        # Once accepted, it has the programs before it, and not itself a second time.
        programs, total = added_up(accepted.outcome(task))
        assert programs == predecessors
        assert total == pytest.approx(sum(differences), abs=0.001)


def test_a_program_loses_only_once(accepted: Checkout) -> None:
    """Its second acceptance, with other scores, takes the place of the first."""
    accepted.outcome(lossy(accepted, 20), update=True)
    task = lossy(accepted, 21)
    accepted.outcome(task, update=True)
    first, _ = accepted_reference(accepted).since_anchor.differences
    accepted.model.drift_to(ScriptedEngine(base=0, per_demo=0))
    accepted.outcome(task, update=True, rescore=True)
    assert accepted_reference(accepted).since_anchor.differences == (first, -1.0)


def test_losses_against_other_scores_do_not_count(accepted: Checkout) -> None:
    """Neither those by another metric, nor those against an anchor that a merge replaced."""
    accepted.outcome(lossy(accepted, 20), update=True)
    task = lossy(accepted, 21)
    assert added_up(accepted.outcome(task))[0] == "one"
    rescored = replace(task, metric=nearly_right)
    assert not added_up(accepted.outcome(rescored))[0]
    scores = accepted.location().scores
    since_anchor = accepted_reference(accepted).since_anchor
    text = scores.read_text(encoding="utf-8").replace(since_anchor.anchor, "0" * 16)
    scores.write_text(text, encoding="utf-8")
    assert not added_up(accepted.outcome(task))[0]
    accepted.outcome(rescored, update=True)
    assert len(accepted_reference(accepted).since_anchor.differences) == 1


def test_a_new_anchor_starts_at_nothing(accepted: Checkout) -> None:
    """What is accepted as the new anchor has lost nothing against it."""
    for seed in (20, 21):
        accepted.outcome(lossy(accepted, seed), update=True)
    assert len(accepted_reference(accepted).since_anchor.differences) == 2
    accepted.outcome(lossy(accepted, 22), update=True, new_anchor=True)
    assert accepted_reference(accepted).since_anchor.differences == ()
    accepted.outcome(lossy(accepted, 23), update=True)
    assert len(accepted_reference(accepted).since_anchor.differences) == 1


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
    with pytest.raises(ReferenceFileError, match=message) as error:
        accepted.outcome(task, update=update).no_regression()
    # A test that asks shows its own frames, not those of its set-up.
    assert update or "_restored" not in [frame.name for frame in error.traceback]
    assert accepted.outcome(task, update=True, new_anchor=True).no_regression()


def test_a_dry_run_counts_the_anchors_rows(accepted: Checkout) -> None:
    """Both accepted programs may have to answer again under another metric."""
    worse(accepted)
    accepted.recorder.optimizer = with_demos
    estimate = accepted.estimate(accepted.task(seed=7, metric=nearly_right))
    assert estimate is not None
    rows = {bound.phase: bound.rows for bound in estimate.bounds}["held-out"]
    assert rows == 2 * len(HELD_OUT) + ROWS
