from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
import pytest
from sessions import COMMAND, HELD_OUT, Renamed, adding, held_out, nearly_right, sums, unchanged

from pytest_mipro.errors import ProgramError, ReferenceFileError

if TYPE_CHECKING:
    from sessions import Checkout, Model

    from pytest_mipro.records import Migration
    from pytest_mipro.task import Task


def moved(checkout: Checkout, model: Model) -> Task:
    """Return the task with a model of another name, and an optimizer that changes nothing."""
    checkout.recorder.optimizer = unchanged
    return checkout.task(lm=dspy.LM("newer", engine=model, cache=False))


def migration(checkout: Checkout, task: Task) -> Migration:
    """Return what the move of a task was measured to do, from a run of its own."""
    with checkout.session() as run:
        return run.session.migration(task, checkout.location())


def test_three_programs_are_measured(accepted: Checkout) -> None:
    """The accepted one as it was and as it is answered now, and one that is compiled now."""
    model, references = adding(0, 100), accepted.references
    measured = migration(accepted, moved(accepted, model))
    assert (measured.accepted_model, measured.model) == ("scripted", "newer")
    assert measured.moves == "model scripted -> newer"
    # The accepted program has demos, with which the new model adds; the baseline has none.
    scores = [card.scores for card in (measured.accepted, measured.moved, measured.recompiled)]
    assert scores == [(1.0,) * 6, (1.0,) * 6, (0.0,) * 6]
    assert (measured.loss.difference, measured.gain.difference) == (0, -1)
    assert (measured.net.difference, measured.net.n) == (-1, 6)
    assert measured.usage.calls == model.calls == 2 * len(HELD_OUT)
    assert measured.command == COMMAND
    assert accepted.references == references


def test_a_second_run_asks_nothing(accepted: Checkout) -> None:
    """What was measured is in the store."""
    model = adding()
    first = migration(accepted, moved(accepted, model))
    paid = model.calls
    second = migration(accepted, moved(accepted, model))
    assert (model.calls, second.usage.calls) == (paid, 0)
    assert second.moved.scores == first.moved.scores


def test_examples_that_the_reference_lacks_are_not_compared(accepted: Checkout) -> None:
    """New ones are scored, and those that are gone are left out."""
    dataset = held_out(*HELD_OUT[:4], *sums(40, 2))
    task = accepted.task(dataset=dataset, lm=moved(accepted, adding()).lm)
    measured = migration(accepted, task)
    assert (len(measured.accepted.scores), len(measured.moved.scores), measured.loss.n) == (4, 6, 4)
    assert measured.gain.n == 6


def test_an_adapter_is_a_move(accepted: Checkout) -> None:
    """The model may stay."""
    accepted.recorder.optimizer = unchanged
    task = accepted.task(adapter=dspy.ChatAdapter(use_json_adapter_fallback=False))
    assert migration(accepted, task).moves == "adapter changed"


def test_without_a_move_there_is_nothing_to_measure(accepted: Checkout) -> None:
    """The error has the names of the accepted model and adapter, and the next step."""
    message = r"nothing to migrate: .*scripted, the adapter ChatAdapter .* with --mipro-lm$"
    with pytest.raises(ReferenceFileError, match=message):
        migration(accepted, accepted.task())
    assert accepted.calls == 0


@pytest.mark.parametrize(
    "change, message",
    [
        ("reference", "nothing to migrate: no reference is accepted, .* is missing; "),
        ("metric", "of another metric, .* --mipro-lm scripted$"),
        ("examples", "none of the held-out examples .* --mipro-lm scripted$"),
        ("program", "does not fit the code any more: "),
    ],
)
def test_nothing_to_compare_with_is_an_error(accepted: Checkout, change: str, message: str) -> None:
    """Before a model is asked."""
    model = adding()
    lm = moved(accepted, model).lm
    tasks = {
        "metric": accepted.task(lm=lm, metric=nearly_right),
        "examples": accepted.task(lm=lm, dataset=held_out(*sums(40, 3))),
        "program": accepted.task(lm=lm, program=Renamed()),
    }
    if change == "reference":
        accepted.location().scores.unlink()
        accepted.location().program.unlink()
        accepted.location().history.unlink()
    with pytest.raises(ReferenceFileError, match=message):
        migration(accepted, tasks.get(change, accepted.task(lm=lm)))
    assert model.calls == 0


def test_a_program_that_the_model_cannot_answer_has_no_score(accepted: Checkout) -> None:
    """Its failures are no losses."""

    class Broken(type(adding())):  # type: ignore[misc]
        def complete(self, request: object) -> object:
            response = super().complete(request)
            return dspy.lm15.Response(
                id="r",
                model=response.model,
                message=dspy.lm15.Message.assistant("no field at all"),
                finish_reason="stop",
                usage=response.usage,
            )

    model = adding()
    broken = Broken(model._engine)
    with pytest.raises(ProgramError, match="the accepted program"):
        migration(accepted, moved(accepted, broken))
