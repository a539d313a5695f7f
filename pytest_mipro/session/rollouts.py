"""Which rollouts a program is scored on: those of accepted programs are not those of others.

A sampled program that is accepted for its scores was lucky with them, above all if several were
tried. So an acceptance asks for rollouts that no verdict has seen, and the accepted program has
these from then on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_mipro.task import is_sampled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.policy import Policy
    from pytest_mipro.task import Task

_ACCEPTED = 1_000_000
"""The number of the first rollout that only accepted programs are scored on."""


def accepted_task(task: Task) -> Task:
    """Return ``task`` with the rollouts of accepted programs, if its model samples."""
    return replace(task, first_rollout=_ACCEPTED) if is_sampled(task.program, task.lm) else task


def scored_task(context: TaskContext, state: Mapping[str, Any], policy: Policy) -> Task:
    """Return the task with the rollouts that its compiled program in ``state`` is scored on."""
    reference = context.reference
    is_accepted = reference is not None and not context.stale and reference.state == state
    return accepted_task(context.task) if policy.update or is_accepted else context.task
