"""Accept the outcome of a task as its reference, with its place in the history."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_mipro import gate
from pytest_mipro.canonical import digest
from pytest_mipro.records import Usage
from pytest_mipro.reference import Anchor, accept_reference, first_history, write_history
from pytest_mipro.session.program_state import field_names, restore_accepted
from pytest_mipro.session.results import AnchorState, ReferenceProgram, ReferenceState
from pytest_mipro.session.scorecards import accepted_card, accepted_further_cards, reference_of
from pytest_mipro.task import is_sampled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.canonical import JSON
    from pytest_mipro.records import Scorecard
    from pytest_mipro.reference import History, LedgerEntry, Reference
    from pytest_mipro.session.anchors import Anchors
    from pytest_mipro.session.callbacks import Callbacks
    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.policy import Policy
    from pytest_mipro.session.results import TaskResult
    from pytest_mipro.task import Task


class Acceptor:
    """Makes outcomes references; nothing else writes them."""

    def __init__(self, anchors: Anchors, policy: Policy, callbacks: Callbacks) -> None:
        """Take the parts of a session that an acceptance may need."""
        self._anchors = anchors
        self._policy = policy
        self._callbacks = callbacks

    def accept(
        self, context: TaskContext, result: TaskResult, looks: Mapping[str, LedgerEntry]
    ) -> ReferenceState:
        """Make ``result`` the reference of its test.

        Args:
            context: The task, and what was accepted before.
            result: The outcome to accept.
            looks: All looks at its held-out examples.

        Raises:
            MiproError: The files cannot be written, or the anchor cannot be scored.
        """
        task, location = context.task, context.location
        anchor = None if self._policy.new_anchor else self._scored_anchor(context)
        reference = self._reference(context, result)
        acceptance = accept_reference(
            location,
            reference,
            context.reference,
            fields=field_names(task.program),
            replaces=context.is_damaged,
        )
        clusters = result.compiled.card.clusters
        accepted = replace(accepted_card(reference, task.dataset.test), clusters=clusters)
        next_anchor = self._next_anchor(task, reference, accepted, anchor)
        history = _next_history(context.history, reference, next_anchor, looks)
        if history != context.history:
            write_history(location, history)
        load = partial(restore_accepted, reference, task, location)
        return ReferenceState(
            location,
            ReferenceProgram(accepted, load, further=accepted_further_cards(reference, task)),
            replace(acceptance, files=tuple(map(location.show, location.files))),
            usage=Usage() if anchor is None else anchor.usage,
            anchor=_state(context, history, reference, anchor),
        )

    def _scored_anchor(self, context: TaskContext) -> AnchorState | None:
        """Return the anchor with scores of the present metric, or raise its error."""
        state = self._anchors.state(context)
        if state is not None and state.error is not None:
            raise state.error
        return state

    def _reference(self, context: TaskContext, result: TaskResult) -> Reference:
        """Return ``result`` as a reference; a sampled program keeps the scores that it has there.

        Otherwise a program that is accepted again and again would have the best of
        several scores in the end.
        """
        task, accepted = context.task, context.reference
        reference = reference_of(task, context.fingerprint, context.location.test, result)
        is_same = (
            accepted is not None
            and not self._policy.rescore
            and is_sampled(task.program, task.lm)
            and _program_of(accepted) == _program_of(reference)
        )
        if not is_same or accepted is None:
            return reference
        new = context.new_further_metrics
        further = {
            name: scores if name in new else accepted.further[name]
            for name, scores in reference.further.items()
        }
        return replace(accepted, further=further)

    def _next_anchor(
        self, task: Task, reference: Reference, accepted: Scorecard, state: AnchorState | None
    ) -> Anchor:
        """Return the anchor from now on: it moves up by itself, and down only if told to."""
        if state is None:
            return Anchor.of(reference)
        if not gate.is_shown_better(state.card, accepted):
            return state.anchor
        scores = f"{state.card.score:.3f} to {accepted.score:.3f}"
        self._callbacks.say(task, f"shown to be better, it is the new anchor: {scores}")
        return Anchor.of(reference)


def _next_history(
    history: History | None,
    reference: Reference,
    anchor: Anchor,
    looks: Mapping[str, LedgerEntry],
) -> History:
    """Return the history after an acceptance."""
    return (history or first_history(reference)).accepting(reference, anchor, looks)


def _state(
    context: TaskContext, history: History, reference: Reference, earlier: AnchorState | None
) -> AnchorState | None:
    """Return the anchor that the accepted program is compared with; None if it is the anchor."""
    if history.anchor.acceptance == reference.identity:
        return None
    return AnchorState(
        history.anchor,
        len(history.acceptances),
        context.location.anchor_command,
        rescored=earlier is not None and earlier.rescored,
    )


def _program_of(reference: Reference) -> JSON:
    """Return what decides the scores of an accepted program, apart from chance."""
    examples: list[JSON] = [*sorted(reference.compiled)]
    return [reference.key, digest(reference.state), reference.metric, examples]
