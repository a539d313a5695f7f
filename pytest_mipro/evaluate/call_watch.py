"""Watch the language model calls of an attempt: their first error, and whether one is overdue."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from dspy.utils.callback import BaseCallback

from pytest_mipro.evaluate.failures import infrastructure_cause, is_caused_by_prompt, overdue_error
from pytest_mipro.evaluate.replies import ReplyLog
from pytest_mipro.redaction import SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable

_GRACE_PERIOD = 1.0
"""Seconds after a call's timeout in which the client may raise its own error."""
_LONGEST_RETRY_WAIT = 60.0
"""Most seconds that DSPy waits before it repeats a call by itself."""


class AttemptOver(BaseException):
    """Ends an attempt, whose result is discarded anyway, at its next call.

    It is no ``Exception``: DSPy would log it and make the call, and a program that catches
    exceptions in a loop would not end.
    """


def _do_nothing(*_: object) -> None:
    pass


class CallWatch(BaseCallback):
    """Records the first error of a language model call, even if the program catches it.

    After an error no further call begins.

    Args:
        before_call: Called with the name of the model and the number of completions before each
            call, which begins when this returns.
        after_response: Called after each call that succeeded.
        replies: The faults of the replies so far.
    """

    def __init__(
        self,
        before_call: Callable[[str, int], object] = _do_nothing,
        after_response: Callable[[], object] = _do_nothing,
        replies: ReplyLog | None = None,
    ) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._before_call = before_call
        self._after_response = after_response
        self._replies = ReplyLog() if replies is None else replies
        self._deadlines: dict[str, float] = {}

    def on_lm_start(self, call_id: str, instance: object, inputs: dict[str, Any]) -> None:
        """Report a call that is about to begin."""
        if self.error is not None:
            raise AttemptOver
        SECRETS.add_from_model(instance)  # An error of the provider may cite them.
        options = {**getattr(instance, "kwargs", {}), **(inputs.get("kwargs") or {})}
        self._before_call(str(getattr(instance, "model", "")), _completions(options))
        seconds = longest_duration(instance, options)
        if seconds is not None:
            self._deadlines[call_id] = time.monotonic() + seconds

    def on_lm_end(
        self,
        call_id: str,
        outputs: object,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        exception: BaseException | None = None,
    ) -> None:
        """Report a response, or keep the first error that the program did not cause."""
        self._deadlines.pop(call_id, None)
        error = self._replies.error if exception is None else exception
        if error is None:
            self._after_response()
        elif self.error is None and isinstance(error, Exception):
            is_ours = is_caused_by_prompt(error)
            # DSPy does not convert the errors of a model of the user's own class.
            self.error = infrastructure_cause(error) or (None if is_ours else error)

    def is_overdue(self) -> bool:
        """Whether a call takes longer than it may; the error then says so."""
        # A copy, because calls begin and end in other threads.
        deadlines = self._deadlines.copy().values()
        if min(deadlines, default=math.inf) > time.monotonic():
            return False
        self.error = self.error or overdue_error()
        return True


def longest_duration(lm: object, options: dict[str, Any]) -> float | None:
    """Return the seconds that a call may take in all, or None if nothing limits it.

    A client applies its timeout to each read, so that a server which sends a byte now and then
    could hold a call without end.

    Args:
        lm: The language model; it may have a timeout, and repeat calls by itself.
        options: The options of the call, those of the model included.
    """
    timeout = options.get("timeout")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        return None
    retries = getattr(lm, "num_retries", 0)
    seconds = (1 + retries) * timeout + retries * _LONGEST_RETRY_WAIT
    return float(_completions(options) * seconds) + _GRACE_PERIOD


def _completions(options: dict[str, Any]) -> int:
    """Return how many completions a call asks for; DSPy refuses what is no such number."""
    count = options.get("n")
    return count if isinstance(count, int) and count > 1 else 1
