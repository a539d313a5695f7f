"""Run a coroutine to its end on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pytest_mipro.evaluate.async_tasks import cancel_all, first_result
from pytest_mipro.evaluate.thread_pool import ContextThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pytest_mipro.evaluate.worker_pool import WorkerPool

T = TypeVar("T")

_GRACE_PERIOD = 0.6
"""Seconds for running calls to finish after Ctrl-C."""
_CLOSE_TIMEOUT = 1.0
"""Maximum number of seconds after the grace period to store the results of these calls."""
PROGRESS_INTERVAL = 30.0
"""Seconds between two progress reports while no record is made."""


def run_to_completion(work: Coroutine[Any, Any, T], workers: WorkerPool) -> T:
    """Run ``work`` on an event loop of its own and return its result.

    The loop has a thread to itself, so that this also works where a loop is already running (a
    notebook, an async test). After an error, running calls finish and their records are stored.
    After Ctrl-C, or another exception that a signal raises here, such as a test's timeout, they
    have a grace period, which further Ctrl-C does not shorten.
    """
    cancel: Future[Callable[[], object]] = Future()
    thread = ContextThreadPool(1, thread_name_prefix="mipro-loop")
    result = thread.submit(asyncio.run, _cancellable(work, workers, cancel))
    try:
        return result.result()
    finally:
        if not result.done():
            with suppress(RuntimeError):  # The loop has closed: there is nothing to cancel.
                cancel.result()()
            _wait_despite_interrupts(result, _GRACE_PERIOD + _CLOSE_TIMEOUT)
        thread.shutdown(wait=False)


def _wait_despite_interrupts(result: Future[Any], seconds: float) -> None:
    """Wait for ``result``, also through Ctrl-C: the records that it stores are paid for."""
    deadline = time.monotonic() + seconds
    while not result.done() and time.monotonic() < deadline:
        with suppress(KeyboardInterrupt):
            wait([result], timeout=deadline - time.monotonic())


async def _cancellable(
    work: Coroutine[Any, Any, T], workers: WorkerPool, cancel: Future[Callable[[], object]]
) -> T:
    """Run ``work``, and set ``cancel`` to a function that other threads cancel it with."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    cancel.set_result(partial(loop.call_soon_threadsafe, task.cancel))
    reports = asyncio.ensure_future(_report_progress(workers))
    try:
        return await first_result([task, reports])
    finally:
        cancel_all([task, reports])
        await workers.finish(_GRACE_PERIOD if task.cancelled() else None)


async def _report_progress(workers: WorkerPool) -> NoReturn:
    """Report the progress at intervals: while a call is retried, no record reports it."""
    while True:
        await asyncio.sleep(PROGRESS_INTERVAL)
        workers.on_record()
