"""Send requests to an executor: those of quick rows several at a time.

A task costs a scheduler and its client a millisecond or two, which is nothing beside a call of a
model, and much beside a row that takes a few milliseconds. Rows are independent, so what is sent
together decides nothing.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Condition
from typing import TYPE_CHECKING

from pytest_mipro.evaluate import worker

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pytest_mipro.evaluate.worker_messages import Reply, Request

_CHUNK_SECONDS = 0.05
"""Seconds that the rows of a chunk take in all, at most: then a task's own cost is small."""
_FEWEST_CHUNKS = 8
"""Chunks that the rows in flight make at least, so that no worker waits for another's chunk."""
_LINGER = 0.002
"""Seconds that a row waits for others to be sent with."""
_WEIGHT = 0.1
"""The weight of a new duration in the mean of all."""


@dataclass(frozen=True, eq=False)
class _Item:
    request: Request
    future: Future[Reply]


class ChunkSender:
    """Sends requests.

    Args:
        slots: The most requests in flight.
    """

    def __init__(self, slots: int) -> None:
        self._most = max(1, slots // _FEWEST_CHUNKS)
        self._pending: list[_Item] = []
        self._tasks: dict[Future[tuple[Reply, ...]], Executor] = {}
        self._seconds = _CHUNK_SECONDS
        self._condition = Condition()

    def send(self, executor: Executor, request: Request) -> Future[Reply]:
        """Send a request, perhaps a moment later and with others; return its future.

        Raises:
            Exception: That of the executor.
        """
        item = _Item(request, Future())
        with self._condition:
            self._pending.append(item)
            if len(self._pending) < self._size:
                self._condition.wait_for(lambda: item not in self._pending, _LINGER)
            chunk = self._pending if item in self._pending else []
            if chunk:
                self._pending = []
                self._condition.notify_all()
        if chunk:
            self._submit(executor, chunk)
        return item.future

    def cancel(self) -> None:
        """Cancel the tasks that have not begun, where the executor says which these are."""
        with self._condition:
            tasks = list(self._tasks.items())
        for task, executor in tasks:
            # Others cancel running work, too, and its paid results would be lost.
            if isinstance(executor, ProcessPoolExecutor | ThreadPoolExecutor):
                task.cancel()

    @property
    def _size(self) -> int:
        return max(1, min(self._most, int(_CHUNK_SECONDS / self._seconds)))

    def _submit(self, executor: Executor, chunk: list[_Item]) -> None:
        requests = [item.request for item in chunk]
        # The worker keeps shared parts, so that the first request that has them is enough.
        first = {request.digest: index for index, request in reversed(list(enumerate(requests)))}
        slim = tuple(
            request if first[request.digest] == index else replace(request, shared=None)
            for index, request in enumerate(requests)
        )
        try:
            task = executor.submit(worker.attempts, slim)
        # ruff: ignore[blind-except]: an executor may raise any exception; each row raises it.
        except Exception as error:
            for item in chunk:
                item.future.set_exception(error)
            return
        with self._condition:
            self._tasks[task] = executor
        task.add_done_callback(lambda done: self._finish(done, chunk))

    def _finish(self, task: Future[tuple[Reply, ...]], chunk: list[_Item]) -> None:
        with self._condition:
            del self._tasks[task]
        try:
            replies = task.result()
        # ruff: ignore[blind-except]: an executor may raise any exception; each row raises it.
        except (Exception, CancelledError, KeyboardInterrupt) as error:
            for item in chunk:
                item.future.set_exception(error)
            return
        for item, reply in zip(chunk, replies, strict=True):
            self._seconds += _WEIGHT * (reply.seconds - self._seconds)
            item.future.set_result(reply)
