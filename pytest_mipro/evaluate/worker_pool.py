"""A pool that runs work side by side and adds up the usage of the records it returns."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_mipro.errors import StoreError
from pytest_mipro.evaluate.async_tasks import retrieve_error
from pytest_mipro.evaluate.retry_policy import DEFAULT, RetryPolicy
from pytest_mipro.evaluate.thread_pool import ContextThreadPool
from pytest_mipro.evaluate.thread_runner import ThreadRunner
from pytest_mipro.evaluate.throttle import Throttle, throttled
from pytest_mipro.records import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from pytest_mipro.evaluate.work import R, Work, WorkRunner
    from pytest_mipro.store import RecordTable
    from pytest_mipro.task import ExecutorSource


T = TypeVar("T")


def _runner_on(executor: ExecutorSource | None, threads: int) -> WorkRunner:
    if executor is None:
        return ThreadRunner()
    from pytest_mipro.evaluate.executor_runner import ExecutorRunner

    return ExecutorRunner(executor, threads)


def _do_nothing() -> None:
    pass


class WorkerPool:
    """Runs work side by side, and counts records and usage.

    Attributes:
        resumed: Number of records that the store had.
        new_records: Number of records that work on this pool returned.
        on_record: Called after each of the latter, and every ``event_loop.PROGRESS_INTERVAL``.
    """

    def __init__(
        self,
        threads: int,
        policy: RetryPolicy = DEFAULT,
        *,
        executor: ExecutorSource | None = None,
    ) -> None:
        """Run up to ``threads`` pieces of work at a time.

        Args:
            threads: The most work at a time.
            policy: Decides about retries of language model errors.
            executor: Where the work runs; None runs it in threads of this process.
        """
        self._threads = ContextThreadPool(threads)
        self._runner = _runner_on(executor, threads)
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

    async def run(self, work: Work[R]) -> R:
        """Run ``work`` and add its usage."""
        loop = asyncio.get_running_loop()
        record: R = await loop.run_in_executor(
            self._threads, throttled, self._throttle, self._runner.run, work
        )
        self._usage[type(record)] = self.usage_of(type(record)) + record.usage
        self.new_records += 1
        self.on_record()
        return record

    def write(self, table: RecordTable[Any], records: Sequence[R]) -> None:
        """Write records to the store; while that takes long, no work begins.

        Raises:
            StoreError: The store cannot be written; no work begins any more, as the run ends.
        """
        self._throttle.writing_since = time.monotonic()
        try:
            table.put(*records)
        except StoreError as error:
            # What awaits other work learns of it as well: that work is held back by this write.
            self._throttle.stop_because(error)
            raise
        finally:
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
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._runner.stop()
