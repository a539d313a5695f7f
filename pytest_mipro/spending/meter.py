"""Count the language model calls of one row, and their tokens."""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_mipro.dspy_internals import usage_tracker
from pytest_mipro.records import Usage
from pytest_mipro.spending.account import current_account

if TYPE_CHECKING:
    from pytest_mipro.spending.account import Purpose


@dataclass
class _Call:
    """A call for one or more completions, and how many of them have been charged."""

    model: str
    completions: int = 1
    start_time: float = field(default_factory=time.monotonic)
    charged: int = 0


_CALL: ContextVar[_Call | None] = ContextVar("mipro_call", default=None)


def begin_call(model: str, completions: int = 1) -> None:
    """Record that a call of ``model`` begins in this context; each completion counts as a call."""
    _CALL.set(_Call(model, completions))


class UsageMeter:
    """Replaces DSPy's usage tracker in the context of one row.

    DSPy reports to it each response of a model, and no response from a cache.

    Attributes:
        usage: The usage of all calls.
        seconds: Their duration, summed; None if no call has a recorded beginning.
    """

    def __init__(self, purpose: Purpose | None = None, *, is_row: bool = True) -> None:
        """Start at zero, if the current account admits the row.

        Args:
            purpose: The purpose of the calls; None stands for the account's stage.
            is_row: Whether the calls are those of a row; others need no admission.

        Raises:
            BudgetExceeded: As ``Account.admit``.
            ModelError: As ``Account.admit``.
        """
        self._purpose = purpose
        self._account = current_account()
        if self._account is not None and is_row:
            self._account.admit()
        self._lock = threading.Lock()
        self._earlier_usage = Usage()
        self._cached_usage = Usage()
        self._responses = 0
        self._is_uncounted = False
        self.usage = Usage()
        self.seconds: float | None = None

    @property
    def spent(self) -> Usage | None:
        """The usage of the last attempt, cached responses included.

        None if it is unknown: a cached response has no usage, or the provider did not count.
        """
        last_attempt = self.usage - self._earlier_usage + self._cached_usage
        if self._is_uncounted:
            return None
        if last_attempt.calls >= self._responses:
            return last_attempt
        # DSPy's cache had the responses that an earlier attempt has paid for.
        return self.usage if self.usage.calls == self._responses else None

    def admit_call(self, completions: int = 1) -> None:
        """Let a call for so many completions begin.

        Raises:
            BudgetExceeded: As ``Account.admit_call``.
        """
        if self._account is not None:
            self._account.admit_call(completions)

    def begin_attempt(self) -> None:
        """Record that an attempt at the row begins."""
        with self._lock:
            self._earlier_usage = self.usage
            self._cached_usage = Usage()
            self._responses = 0

    def count_response(self, completions: int = 1) -> None:
        """Count a response, of a model or from a cache."""
        with self._lock:
            self._responses += completions

    def add_completions(self, model: str, count: int) -> None:
        """Add the calls of further completions, whose tokens an earlier entry has."""
        usage = Usage(count)
        if self._account is not None:
            usage = self._account.charge(self._purpose or self._account.stage, model, usage)
        with self._lock:
            self.usage += usage

    def __deepcopy__(self, _memo: object) -> UsageMeter:
        """Return this meter: DSPy copies its settings for each thread."""
        return self

    def add_usage(self, model: str, entry: dict[str, Any] | None) -> None:
        """Add the usage entry of one response, as DSPy reports it.

        DSPy reports the completions of a call together, or one by one if the call fails.
        """
        entry = entry or {}
        usage = _usage_of(entry)
        account = self._account
        if account is not None:
            usage = account.charge(self._purpose or account.stage, model, usage)
        call = _CALL.get()
        with self._lock:
            self.usage += usage
            self._is_uncounted |= not _is_counted(entry)
            if call is not None:
                call.charged += 1
                self.seconds = (self.seconds or 0.0) + time.monotonic() - call.start_time

    def add_cached(self, model: str, entry: dict[str, Any], completions: int = 1) -> None:
        """Add the usage entry of a cached response, without a charge."""
        if not _is_counted(entry):
            return
        usage = _usage_of(entry, completions)
        if self._account is not None:
            usage = self._account.priced(model, usage)
        with self._lock:
            self._cached_usage += usage


def end_call() -> None:
    """Record that the call in this context has its response."""
    meter, call = usage_tracker(), _CALL.get()
    if not isinstance(meter, UsageMeter):
        return
    if call is None:
        meter.count_response()
        return
    meter.count_response(call.completions)
    if 0 < call.charged < call.completions:
        meter.add_completions(call.model, call.completions - call.charged)
        call.charged = call.completions


def count_cached_response(entry: dict[str, Any]) -> None:
    """Record that the call in this context has a cached response with this usage entry."""
    meter, call = usage_tracker(), _CALL.get()
    if isinstance(meter, UsageMeter) and call is not None:
        meter.add_cached(call.model, entry, call.completions)


def _usage_of(entry: dict[str, Any], calls: int = 1) -> Usage:
    return Usage(calls, _tokens(entry, "prompt_tokens"), _tokens(entry, "completion_tokens"))


def _is_counted(entry: dict[str, Any]) -> bool:
    counts = [entry.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return all(isinstance(count, int) for count in counts) and any(counts)


def _tokens(entry: dict[str, Any], name: str) -> int:
    count = entry.get(name)
    return count if isinstance(count, int) else 0
