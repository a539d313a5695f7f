"""The anchor of a task: the accepted program that all later ones are compared with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.fingerprint import metric_key
from pytest_mipro.session.program_state import restore_anchor
from pytest_mipro.session.results import AnchorState
from pytest_mipro.session.rollouts import accepted_task

if TYPE_CHECKING:
    from pytest_mipro.records import Usage
    from pytest_mipro.reference import Anchor
    from pytest_mipro.session.callbacks import Callbacks
    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.scoring import Scorer


class Anchors:
    """Gives anchors with the scores of the present metric."""

    def __init__(self, scorer: Scorer, callbacks: Callbacks) -> None:
        """Take the parts of a session that an anchor may need."""
        self._scorer = scorer
        self._callbacks = callbacks

    def other_than_reference(self, context: TaskContext) -> AnchorState | None:
        """Return the anchor that the reference is compared with; None if it is the anchor itself.

        Raises:
            MiproError: As ``state``.
        """
        return None if context.anchor is None else self.state(context)

    def state(self, context: TaskContext) -> AnchorState | None:
        """Return the anchor of a task; None if nothing was accepted.

        Raises:
            MiproError: The anchor has to be scored again and cannot be.
        """
        history, location = context.history, context.location
        if history is None:
            return None
        state = AnchorState(history.anchor, len(history.acceptances), location.anchor_command)
        if not has_new_metric(context, history.anchor):
            return state
        try:
            anchor, usage = self._rescored(context, history.anchor)
        except ReferenceFileError as error:
            # It is raised when a test needs the anchor; other tests do without.
            return replace(state, error=error)
        return replace(state, anchor=anchor, rescored=True, usage=usage)

    def _rescored(self, context: TaskContext, anchor: Anchor) -> tuple[Anchor, Usage]:
        task = accepted_task(context.task)
        program = restore_anchor(anchor, task, context.location)
        self._callbacks.say(task, "the metric changed: scoring the anchor again")
        (held_out,), usage = self._scorer.evaluate(task, [program], task.dataset.test)
        card = self._scorer.scorecard(task, held_out.rows)
        metric = metric_key(task.metric, task.version)
        scores = dict(zip(card.examples, card.scores, strict=True))
        return replace(anchor, metric=metric, scores=scores), usage


def has_new_metric(context: TaskContext, anchor: Anchor | None) -> bool:
    """Whether there is an anchor whose scores are those of another metric."""
    if anchor is None:
        return False
    return anchor.metric != metric_key(context.task.metric, context.task.version)
