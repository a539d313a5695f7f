"""Measure what a move to another model, adapter or DSPy does to a task; accept nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_mipro import gate
from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.fingerprint import by_part
from pytest_mipro.records import Migration
from pytest_mipro.session.moves import moves_in_words
from pytest_mipro.session.program_state import restore_accepted
from pytest_mipro.session.rollouts import accepted_task
from pytest_mipro.session.scorecards import accepted_card
from pytest_mipro.session.scoring import refuse_broken_program
from pytest_mipro.task import example_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mipro.records import PairedComparison, Scorecard, Usage
    from pytest_mipro.reference import Reference
    from pytest_mipro.session.callbacks import Callbacks
    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.results import TaskResult
    from pytest_mipro.session.scoring import Scorer
    from pytest_mipro.session.storage import Storage


@dataclass(frozen=True)
class Migrator:
    """Measures an accepted program where it is to move.

    Attributes:
        storage: The store.
        scorer: Scores programs.
        callbacks: What the session calls.
        result: Returns the result of a task, compiled or stored.
    """

    storage: Storage
    scorer: Scorer
    callbacks: Callbacks
    result: Callable[[TaskContext], TaskResult]

    def migration(self, context: TaskContext) -> Migration:
        """Return the accepted scores, those of the accepted program, and of one compiled now.

        Raises:
            ReferenceFileError: There is no reference, or it has nothing to compare with.
            MiproError: A program cannot be compiled or scored.
        """
        reference = _movable(context)
        moved, usage = self._moved_card(context, reference)
        result = self.result(context)
        recompiled = result.compiled.card
        accepted_scores = accepted_card(reference, context.task.dataset.test)
        accepted = accepted_scores.restricted_to(moved.examples)
        moves = context.fingerprint.describe_moves(by_part(reference.parts))
        return Migration(
            accepted_model=reference.model,
            model=context.task.lm.model,
            moves=moves_in_words(context) or moves,
            accepted=accepted,
            moved=moved,
            recompiled=recompiled,
            loss=_compared(accepted, moved),
            gain=_compared(moved, recompiled),
            net=_compared(accepted, recompiled),
            usage=usage + result.usage,
            compile_usage=result.artifact.usage,
            command=context.location.command,
        )

    def _moved_card(self, context: TaskContext, reference: Reference) -> tuple[Scorecard, Usage]:
        """Return the scores of the accepted program as it is answered now."""
        task = accepted_task(context.task)
        program = restore_accepted(reference, task, context.location)
        self.callbacks.say(task, f"scoring the accepted program with {task.lm.model}")
        on_wait = partial(self.callbacks.say_waiting, task)
        # Two tests of one task would pay for the same rows.
        with self.storage.lock(context.fingerprint.key, on_wait):
            (held_out,), usage = self.scorer.evaluate(task, [program], task.dataset.test)
        refuse_broken_program("the accepted program", held_out.rows)
        return self.scorer.scorecard(task, held_out.rows), usage


def _movable(context: TaskContext) -> Reference:
    """Return the reference, or raise ReferenceFileError if there is nothing to measure."""
    reference, location = context.reference, context.location
    path = location.show(location.scores)
    if reference is None:
        message = (
            f"there is nothing to migrate: no reference is accepted, {path} is missing; accept "
            f"one with the present model first, with: {location.command_for('')}"
        )
        raise ReferenceFileError(message)
    if not context.fingerprint.moves(by_part(reference.parts)):
        message = (
            f"there is nothing to migrate: the reference {path} was accepted with the model "
            f"{reference.model}, the adapter {reference.adapter} and the DSPy of this run; name "
            "another model with --mipro-lm"
        )
        raise ReferenceFileError(message)
    if context.has_new_metric:
        message = (
            f"the scores in the reference {path} are of another metric, so that nothing can be "
            "compared with them; accept anew with the accepted model first, with: "
            f"{location.command_for(reference.model)}"
        )
        raise ReferenceFileError(message)
    test = context.task.dataset.test
    if reference.compiled.keys().isdisjoint(map(example_digest, test)):
        message = (
            f"none of the held-out examples is in the reference {path}, so that nothing can be "
            "compared with it; accept anew with the accepted model first, with: "
            f"{location.command_for(reference.model)}"
        )
        raise ReferenceFileError(message)
    return reference


def _compared(earlier: Scorecard, later: Scorecard) -> PairedComparison:
    """Return the comparison of two programs on the examples that both have, in one order."""
    scores = dict(zip(later.examples, later.scores, strict=True))
    clusters = dict(zip(later.examples, later.clusters, strict=False))
    comparison = gate.compare(
        earlier.scores,
        [scores[example] for example in earlier.examples],
        clusters=[clusters[example] for example in earlier.examples] if clusters else (),
    )
    return replace(comparison, rollouts=later.rollouts)
