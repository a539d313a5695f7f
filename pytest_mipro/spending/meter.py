"""Counting what language models were really asked."""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import dspy

from pytest_mipro.records import Usage
from pytest_mipro.spending.account import current_account

if TYPE_CHECKING:
    from pytest_mipro.spending.account import Purpose


class _Call(NamedTuple):
    model: str
    began: float


_CALL: ContextVar[_Call | None] = ContextVar("mipro_call", default=None)


def begin_call(model: str) -> None:
    """Take note that ``model`` is asked now, in this context."""
    _CALL.set(_Call(model, time.monotonic()))


class UsageMeter:
    """
    Stands in for DSPy's usage tracker in the context of one row.

    DSPy reports to it every answer that came from a model, and none that came
    from a cache.

    Attributes:
        usage: What was asked.
        seconds: How long those calls took together; None without any whose
            beginning is known.

    """

    def __init__(self, purpose: Purpose | None = None) -> None:
        """
        Start at nothing, if the account that is charged allows it.

        Args:
            purpose: What is asked for; None goes by the account's stage.

        Raises:
            BudgetExceeded: What may be spent is spent.
            ModelError: As ``Account.admit``.

        """
        self._purpose = purpose
        self._account = current_account()
        if self._account is not None:
            self._account.admit()
        self._lock = threading.Lock()
        self._before = Usage()
        self._recalled = Usage()
        self._answered = 0
        self._uncounted = False
        self.usage = Usage()
        self.seconds: float | None = None

    @property
    def spent(self) -> Usage | None:
        """
        What the last attempt took, as if it had been the first.

        None where that is not known: an answer came from a cache that does not
        say, or the provider did not count.
        """
        last = self.usage - self._before + self._recalled
        if self._uncounted:
            return None
        if last.calls >= self._answered:
            return last
        # What an attempt before it has paid for came from DSPy's cache.
        return self.usage if self.usage.calls == self._answered else None

    def begin_attempt(self) -> None:
        """Take note that the work begins, or begins again."""
        with self._lock:
            self._before = self.usage
            self._recalled = Usage()
            self._answered = 0

    def note_answer(self) -> None:
        """Take note that a call was answered, by a model or from a cache."""
        with self._lock:
            self._answered += 1

    def __deepcopy__(self, _memo: object) -> UsageMeter:
        """Stay one meter where DSPy copies its settings for a thread."""
        return self

    def add_usage(self, model: str, entry: dict[str, Any] | None) -> None:
        """Take one answer's usage entry, as DSPy hands it over."""
        entry = entry or {}
        call = _usage_of(entry)
        account = self._account
        if account is not None:
            call = account.charge(self._purpose or account.stage, model, call)
        asked = _CALL.get()
        with self._lock:
            self.usage += call
            self._uncounted |= not _is_counted(entry)
            if asked is not None:
                self.seconds = (self.seconds or 0.0) + time.monotonic() - asked.began

    def add_recalled(self, model: str, entry: dict[str, Any]) -> None:
        """Take what an answer from a cache took when it was asked for: not charged again."""
        if not _is_counted(entry):
            return
        call = _usage_of(entry)
        if self._account is not None:
            call = self._account.priced(model, call)
        with self._lock:
            self._recalled += call


def end_call() -> None:
    """Take note that a call was answered, in this context."""
    meter = dspy.settings.usage_tracker
    if isinstance(meter, UsageMeter):
        meter.note_answer()


def recall(entry: dict[str, Any]) -> None:
    """Take note that the call in this context was answered from a cache that knows its usage."""
    meter, asked = dspy.settings.usage_tracker, _CALL.get()
    if isinstance(meter, UsageMeter) and asked is not None:
        meter.add_recalled(asked.model, entry)


def _usage_of(entry: dict[str, Any]) -> Usage:
    return Usage(1, _tokens(entry, "prompt_tokens"), _tokens(entry, "completion_tokens"))


def _is_counted(entry: dict[str, Any]) -> bool:
    numbers = [entry.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return all(isinstance(each, int) for each in numbers) and any(numbers)


def _tokens(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    return value if isinstance(value, int) else 0
