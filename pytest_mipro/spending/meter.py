"""Count the language model calls of one row, and their tokens."""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_mipro.dspy_internals import usage_tracker
from pytest_mipro.records import Usage
from pytest_mipro.spending.account import current_account

if TYPE_CHECKING:
    from pytest_mipro.spending.account import Purpose


class _Call(NamedTuple):
    model: str
    start_time: float


_CALL: ContextVar[_Call | None] = ContextVar("mipro_call", default=None)


def begin_call(model: str) -> None:
    """Record that a call of ``model`` begins in this context."""
    _CALL.set(_Call(model, time.monotonic()))


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

    def admit_call(self) -> None:
        """Let a call begin.

        Raises:
            BudgetExceeded: As ``Account.admit_call``.
        """
        if self._account is not None:
            self._account.admit_call()

    def begin_attempt(self) -> None:
        """Record that an attempt at the row begins."""
        with self._lock:
            self._earlier_usage = self.usage
            self._cached_usage = Usage()
            self._responses = 0

    def count_response(self) -> None:
        """Count a response, of a model or from a cache."""
        with self._lock:
            self._responses += 1

    def __deepcopy__(self, _memo: object) -> UsageMeter:
        """Return this meter: DSPy copies its settings for each thread."""
        return self

    def add_usage(self, model: str, entry: dict[str, Any] | None) -> None:
        """Add the usage entry of one response, as DSPy reports it."""
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
                self.seconds = (self.seconds or 0.0) + time.monotonic() - call.start_time

    def add_cached(self, model: str, entry: dict[str, Any]) -> None:
        """Add the usage entry of a cached response, without a charge."""
        if not _is_counted(entry):
            return
        usage = _usage_of(entry)
        if self._account is not None:
            usage = self._account.priced(model, usage)
        with self._lock:
            self._cached_usage += usage


def end_call() -> None:
    """Record that the call in this context has its response."""
    meter = usage_tracker()
    if isinstance(meter, UsageMeter):
        meter.count_response()


def count_cached_response(entry: dict[str, Any]) -> None:
    """Record that the call in this context has a cached response with this usage entry."""
    meter, call = usage_tracker(), _CALL.get()
    if isinstance(meter, UsageMeter) and call is not None:
        meter.add_cached(call.model, entry)


def _usage_of(entry: dict[str, Any]) -> Usage:
    return Usage(1, _tokens(entry, "prompt_tokens"), _tokens(entry, "completion_tokens"))


def _is_counted(entry: dict[str, Any]) -> bool:
    counts = [entry.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return all(isinstance(count, int) for count in counts) and any(counts)


def _tokens(entry: dict[str, Any], name: str) -> int:
    count = entry.get(name)
    return count if isinstance(count, int) else 0
