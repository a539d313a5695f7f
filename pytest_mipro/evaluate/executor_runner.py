"""Run work on an executor of the user: in other processes, or on other machines.

The driver, which is this process, decides, counts and stores. A worker makes one attempt and
reports; retries, pauses for all rows, budgets and records are the driver's, as with threads.
"""

from __future__ import annotations

import time
from concurrent.futures import BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn, cast

import dspy

from pytest_mipro import errors
from pytest_mipro.dspy_internals import Cache
from pytest_mipro.errors import ExecutorError, MiproError
from pytest_mipro.evaluate import worker
from pytest_mipro.evaluate.chunks import ChunkSender
from pytest_mipro.evaluate.evaluator import Evaluator
from pytest_mipro.evaluate.failures import type_and_message
from pytest_mipro.evaluate.pickling import pickled
from pytest_mipro.evaluate.reported_error import ReportedError
from pytest_mipro.evaluate.response_cache import StoredResponses
from pytest_mipro.evaluate.retrying import retry_reported_errors
from pytest_mipro.evaluate.row_responses import MODELS
from pytest_mipro.evaluate.throttle import current_throttle
from pytest_mipro.evaluate.work_callback import WorkCallback
from pytest_mipro.evaluate.worker_messages import Request, RowBudget, SharedParts
from pytest_mipro.fingerprint import deciding_settings
from pytest_mipro.records import Row, Trace
from pytest_mipro.redaction import SECRETS
from pytest_mipro.spending import Shares, current_account

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from pytest_mipro.evaluate.work import R, Work
    from pytest_mipro.evaluate.worker_messages import Reply
    from pytest_mipro.spending import Limit
    from pytest_mipro.task import ExecutorSource

_LARGE = 1 << 16
"""Bytes of shared parts that are sent only to a worker that asks for them."""
_MOST_LOSSES = 3
"""Workers that one piece of work may lose before it counts as what ends them."""
_CHECK_SECONDS = 5.0
"""Seconds between two checks of work that is not done."""
_SILENCE = 60.0
"""Seconds without any reply after which the user is told."""
LONGEST_SILENCE = 900.0
"""Seconds without any reply after which the workers count as gone."""


@dataclass(frozen=True)
class _Shared:
    """The shared parts of some work, pickled once; the references keep their identities."""

    arguments: tuple[object, ...]
    callbacks: tuple[WorkCallback, ...]
    digest: str
    content: bytes


class _Sent:
    """One piece of work, through all its attempts."""

    def __init__(self, work: Work[Any], shared: _Shared) -> None:
        self.work = work
        self.shared = shared
        self.own = pickled(work.own, {"the example": work.example})
        self.share: tuple[Limit, ...] = ()
        self.losses = 0


class ExecutorRunner:
    """Runs work on an executor.

    Args:
        source: The user's executor.
        slots: The most work in flight.
    """

    def __init__(self, source: ExecutorSource, slots: int) -> None:
        self._source = source
        self._shares = Shares(slots)
        self._shared: dict[tuple[int, ...], _Shared] = {}
        self._sender = ChunkSender(slots)
        self._lock = Lock()
        self._last_reply = time.monotonic()

    def run(self, work: Work[R]) -> R:
        """See ``WorkRunner``."""
        sent = _Sent(work, self._shared_of(work))
        record = retry_reported_errors(partial(self._record, sent))
        return cast("R", _redacted(record))

    def stop(self) -> None:
        """See ``WorkRunner``."""
        self._sender.cancel()

    def _shared_of(self, work: Work[Any]) -> _Shared:
        callbacks = tuple(
            callback for callback in dspy.settings.callbacks if isinstance(callback, WorkCallback)
        )
        key = tuple(map(id, (*work.shared, *callbacks)))
        with self._lock:  # Or several threads would pickle the same program.
            if key not in self._shared:
                self._shared[key] = _pickled_shared(work, callbacks)
            return self._shared[key]

    def _record(self, sent: _Sent) -> object:
        """Return the record of one attempt; with a larger share of the budget, if it needs that."""
        while True:
            account = current_account()
            with self._shares.share(account, sent.share) as share:
                reply = self._reply(sent, self._request(sent, share))
                self._count(sent, reply)
            if not reply.is_over_share:
                return _record_of(reply)
            sent.share = share

    def _request(self, sent: _Sent, share: tuple[Limit, ...]) -> Request:
        account, cache = current_account(), vars(dspy).get("cache")
        stored = cache if isinstance(cache, StoredResponses) else None
        is_off = isinstance(cache, Cache) and not (
            cache.enable_disk_cache or cache.enable_memory_cache
        )
        is_large = len(sent.shared.content) > _LARGE
        return Request(
            function=sent.work.function,
            digest=sent.shared.digest,
            shared=None if is_large else sent.shared.content,
            own=sent.own,
            driver=worker.process_identity(),
            versions=worker.versions(),
            budget=None if account is None else RowBudget(share, account.prices, account.stage),
            responses=None if stored is None else stored.of_calls(sent.work.calls_key),
            uses_own_cache=not is_off,
        )

    def _reply(self, sent: _Sent, request: Request) -> Reply:
        reply = self._sent(sent, request)
        if reply.lacks_shared:
            reply = self._sent(sent, replace(request, shared=sent.shared.content))
        if reply.cannot_load:
            message = (
                f"a worker of the executor cannot load the program, the metric or an example: "
                f"{reply.cannot_load}; workers need the same versions of Python, pytest-mipro and "
                "DSPy as the driver, and every package that the user's code imports"
            )
            raise ExecutorError(message)
        return reply

    def _sent(self, sent: _Sent, request: Request) -> Reply:
        """Send a request and wait for the reply.

        Raises:
            ReportedError: The executor lost it.
        """
        if current_throttle().stopped:
            raise current_throttle().stop_error()
        executor = self._source.current()
        future = self._sender.send(executor, request)
        try:
            self._wait(sent, future)
            return future.result()
        except ReportedError:
            raise
        # ruff: ignore[blind-except]: an executor may raise any exception.
        except (Exception, CancelledError, KeyboardInterrupt) as error:
            if current_throttle().stopped:
                raise current_throttle().stop_error() from None
            self._raise_loss(sent, executor, error)
        finally:
            self._last_reply = time.monotonic()

    def _wait(self, sent: _Sent, future: Future[Reply]) -> None:
        throttle, start = current_throttle(), time.monotonic()
        try:
            while not wait([future], _CHECK_SECONDS).done:
                silence = time.monotonic() - max(self._last_reply, start)
                if silence > LONGEST_SILENCE:
                    raise _lost(
                        "NoReply", f"no worker has replied for {silence:.0f} s", sent, last=True
                    )
                if silence > _SILENCE:
                    throttle.add_error(sent, f"no worker has replied for {silence:.0f} s")
        finally:
            throttle.remove_error(sent)

    def _raise_loss(self, sent: _Sent, executor: Executor, error: BaseException) -> NoReturn:
        """Raise the error that says that the executor did not do its work."""
        if isinstance(error, ImportError | AttributeError):
            message = (
                f"a worker of the executor cannot load pytest-mipro: {type_and_message(error)}; "
                "install the driver's version of it on all workers"
            )
            raise ExecutorError(message) from error
        sent.losses += 1
        is_broken = isinstance(error, BrokenExecutor)
        is_last = sent.losses >= _MOST_LOSSES
        if is_broken or isinstance(error, RuntimeError):
            self._source.discard(executor)
            is_last = is_last or not self._source.is_renewable
        advice = "" if self._source.is_renewable or not is_broken else _BROKEN_FOR_GOOD
        raise _lost(
            type(error).__name__, f"{_message(error)}{advice}", sent, last=is_last
        ) from error

    def _count(self, sent: _Sent, reply: Reply) -> None:
        """Charge the calls of an attempt, and keep their responses."""
        account, cache = current_account(), vars(dspy).get("cache")
        for charge in reply.charges if account is not None else ():
            assert account is not None
            account.record(charge.purpose, charge.usage, charge.model)
        if reply.charges:
            current_throttle().record_response()
        if reply.record is not None:
            self._shares.record(reply.record.usage)
        if isinstance(cache, StoredResponses):
            cache.keep_calls(sent.work.calls_key, reply.responses)
        for callback, counts in zip(sent.shared.callbacks, reply.counts, strict=False):
            callback.add(counts)


_BROKEN_FOR_GOOD = (
    "; this executor cannot be used any more: let mipro_executor return a function that makes "
    "one, and a new one takes its place"
)


def _message(error: BaseException) -> str:
    return type_and_message(error).partition(": ")[2] or "the work was cancelled"


def _lost(name: str, message: str, sent: _Sent, *, last: bool) -> ReportedError:
    times = f" ({sent.losses} times)" if sent.losses > 1 else ""
    return ReportedError(
        name,
        f"{message}{times}",
        is_temporary=not last,
        description="running a row",
        source="the executor",
    )


def _pickled_shared(work: Work[Any], callbacks: tuple[WorkCallback, ...]) -> _Shared:
    models = tuple((model, MODELS.digest_of(model)) for model in _models_of(work.shared))
    settings = deciding_settings()
    parts = SharedParts(work.shared, settings, callbacks, models)
    content = pickled(parts, dict(_named(work.shared)))
    return _Shared(work.shared, callbacks, worker.digest_of(content), content)


def _named(arguments: tuple[object, ...]) -> Iterator[tuple[str, object]]:
    """Yield what a user calls the parts of ``arguments``, and the parts."""
    for argument in arguments:
        if isinstance(argument, Evaluator):
            yield "the metric", argument.metric
            yield from (("a further metric", metric) for metric in argument.further.values())
            yield from ((f"the {name}", value) for name, value in argument.settings.items())
        elif isinstance(argument, dspy.Module):
            yield f"the program {type(argument).__name__}", argument
        else:
            yield f"the {type(argument).__name__}", argument


def _models_of(arguments: tuple[object, ...]) -> Iterator[dspy.BaseLM]:
    for argument in arguments:
        if isinstance(argument, Evaluator):
            yield from _models_of(tuple(argument.settings.values()))
        elif isinstance(argument, dspy.Module):
            yield from _models_of(tuple(predictor.lm for predictor in argument.predictors()))
        elif isinstance(argument, dspy.BaseLM):
            yield argument


def _record_of(reply: Reply) -> object:
    """Return the record of a reply, or raise its error."""
    if reply.failure is not None:
        failure = reply.failure
        raise ReportedError(
            failure.type_name,
            SECRETS.redact_text(failure.message),
            is_temporary=failure.is_temporary,
            is_rate_limit=failure.is_rate_limit,
            retry_after=failure.retry_after,
            description=failure.description,
        )
    if reply.error is not None:
        name, message = reply.error
        error_type = getattr(errors, name, None) or ExecutorError
        assert issubclass(error_type, MiproError)
        raise error_type(SECRETS.redact_text(message))
    return reply.record


def _redacted(record: object) -> object:
    """Return a record without secrets that its worker did not know."""
    if not isinstance(record, Row | Trace) or record.failure is None:
        return record
    failure = record.failure
    return replace(
        record,
        failure=replace(
            failure,
            message=SECRETS.redact_text(failure.message),
            traceback=SECRETS.redact_text(failure.traceback),
        ),
    )
