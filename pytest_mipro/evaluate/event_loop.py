"""Run a coroutine to its end on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pytest_mipro.evaluate.async_tasks import cancel_all, first_result
from pytest_mipro.evaluate.thread_pool import ContextThreadPool

if TYPE_CHECKING:
    from collections.abc import Coroutine

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
    interrupt: Future[None] = Future()
    closed = threading.Event()
    thread = ContextThreadPool(1, thread_name_prefix="mipro-loop")
    try:
        return thread.submit(_run, work, workers, interrupt, closed).result()
    finally:
        # An exception that a signal raises may come before ``submit`` returns.
        interrupt.cancel()
        _wait_despite_interrupts(closed, _GRACE_PERIOD + _CLOSE_TIMEOUT)
        thread.shutdown(wait=False)


def _wait_despite_interrupts(closed: threading.Event, seconds: float) -> None:
    """Wait for ``closed``, also through Ctrl-C: the records stored until then are paid for."""
    deadline = time.monotonic() + seconds
    while not closed.is_set() and time.monotonic() < deadline:
        with suppress(KeyboardInterrupt):
            closed.wait(deadline - time.monotonic())


def _run(
    work: Coroutine[Any, Any, T],
    workers: WorkerPool,
    interrupt: Future[None],
    closed: threading.Event,
) -> T:
    """Run ``work`` on a new loop, and set ``closed`` once the loop is closed."""
    try:
        return asyncio.run(_interruptible(work, workers, interrupt))
    finally:
        closed.set()


async def _interruptible(
    work: Coroutine[Any, Any, T], workers: WorkerPool, interrupt: Future[None]
) -> T:
    """Run ``work`` until it ends or ``interrupt`` is cancelled."""
    interruption = asyncio.wrap_future(interrupt)
    tasks: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(work),
        asyncio.ensure_future(_report_progress(workers)),
        interruption,
    ]
    try:
        return await first_result(tasks)
    finally:
        grace_period = _GRACE_PERIOD if interruption.cancelled() else None
        cancel_all(tasks)
        await workers.finish(grace_period)


async def _report_progress(workers: WorkerPool) -> NoReturn:
    """Report the progress at intervals: while a call is retried, no record reports it."""
    while True:
        await asyncio.sleep(PROGRESS_INTERVAL)
        workers.on_record()
