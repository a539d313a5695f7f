"""Refuse language model calls after a limit is reached, also in the middle of a row."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_mipro.dspy_internals import usage_tracker
from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.spending.meter import UsageMeter

if TYPE_CHECKING:
    from collections.abc import Generator


class CallRefused(BaseException):
    """Ends work at a call that a limit does not allow.

    It is no ``Exception``: DSPy would log it and make the call, and a program that catches
    exceptions in a loop would not end.
    """


class CallLimit:
    """Refuses calls once the account of their meter is spent.

    It is called before each call of its attempt. It is no callback of its own, because DSPy looks
    up the handler of each callback whenever a module, an adapter or a model is called.
    """

    def __init__(self) -> None:
        self.error: BudgetExceeded | None = None

    def admit(self, completions: int = 1) -> None:
        """Raise ``CallRefused`` if a limit does not allow a call for so many completions."""
        # Not the account of the context: DSPy passes only its own settings to its threads.
        meter = usage_tracker()
        if not isinstance(meter, UsageMeter):
            return
        try:
            meter.admit_call(completions)
        except BudgetExceeded as error:
            self.error = error
            raise CallRefused from error


@contextmanager
def limited_calls() -> Generator[CallLimit]:
    """Yield what refuses the calls that would begin after a limit of the meter's account.

    Raises:
        BudgetExceeded: A call was refused, even if the block caught that.
    """
    call_limit = CallLimit()
    try:
        yield call_limit
    except BaseException as error:
        if call_limit.error is not None and not isinstance(error, KeyboardInterrupt):
            raise call_limit.error from None
        raise
    if call_limit.error is not None:
        raise call_limit.error
