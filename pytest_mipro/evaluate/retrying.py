"""Retry work whose language model calls failed."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import dspy

from pytest_mipro.dspy_internals import quick_calls, with_model_callbacks
from pytest_mipro.escaping import escaped_line
from pytest_mipro.evaluate.call_watch import AttemptOver, CallWatch
from pytest_mipro.evaluate.failures import (
    infrastructure_cause,
    infrastructure_error,
    is_rate_limit,
    is_temporary,
    overdue_error,
    retry_after,
    type_and_message,
)
from pytest_mipro.evaluate.replies import ReplyLog
from pytest_mipro.evaluate.reported_error import ReportedError
from pytest_mipro.evaluate.supervision import WorkHangs, supervised
from pytest_mipro.evaluate.throttle import JITTER, RANDOM, Throttle, current_throttle
from pytest_mipro.spending import begin_call, end_call, limited_calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState, Retrying

    from pytest_mipro.spending import CallLimit

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PARSER_FAULT = "recursion depth mismatch"
"""What the parser of Python 3.11, with which DSPy reads signatures and values, says now and then
where several threads use it."""
_PARSER_FAULTS = 5
"""How often it may say that of one piece of work; this many in a row were never seen."""


def retry_lm_errors(work: Callable[[], T], description: str, replies: ReplyLog | None = None) -> T:
    """Return ``work()``, retried while its language model calls fail or are not answered.

    Each attempt has an empty trace in DSPy's settings. An attempt in which a call failed is
    discarded even if ``work`` catches the error.

    Args:
        work: Calls language models.
        description: What it does, for the message.
        replies: Gets the faults of the replies of the last attempt.

    Raises:
        InfrastructureError: A call failed, and retries did not help or could not.
        BudgetExceeded: A limit was spent before one of its calls.
    """
    attempts = _Attempts(current_throttle(), ReplyLog() if replies is None else replies)
    return _retried(attempts, partial(attempts.run, work), description)


def retry_reported_errors(attempt: Callable[[], T]) -> T:
    """Return ``attempt()``, retried while it raises a ``ReportedError`` that is temporary.

    Args:
        attempt: Has another process make one attempt.

    Raises:
        InfrastructureError: Retries did not help or could not.
    """
    attempts = _Attempts(current_throttle(), ReplyLog())
    return _retried(attempts, partial(attempts.run_elsewhere, attempt))


def _retried(attempts: _Attempts, run: Callable[[], T], description: str = "") -> T:
    try:
        result = _first_result(attempts, run)
    except _CallFailed as failed:
        description = description or failed.description
        error = infrastructure_error(failed.error, description, attempts.summary)
        # At once: until the run handles the error, other threads would begin calls in vain.
        attempts.throttle.give_up(error, failed.error, description)
        raise error from failed.__cause__
    finally:
        attempts.throttle.remove_error(attempts)
    return result


def _first_result(attempts: _Attempts, run: Callable[[], T]) -> T:
    """Return the result of the first attempt that succeeds."""
    try:
        return run()  # Tenacity takes its time also for work that succeeds at once.
    except _CallFailed as failed:
        failures = iter([failed])

    def run_again() -> T:
        for first in failures:
            raise first
        return run()

    result: T = attempts.retrying()(run_again)
    return result


class _CallFailed(Exception):
    """An attempt failed because a language model call did, in what ``description`` names."""

    def __init__(self, error: BaseException, description: str = "") -> None:
        super().__init__(type_and_message(error))
        self.error = error
        self.description = description


class _Attempts:
    """The attempts at one piece of work, until it is done or the retry policy ends."""

    def __init__(self, throttle: Throttle, replies: ReplyLog) -> None:
        self.throttle = throttle
        self._replies = replies
        self._count = 0
        self._counted_errors = 0
        self._first_error_time: float | None = None

    @property
    def summary(self) -> str:
        """The number and the duration of the attempts, if there were several."""
        if self._count == 1 or self._first_error_time is None:
            return ""
        seconds = time.monotonic() - self._first_error_time
        return f"{self._count} attempts in {seconds:.0f} s"

    def retrying(self) -> Retrying:
        """Return tenacity's loop."""
        from tenacity import Retrying, retry_if_exception

        return Retrying(
            retry=retry_if_exception(_may_pass),
            wait=self._wait_time,
            stop=self._is_over,
            before_sleep=self._report,
            sleep=self._sleep,
            reraise=True,
        )

    def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` once; raise ``_CallFailed`` if a language model call failed.

        Where Python's parser fails, that is no fault of the work, which is run again.
        """
        self._begin()
        return self._run(work, _PARSER_FAULTS)

    def _run(self, work: Callable[[], T], faults: int) -> T:
        """Run ``work``, and again after up to ``faults`` faults of the parser."""
        try:
            return self._run_once(work)
        except SystemError as error:
            if faults == 0 or _PARSER_FAULT not in str(error):
                raise
        return self._run(work, faults - 1)

    def _run_once(self, work: Callable[[], T]) -> T:
        with quick_calls(), limited_calls() as limit:
            before_call = partial(self._before_call, limit)
            watch = CallWatch(before_call, self._after_response, self._replies)
            callbacks = with_model_callbacks(watch)
            with dspy.context(callbacks=callbacks, trace=[], **self._replies.begin_attempt()):
                return _watched(work, watch)

    def run_elsewhere(self, attempt: Callable[[], T]) -> T:
        """Have another process run the work once; raise ``_CallFailed`` if it reports an error."""
        self._begin()
        try:
            return attempt()
        except ReportedError as error:
            raise _CallFailed(error, error.description) from None

    def _begin(self) -> None:
        if not self.throttle.wait_for_pause():
            raise self.throttle.stop_error()
        self._count += 1

    def _before_call(self, limit: CallLimit, model: str, completions: int) -> None:
        limit.admit(completions)
        self.throttle.wait_for_pause()
        begin_call(model, completions)

    def _after_response(self) -> None:
        self.throttle.record_response()
        end_call()

    def _wait_time(self, state: RetryCallState) -> float:
        from tenacity import wait_exponential

        policy = self.throttle.policy
        first = retry_after(_error_of(state)) or policy.first_wait
        doubling = wait_exponential(multiplier=first, max=policy.longest_wait)
        return doubling(state) * RANDOM.uniform(1, 1 + JITTER)

    def _is_over(self, state: RetryCallState) -> bool:
        policy, now = self.throttle.policy, time.monotonic()
        if self._first_error_time is None:
            self._first_error_time = now
        start = self._first_error_time
        if is_rate_limit(_error_of(state)):
            start = max(start, self.throttle.last_response)
        else:
            self._counted_errors += 1
        is_late = now + state.upcoming_sleep > start + policy.total
        return is_late or self._counted_errors >= policy.attempts or self.throttle.stopped

    def _report(self, state: RetryCallState) -> None:
        error, seconds = _error_of(state), state.upcoming_sleep
        provider_error = escaped_line(type_and_message(error))
        self.throttle.add_error(self, provider_error)
        if is_rate_limit(error):
            self.throttle.pause(seconds)
        logger.info("retry in %.1f s, attempt %d failed: %s", seconds, self._count, provider_error)

    def _sleep(self, seconds: float) -> None:
        if not self.throttle.wait(seconds):
            raise self.throttle.stop_error()


def _watched(work: Callable[[], T], watch: CallWatch) -> T:
    """Return ``work()``; raise ``_CallFailed`` if a call failed, even if ``work`` caught that."""
    try:
        result = supervised(work, watch.is_overdue)
    except (AttemptOver, WorkHangs):
        raise _CallFailed(watch.error or overdue_error()) from None
    except Exception as error:  # The user's code may raise any exception.
        cause = watch.error or infrastructure_cause(error)
        if cause is None:
            raise
        raise _CallFailed(cause) from error
    if watch.error is not None:
        raise _CallFailed(watch.error) from watch.error
    return result


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, _CallFailed) and is_temporary(error.error)


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, _CallFailed):
        raise AssertionError(error)
    return error.error
