"""A thread pool that runs calls in the context of their submitter."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Job: TypeAlias = tuple[Future[Any], Callable[[], Any]]

T = TypeVar("T")
P = ParamSpec("P")


class ContextThreadPool(Executor):
    """Threads that run each call in a copy of the submitter's context.

    The interpreter joins the threads of a ``ThreadPoolExecutor`` at exit. It does not join
    these: a request that the run has abandoned may take a minute more, and no code reads its
    result.
    """

    def __init__(self, max_workers: int, thread_name_prefix: str = "mipro") -> None:
        """Run calls on up to ``max_workers`` threads."""
        self._max_workers = max_workers
        self._prefix = thread_name_prefix
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._is_shut_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule a call; it has the DSPy settings of the submitter."""
        future: Future[T] = Future()
        call = partial(contextvars.copy_context().run, fn, *args, **kwargs)
        with self._lock:
            if self._is_shut_down:
                message = "cannot schedule new futures after shutdown"
                raise RuntimeError(message)
            self._queue.put((future, call))
            if len(self._threads) < self._max_workers:
                self._start_thread()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # ruff: ignore[boolean-type-hint-positional-argument, boolean-default-value-positional-argument] - the base class's
        """Accept no more calls; the threads end when the queue is empty."""
        with self._lock:
            self._is_shut_down = True
            if cancel_futures:
                self._cancel_queued()
            for _ in self._threads:
                self._queue.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _start_thread(self) -> None:
        name = f"{self._prefix}_{len(self._threads)}"
        thread = threading.Thread(target=_run_jobs, args=[self._queue], name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _cancel_queued(self) -> None:
        with suppress(Empty):
            while True:
                job = self._queue.get_nowait()
                if job is not None:
                    job[0].cancel()


def _run_jobs(queue: SimpleQueue[Job | None]) -> None:
    while (job := queue.get()) is not None:
        _run_job(*job)
        del job  # The name would keep the result alive until the next job arrives.


def _run_job(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # ruff: ignore[blind-except] - ``future.result`` raises it
        future.set_exception(error)
    else:
        future.set_result(result)
