"""The pauses that all threads of a task keep between language model calls."""

from __future__ import annotations

import random
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from pytest_mipro.errors import InfrastructureError, StoreError
from pytest_mipro.evaluate.retry_policy import DEFAULT, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
P = ParamSpec("P")

RANDOM = random.SystemRandom()
"""Not the global generator, which a program or an optimizer may have seeded."""
JITTER = 0.5
"""Maximum random addition to a wait, as a share of it, so that threads do not resume together."""
LONGEST_WRITE = 1.0
"""Seconds after which a write to the store holds back new work: its server may be away."""
_HOLD = 0.1
"""Seconds between two checks whether the write is over."""
_SILENCE = 2.0
"""Seconds without a response after which the error of a retried call is reported."""


class Throttle:
    """Delays the calls of all threads of a task while the provider limits the rate.

    Waits decide when a row is done, never its content.

    Args:
        policy: The retry policy of the task.

    Attributes:
        writing_since: When the write to the store that is under way began; None if none is.
    """

    def __init__(self, policy: RetryPolicy = DEFAULT) -> None:
        self.policy = policy
        self.last_response = 0.0
        self.writing_since: float | None = None
        self._errors: dict[object, str] = {}
        self._paused_until = 0.0
        self._jitter = 0.0
        self._stopped = threading.Event()
        self._error: InfrastructureError | StoreError | None = None
        self._lock = threading.Lock()

    @property
    def stopped(self) -> bool:
        """Whether the run is stopping."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End all waits now, and allow no retry."""
        self._stopped.set()

    def stop_because(self, error: InfrastructureError | StoreError) -> None:
        """Stop; the first error that stops the run is that of all work which then cannot begin."""
        with self._lock:
            if not self.stopped:
                self._error = error
                self.stop()

    def give_up(
        self,
        error: InfrastructureError,
        cause: BaseException,  # ruff: ignore[unused-method-argument] - a worker reports it
        description: str,  # ruff: ignore[unused-method-argument] - the same
    ) -> None:
        """Stop because the retries of the work in ``description`` end with ``cause``."""
        self.stop_because(error)

    def stop_error(self) -> InfrastructureError | StoreError:
        """Return the error of work that does not begin because the run is stopping."""
        if self._error is None:
            return InfrastructureError("the run is stopping, so this call was not retried")
        # A new one: threads that raise the same one would write into one traceback.
        return type(self._error)(self._error.args[0])

    def wait(self, seconds: float) -> bool:
        """Wait, and return whether the run goes on."""
        return not self._stopped.wait(seconds)

    def pause(self, seconds: float) -> None:
        """Delay all calls for ``seconds``, and then start them at random times."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)
            self._jitter = JITTER * seconds

    def wait_for_pause(self) -> bool:
        """Wait until no pause is left, and return whether the run goes on."""
        while (seconds := self._paused_until - time.monotonic()) > 0:
            if not self.wait(seconds + RANDOM.uniform(0, self._jitter)):
                return False
        return True

    def wait_for_write(self) -> bool:
        """Wait while a write takes long, and return whether the run goes on.

        What is paid for meanwhile would be lost if the store's server stayed away.
        """
        while (since := self.writing_since) is not None:
            if time.monotonic() - since < LONGEST_WRITE:
                break
            if not self.wait(_HOLD):
                return False
        return not self.stopped

    def record_response(self) -> None:
        """Record that a call succeeded now."""
        self.last_response = time.monotonic()

    @property
    def provider_error(self) -> str:
        """The error of a call that is being retried; empty if other calls succeed meanwhile."""
        if time.monotonic() < self.last_response + _SILENCE:
            return ""
        with self._lock:
            return next(iter(self._errors.values()), "")

    def add_error(self, work: object, error: str) -> None:
        """Record why ``work`` is being retried."""
        with self._lock:
            self._errors[work] = error

    def remove_error(self, work: object) -> None:
        """Record that ``work`` is no longer being retried."""
        with self._lock:
            self._errors.pop(work, None)


_THROTTLE: ContextVar[Throttle | None] = ContextVar("mipro_throttle", default=None)


def current_throttle() -> Throttle:
    """Return the throttle of the work in this context, or a new one."""
    return _THROTTLE.get() or Throttle()


def throttled(throttle: Throttle, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``work(...)``, whose language model calls obey ``throttle``.

    Raises:
        InfrastructureError: The run stopped before the work began.
        StoreError: The same, because its store cannot be written.
    """
    if not throttle.wait_for_write():
        raise throttle.stop_error()
    token = _THROTTLE.set(throttle)
    try:
        return work(*args, **kwargs)
    finally:
        _THROTTLE.reset(token)
