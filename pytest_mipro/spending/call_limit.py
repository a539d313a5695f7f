"""Refuse language model calls after a limit is reached, also in the middle of a row."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dspy
from dspy.utils.callback import BaseCallback

from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.spending.meter import UsageMeter

if TYPE_CHECKING:
    from collections.abc import Generator


class CallRefused(BaseException):
    """Ends work at a call that a limit does not allow.

    It is no ``Exception``: DSPy would log it and make the call, and a program that catches
    exceptions in a loop would not end.
    """


class _CallLimit(BaseCallback):
    """Refuses the calls in its context once the account of their meter is spent."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BudgetExceeded | None = None

    def on_lm_start(
        self,
        call_id: str,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        instance: object,  # ruff: ignore[unused-method-argument]  # the same
        inputs: dict[str, Any],  # ruff: ignore[unused-method-argument]  # the same
    ) -> None:
        """Raise ``CallRefused`` if a limit is spent."""
        # Not the account of the context: DSPy passes only its own settings to its threads.
        meter = dspy.settings.usage_tracker
        if not isinstance(meter, UsageMeter):
            return
        try:
            meter.admit_call()
        except BudgetExceeded as error:
            self.error = error
            raise CallRefused from error


@contextmanager
def limited_calls() -> Generator[None]:
    """Refuse the calls in the block that would begin after a limit of the meter's account.

    Raises:
        BudgetExceeded: A call was refused, even if the block caught that.
    """
    call_limit = _CallLimit()
    try:
        with dspy.context(callbacks=[*dspy.settings.callbacks, call_limit]):
            yield
    except BaseException as error:
        if call_limit.error is not None and not isinstance(error, KeyboardInterrupt):
            raise call_limit.error from None
        raise
    if call_limit.error is not None:
        raise call_limit.error
