"""What a worker of an executor does: one attempt at one piece of work, and a reply about it.

A worker decides nothing: it makes no retry, keeps nothing and judges no error. It reports the
record or the error, each call with its usage, and the responses, and the driver goes on from
there. What it unpickles is what its driver has sent over the executor, and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import pickle  # ruff: ignore[suspicious-pickle-import] - for what the driver has sent
import platform
import socket
import sys
import threading
import time
import traceback
import uuid
from collections import OrderedDict
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.dspy_internals import ModelCallbacks
from pytest_mipro.errors import BudgetExceeded, InfrastructureError, MiproError
from pytest_mipro.evaluate.failures import (
    is_rate_limit,
    is_temporary,
    message_of,
    retry_after,
    type_and_message,
)
from pytest_mipro.evaluate.retry_policy import RetryPolicy
from pytest_mipro.evaluate.row_responses import (
    MODELS,
    ResponsesOf,
    RowResponses,
    use_row_responses,
)
from pytest_mipro.evaluate.throttle import Throttle, throttled
from pytest_mipro.evaluate.worker_messages import CallFailure, Charge, Reply
from pytest_mipro.spending import Account

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from pytest_mipro.evaluate.work import PaidRecord
    from pytest_mipro.evaluate.worker_messages import Request, RowBudget, SharedParts
    from pytest_mipro.records import Usage
    from pytest_mipro.spending import Purpose

PROCESS = uuid.uuid4().hex
"""The identity of this process; a fork has that of its parent and another process id."""
_MOST_SHARED = 32
"""Shared parts that a process keeps unpickled."""
_ONE_ATTEMPT = RetryPolicy(attempts=1, first_wait=0.0, total=0.0)


def process_identity() -> tuple[str, int]:
    """Return what tells this process from all others, also from its forks."""
    return PROCESS, os.getpid()


@cache
def versions() -> dict[str, str]:
    """Return the versions that a worker and its driver have to have in common."""
    return {
        # Code crosses as bytecode.
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "pytest-mipro": version("pytest-mipro"),
        "dspy": version("dspy"),
    }


class _RowAccount(Account):
    """The account of one attempt, which lists its charges for the driver's account."""

    def __init__(self, budget: RowBudget) -> None:
        super().__init__(budget.limits, prices=budget.prices)
        self.stage = budget.stage
        self.charges: list[Charge] = []

    def record(self, purpose: Purpose, usage: Usage, model: str) -> None:
        super().record(purpose, usage, model)
        self.charges.append(Charge(purpose, usage, model))


class _OneAttempt(Throttle):
    """The throttle of one attempt: the driver has the others, and all pauses."""

    def __init__(self) -> None:
        super().__init__(_ONE_ATTEMPT)
        self.cause: BaseException | None = None
        self.description = ""

    def give_up(self, error: InfrastructureError, cause: BaseException, description: str) -> None:
        super().give_up(error, cause, description)
        self.cause, self.description = cause, description


class _SharedCache:
    """The shared parts that this process has unpickled, the latest."""

    def __init__(self) -> None:
        self._parts: OrderedDict[str, SharedParts] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str, pickled: bytes | None) -> SharedParts | None:
        """Return the parts with a digest; None if they have to be sent."""
        with self._lock:  # Or two threads would have two copies of a program.
            parts = self._parts.pop(digest, None)
            if parts is None:
                if pickled is None:
                    return None
                parts = pickle.loads(pickled)  # ruff: ignore[suspicious-pickle-usage] - the driver's
                for model, description in parts.models:
                    MODELS.add(model, description)
            self._parts[digest] = parts
            while len(self._parts) > _MOST_SHARED:
                self._parts.popitem(last=False)
        return parts


_SHARED = _SharedCache()


def attempts(requests: Iterable[Request]) -> tuple[Reply, ...]:
    """Make one attempt at each piece of work, one after the other."""
    return tuple(map(attempt, requests))


def attempt(request: Request) -> Reply:
    """Make one attempt at work, and report what came of it.

    It raises only what ends a worker: whatever the work raises is in the reply.
    """
    if reason := _difference(request.versions):
        return Reply(cannot_load=reason)
    try:
        shared = _SHARED.get(request.digest, request.shared)
        own = pickle.loads(request.own)  # ruff: ignore[suspicious-pickle-usage] - the driver's
    # ruff: ignore[blind-except]: code of the user that is loaded here may raise anything.
    except Exception as error:
        return Reply(cannot_load=type_and_message(error))
    if shared is None:
        return Reply(lacks_shared=True)
    return _Attempt(request, shared, own).reply()


def digest_of(pickled: bytes) -> str:
    """Return the digest of shared parts."""
    return hashlib.sha256(pickled).hexdigest()


def _difference(expected: Mapping[str, str]) -> str:
    for name, present in versions().items():
        if present != expected[name]:
            where = f"{socket.gethostname()} ({sys.executable})"
            return f"it has {name} {present} at {where}, the driver has {expected[name]}"
    return ""


class _Attempt:
    """One attempt at a piece of work in this process."""

    def __init__(self, request: Request, shared: SharedParts, own: tuple[object, ...]) -> None:
        self._request = request
        self._shared = shared
        self._own = own
        self._throttle = _OneAttempt()
        self._account = None if request.budget is None else _RowAccount(request.budget)
        self._responses = RowResponses(request.responses)
        self._callbacks = [callback.fresh() for callback in shared.callbacks]
        self._start = time.monotonic()

    def reply(self) -> Reply:
        """Do the work, and report what came of it."""
        try:
            with self._settings():
                return self._reply(record=self._work())
        except BudgetExceeded:
            return self._reply(is_over_share=True)
        except MiproError as error:
            return self._error_reply(error)
        # ruff: ignore[blind-except]: the driver raises it, with this traceback.
        except Exception as error:
            lines = "".join(traceback.format_exception(error))
            return self._reply(error=("", f"{type_and_message(error)}\n{lines}"))

    def _work(self) -> PaidRecord:
        function, shared = self._request.function, self._shared.arguments
        return throttled(self._throttle, function, *shared, *self._own)

    @contextmanager
    def _settings(self) -> Generator[None]:
        """Run the block with the settings of the driver, an account, and the responses."""
        settings: dict[str, Any] = {**self._shared.settings, "callbacks": self._all_callbacks()}
        account = nullcontext() if self._account is None else self._account.current()
        with dspy.context(**settings), account:
            yield

    def _all_callbacks(self) -> ModelCallbacks:
        if self._request.uses_own_cache or self._request.driver == process_identity():
            # The driver's cache is in this process; with it, the models of the driver's context.
            return ModelCallbacks(self._callbacks, [MODELS])
        use_row_responses()
        return ModelCallbacks(self._callbacks, [MODELS, ResponsesOf(self._responses)])

    def _error_reply(self, error: MiproError) -> Reply:
        cause = self._throttle.cause
        if cause is None or not isinstance(error, InfrastructureError):
            return self._reply(error=(type(error).__name__, str(error.args[0])))
        return self._reply(
            failure=CallFailure(
                type(cause).__name__,
                message_of(cause),
                is_temporary(cause),
                is_rate_limit(cause),
                retry_after(cause),
                self._throttle.description,
            )
        )

    def _reply(self, **outcome: Any) -> Reply:  # ruff: ignore[any-type] - fields of a reply
        return Reply(
            **outcome,
            charges=() if self._account is None else tuple(self._account.charges),
            responses=self._responses.new,
            counts=tuple(callback.counts for callback in self._callbacks),
            seconds=time.monotonic() - self._start,
        )
