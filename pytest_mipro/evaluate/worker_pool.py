"""A pool that runs work on an executor and adds up the usage of the records it returns."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pytest_mipro.evaluate.async_tasks import retrieve_error
from pytest_mipro.evaluate.retry_policy import DEFAULT, RetryPolicy
from pytest_mipro.evaluate.throttle import Throttle, throttled
from pytest_mipro.records import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from concurrent.futures import Executor

    from pytest_mipro.store import RecordTable


class Record(Protocol):
    """What a row, a trace and a proposal have in common."""

    @property
    def key(self) -> str:
        """The key in the store."""

    @property
    def usage(self) -> Usage:
        """The usage of the calls that produced the record."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON data."""


T = TypeVar("T")
R = TypeVar("R", bound=Record)


def _do_nothing() -> None:
    pass


class WorkerPool:
    """Runs work on an executor, and counts records and usage.

    The executor may be any ``concurrent.futures.Executor``: the pool submits module-level
    functions with programs, examples and records as arguments.

    Attributes:
        resumed: Number of records that the store had.
        new_records: Number of records that work on this pool returned.
        on_record: Called after each of the latter, and every ``event_loop.PROGRESS_INTERVAL``.
    """

    def __init__(self, executor: Executor, policy: RetryPolicy = DEFAULT) -> None:
        """Run work on ``executor``, and retry language model errors by ``policy``."""
        self._executor = executor
        self._throttle = Throttle(policy)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._usage: dict[type, Usage] = {}
        self.resumed = 0
        self.new_records = 0
        self.on_record: Callable[[], None] = _do_nothing

    @property
    def usage(self) -> Usage:
        """The usage of all work so far."""
        return Usage.total(self._usage.values())

    @property
    def provider_error(self) -> str:
        """The error of a call that is being retried, while no call succeeds."""
        return self._throttle.provider_error

    def usage_of(self, record_type: type) -> Usage:
        """Return the usage of the work that returned records of one type."""
        return self._usage.get(record_type, Usage())

    async def run(self, work: Callable[..., R], *arguments: object) -> R:
        """Run ``work(*arguments)`` and add its usage."""
        loop = asyncio.get_running_loop()
        record: R = await loop.run_in_executor(
            self._executor, throttled, self._throttle, work, *arguments
        )
        self._usage[type(record)] = self.usage_of(type(record)) + record.usage
        self.new_records += 1
        self.on_record()
        return record

    def write(self, table: RecordTable[Any], records: Sequence[Record]) -> None:
        """Write records to the store; while that takes long, no work begins.

        Raises:
            StoreError: The store cannot be written; no work begins any more, as the run ends.
        """
        self._throttle.writing_since = time.monotonic()
        table.put(*records)
        self._throttle.writing_since = None

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that runs work on this pool; ``finish`` waits for it."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(retrieve_error)
        return task

    async def finish(self, timeout: float | None = None) -> None:
        """Start no more work, and wait for the running tasks.

        Args:
            timeout: Maximum number of seconds to wait; None waits until all tasks are done.
        """
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    def stop(self) -> None:
        """Start no more work and no retry; return at once."""
        self._throttle.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)
