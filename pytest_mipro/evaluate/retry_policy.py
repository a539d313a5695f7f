"""
Asking again: what a provider cannot answer just now is asked once more, later.

How often and how long is a ``RetryPolicy``. All threads of a task share a
``Throttle``: when one of them meets a rate limit, none begins another call until
that one's wait is over. Waiting decides when a row is done, never what is in
it. The loop itself is tenacity's.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import dspy
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from pytest_mipro.errors import InfrastructureError
from pytest_mipro.evaluate.failures import (
    CallWatch,
    infrastructure_cause,
    is_passing,
    is_rate_limit,
    named,
    retry_after,
    surface,
)
from pytest_mipro.spending import begin_call, cached_price_list, end_call

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

_CHANCE = random.SystemRandom()
"""Apart from the random numbers that a program or an optimizer may have seeded."""
_SILENCE = 2.0
"""Seconds without an answer after which it is worth a word that some are asked again."""
_JITTER = 0.5
"""How much longer a wait may get, as a share of it, so that threads do not go on together."""


@dataclass(frozen=True)
class RetryPolicy:
    """
    How long a run puts up with a provider that does not answer.

    Waits double from one to the next, and get longer by up to a half at
    random. Where the provider says how long to wait (``Retry-After``), the
    first wait is that long.

    A rate limit is put up with for as long as other calls are answered, and
    ``total`` seconds more; other provider_error for ``attempts`` and ``total``.

    Attributes:
        attempts: How often one row is asked at most, rate limits aside.
        first_wait: Seconds before it is asked again, unless the provider says.
        longest_wait: Most seconds of one wait before it is lengthened, whatever
            the provider says.
        total: Seconds after which one row is given up, from its first failure.

    """

    attempts: int = 10
    first_wait: float = 0.5
    longest_wait: float = 60.0
    total: float = 300.0


DEFAULT = RetryPolicy()
"""What a run has, unless it is told otherwise."""


class Throttle:
    """
    When a model may be asked: at once, after a pause that all keep, or never again.

    Args:
        patience: How long to wait for a provider.

    """

    def __init__(self, patience: RetryPolicy = DEFAULT) -> None:
        self.patience = patience
        self.answered_at = 0.0
        self._troubles: dict[object, str] = {}
        self._until = 0.0
        self._spread = 0.0
        self._stopped = threading.Event()
        self._reason = "the run is stopping; this was not asked again"
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Throttle], tuple[RetryPolicy]]:
        # Another process keeps a pace of its own: locks and clocks stay here.
        return Throttle, (self.patience,)

    @property
    def stopped(self) -> bool:
        """Whether nothing is to be asked again."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Ask nothing again, and end all waits now."""
        self._stopped.set()

    def fail(self, reason: InfrastructureError) -> None:
        """Stop, as nothing can be asked; the first reason is everybody's."""
        with self._lock:
            if not self.stopped:
                self._reason = str(reason.args[0])
                self.stop()

    def given_up(self) -> InfrastructureError:
        """Return the error of what is not asked any more."""
        return InfrastructureError(self._reason)

    def rest(self, seconds: float) -> bool:
        """Wait, and say whether to go on afterwards."""
        return not self._stopped.wait(seconds)

    def pause(self, seconds: float) -> None:
        """Let no call begin for so long, and then one after the other."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)
            self._spread = _JITTER * seconds

    def hold(self) -> bool:
        """Wait until a call may begin, and say whether to go on."""
        while (left := self._until - time.monotonic()) > 0:
            if not self.rest(left + _CHANCE.uniform(0, self._spread)):
                return False
        return True

    def answered(self) -> None:
        """Take note that the provider answers."""
        self.answered_at = time.monotonic()

    @property
    def provider_error(self) -> str:
        """What a model that is asked again said, if there is no answer by others either."""
        if time.monotonic() < self.answered_at + _SILENCE:
            return ""
        with self._lock:
            return next(iter(self._troubles.values()), "")

    def trip(self, asker: object, provider_error: str) -> None:
        """Take note that ``asker`` has to ask again, and why."""
        with self._lock:
            self._troubles[asker] = provider_error

    def recover(self, asker: object) -> None:
        """Take note that ``asker`` is through."""
        with self._lock:
            self._troubles.pop(asker, None)


_PACE: ContextVar[Throttle | None] = ContextVar("mipro_pace", default=None)


def throttled(pace: Throttle, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Return ``work(...)``; whatever it asks persistently is asked at ``pace``.

    Raises:
        InfrastructureError: The run is stopping, and this has not begun.

    """
    if pace.stopped:
        raise pace.given_up()
    token = _PACE.set(pace)
    try:
        return work(*args, **kwargs)
    finally:
        _PACE.reset(token)


def retry_lm_errors(work: Callable[[], T], doing: str) -> T:
    """
    Return ``work()``, tried again while a language model cannot be asked.

    Each time it has a trace of its own in DSPy's settings. An error of a model
    is found out also if ``work`` swallows it.

    Args:
        work: Asks language models.
        doing: What it does, for the message.

    Raises:
        InfrastructureError: A model could not be asked, and asking again did
            not help or would not.

    """
    effort = _Attempts(_PACE.get() or Throttle())
    try:
        done: T = effort.retrying()(effort.attempt, work)
    except _Unanswered as unanswered:
        error = surface(unanswered.error, doing, effort.account)
        # Now, not when the run hears of it: by then others would have asked in vain.
        effort.pace.fail(error)
        raise error from unanswered.__cause__
    finally:
        effort.pace.recover(effort)
    return done


class _Unanswered(Exception):
    """An attempt that failed because of a language model."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(named(error))
        self.error = error


class _Attempts:
    """One piece of work, until it is done or patience is spent."""

    def __init__(self, pace: Throttle) -> None:
        self.pace = pace
        self._tried = 0
        self._tripped = 0
        self._failed_at: float | None = None

    @property
    def account(self) -> str:
        """How often the model was asked, if more than once."""
        if self._tried == 1 or self._failed_at is None:
            return ""
        seconds = time.monotonic() - self._failed_at
        return f"asked {self._tried} times, over {seconds:.0f} s"

    def retrying(self) -> Retrying:
        """Return tenacity's loop."""
        return Retrying(
            retry=retry_if_exception(_may_pass),
            wait=self._wait,
            stop=self._is_spent,
            before_sleep=self._announce,
            sleep=self._sleep,
            reraise=True,
        )

    def attempt(self, work: Callable[[], T]) -> T:
        """Try once; whatever a model could not answer is an ``_Unanswered``."""
        if not self.pace.hold():
            raise self.pace.given_up()
        self._tried += 1
        watch = CallWatch(self._begin, self._end)
        settings = {"callbacks": [*dspy.settings.callbacks, watch], "trace": []}
        with cached_price_list(), dspy.context(**settings):
            try:
                done = work()
            except Exception as error:  # The user's code may raise anything; it is sorted here.
                cause = watch.error or infrastructure_cause(error)
                if cause is None:
                    raise
                raise _Unanswered(cause) from error
        if watch.error is not None:
            raise _Unanswered(watch.error) from watch.error
        return done

    def _begin(self, model: str) -> None:
        self.pace.hold()
        begin_call(model)

    def _end(self) -> None:
        self.pace.answered()
        end_call()

    def _wait(self, state: RetryCallState) -> float:
        patience = self.pace.patience
        first = retry_after(_error_of(state)) or patience.first_wait
        doubling = wait_exponential(multiplier=first, max=patience.longest_wait)
        return doubling(state) * _CHANCE.uniform(1, 1 + _JITTER)

    def _is_spent(self, state: RetryCallState) -> bool:
        patience, now = self.pace.patience, time.monotonic()
        since = self._failed_at = now if self._failed_at is None else self._failed_at
        if is_rate_limit(_error_of(state)):
            since = max(since, self.pace.answered_at)
        else:
            self._tripped += 1
        late = now + state.upcoming_sleep > since + patience.total
        return late or self._tripped >= patience.attempts or self.pace.stopped

    def _announce(self, state: RetryCallState) -> None:
        error, seconds = _error_of(state), state.upcoming_sleep
        provider_error = named(error)
        self.pace.trip(self, provider_error)
        if is_rate_limit(error):
            self.pace.pause(seconds)
        logger.info("asking again in %.1f s (%d. time): %s", seconds, self._tried, provider_error)

    def _sleep(self, seconds: float) -> None:
        if not self.pace.rest(seconds):
            raise self.pace.given_up()


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, _Unanswered) and is_passing(error.error)


def _error_of(state: RetryCallState) -> BaseException:
    failed = state.outcome.exception() if state.outcome else None
    if not isinstance(failed, _Unanswered):
        raise AssertionError(failed)
    return failed.error
