"""Estimate what a task asks of language models, without asking them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.errors import DeclarationError, ReferenceFileError
from pytest_mipro.optimize import (
    Bound,
    CallProfile,
    Estimate,
    Fit,
    may_loop,
    optimizer_of,
    tokens_per_call,
)
from pytest_mipro.session.advice import suitable_optimizers
from pytest_mipro.session.anchors import has_new_metric
from pytest_mipro.session.program_state import restore_accepted, restore_artifact
from pytest_mipro.session.references import missing_examples
from pytest_mipro.session.rollouts import scored_task
from pytest_mipro.spending import current_account
from pytest_mipro.task import OptimizerChoice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_mipro.records import Row
    from pytest_mipro.session.compiling import Compiler
    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.policy import Policy
    from pytest_mipro.session.scoring import Scorer
    from pytest_mipro.spending import Price
    from pytest_mipro.task import Task


@dataclass(frozen=True)
class PendingWork:
    """The work that a session would do for a task.

    Attributes:
        reasons: Why it would compile the task; empty if it would not.
        rows: How many held-out rows it would evaluate, at most.
    """

    reasons: tuple[str, ...]
    rows: int


def pending_work(
    context: TaskContext, compiler: Compiler, scorer: Scorer, policy: Policy
) -> PendingWork:
    """Return the work that a session with these parts would do for a task."""
    task = context.task
    again = 0
    if not policy.update:
        # Accepted programs are scored again.
        anchors = task.repeat * len(task.dataset.test) * has_new_metric(context, context.anchor)
        again = anchors + _accepted_rows(context, scorer)
    if policy.frozen:
        return PendingWork((), again + _frozen_rows(context, policy))
    artifact = compiler.stored(context.fingerprint)
    if artifact is None:
        reasons = compiler.reasons(task, context.fingerprint)
        return PendingWork(reasons, again + scorer.most_rows(task))
    task = scored_task(context, artifact.state, policy)
    compiled = restore_artifact(task, artifact)
    return PendingWork((), again + scorer.missing_rows(task, [task.program, compiled]))


def _frozen_rows(context: TaskContext, policy: Policy) -> int:
    return 2 * context.task.repeat * len(missing_examples(context, policy))


def _accepted_rows(context: TaskContext, scorer: Scorer) -> int:
    """Return how many rows of the accepted program lack a score by a present metric."""
    if context.reference is None or not context.changed_metrics:
        return 0
    try:
        program = restore_accepted(context.reference, context.task, context.location)
    except ReferenceFileError:
        return 0
    return scorer.missing_rows(context.task, [program])


def estimate_task(
    task: Task, work: PendingWork, rows: Sequence[Row], prices: Mapping[str, Price | None]
) -> Estimate | None:
    """Return the most that ``work`` asks, or None if nothing.

    Args:
        task: What a test declares.
        work: The work to estimate.
        rows: Stored rows of the task's program.
        prices: The prices of the task's models; None for a model without a price.

    Raises:
        DeclarationError: The options or the examples do not allow a compile.
    """
    profile = _call_profile(task, rows)
    bounds = _bounds(task, work, profile)
    if not any(bound.calls is None or bound.calls for bound in bounds):
        return None
    account, reasons = current_account(), ", ".join(work.reasons)
    return Estimate(
        why=f"compile: {reasons}" if reasons else f"score {work.rows} held-out rows",
        bounds=bounds,
        tokens=tokens_per_call(task.program, task.dataset.train, task.options, rows),
        prices=dict(prices),
        is_approximate=may_loop(task.program, profile.calls),
        limits=() if account is None else tuple(str(left.limit) for left in account.remaining()),
        fits=_fits(task, rows, profile) if work.reasons else (),
    )


def _fits(task: Task, rows: Sequence[Row], profile: CallProfile) -> tuple[Fit, ...]:
    """Return the optimizers that fit a task, with the bounds of those that could compile it."""
    labelled = len(task.dataset.train) + len(task.dataset.val)
    suitable = suitable_optimizers(labelled, rows)
    if not suitable.names:
        return (Fit("", suitable.reason),)
    return tuple(_fit(name, suitable.reason, task, profile) for name in suitable.names)


def _fit(name: str, reason: str, task: Task, profile: CallProfile) -> Fit:
    is_declared = name == task.optimizer.name
    choice = task.optimizer if is_declared else OptimizerChoice(name)
    try:
        bounds = optimizer_of(choice).bounds(task, profile)
    except DeclarationError as error:
        return Fit(name, str(error))
    return Fit(name, reason, bounds)


def _call_profile(task: Task, rows: Sequence[Row]) -> CallProfile:
    """Return the calls of one row, and the models that answer them."""
    teacher = task.teacher_lm or task.lm
    most_calls = max((row.usage.calls for row in rows), default=0)
    calls = max(most_calls, len(task.program.predictors()))
    return CallProfile(calls, task.lm.model, teacher.model, task.prompt_lm.model)


def _bounds(task: Task, work: PendingWork, profile: CallProfile) -> tuple[Bound, ...]:
    """Return the most that each phase asks."""
    held_out = Bound("held-out", work.rows, work.rows * profile.calls, profile.model)
    if not work.reasons:
        return (held_out,)
    return (*optimizer_of(task.optimizer).bounds(task, profile), held_out)
