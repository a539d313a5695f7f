"""What a task is going to ask, put together before anything is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.optimize import (
    Bound,
    CallProfile,
    Estimate,
    bounds_of_compile,
    loops,
    tokens_per_call,
)
from pytest_mipro.spending import current_account

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.records import Row
    from pytest_mipro.spending import Price
    from pytest_mipro.task import Task


def estimate_task(
    task: Task,
    reasons: Sequence[str],
    rows: int,
    known: Sequence[Row],
    prices: dict[str, Price | None],
) -> Estimate | None:
    """
    Return what ``task`` asks, or None if nothing.

    Args:
        task: What a test declares.
        reasons: Why it is going to be compiled; empty if it is not.
        rows: Held-out rows that are going to be evaluated, at most.
        known: Stored rows of its program.
        prices: What the models charge that may be asked.

    Raises:
        DeclarationError: The options or the examples do not allow a compile.

    """
    asked = _asked(task, known)
    bounds = _bounds(task, reasons, rows, asked)
    if not any(bound.calls for bound in bounds):
        return None
    account = current_account()
    return Estimate(
        why=f"compile: {', '.join(reasons)}" if reasons else f"score {rows} held-out rows",
        bounds=bounds,
        tokens=tokens_per_call(task.program, task.dataset.train, task.options, known),
        prices=prices,
        about=loops(task.program, asked.calls),
        limits=() if account is None else tuple(str(each.limit) for each in account.left()),
    )


def _asked(task: Task, known: Sequence[Row]) -> CallProfile:
    teacher = task.teacher_lm or task.lm
    most = max((row.usage.calls for row in known), default=0)
    calls = max(most, len(task.program.predictors()))
    return CallProfile(calls, task.lm.model, teacher.model, task.prompt_lm.model)


def _bounds(task: Task, reasons: Sequence[str], rows: int, asked: CallProfile) -> tuple[Bound, ...]:
    """Return the most that is asked, by phase."""
    held_out = Bound("held-out", rows, rows * asked.calls, asked.model)
    if not reasons:
        return (held_out,)
    dataset = task.dataset
    before = bounds_of_compile(task.program, task.options, dataset.train, dataset.val, asked)
    return (*before, held_out)
