"""Let a test call the programs of its outcome, with the model of its task, and count that."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import dspy

from pytest_mipro.dspy_internals import metered_calls
from pytest_mipro.spending import UsageMeter

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_mipro.spending import Account
    from pytest_mipro.task import Task


@contextmanager
def asking_model_of(task: Task) -> Generator[None]:
    """Run the block with the model and the adapter of ``task``."""
    adapter = dspy.settings.adapter if task.adapter is None else task.adapter
    with dspy.context(lm=task.lm, adapter=adapter):
        yield


@contextmanager
def counted_calls(task: Task, account: Account) -> Generator[None]:
    """Run the block, the body of a test, with the model of ``task``; charge ``account``."""
    with asking_model_of(task), account.current():
        # The limits are for the verdict: a test that makes no call needs nothing of them.
        meter = UsageMeter("test", is_row=False)
        with dspy.context(**metered_calls(meter)):
            yield
