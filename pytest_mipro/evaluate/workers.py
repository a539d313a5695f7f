"""Work in parallel: done once, stored before it is used, in an order that does not matter."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar

from pytest_mipro.records import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence

    from pytest_mipro.store import Shelf

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")

_GRACE = 1.0
"""Seconds that calls under way get to come to their end after Ctrl-C."""


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...

    @property
    def usage(self) -> Usage: ...

    def to_dict(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=_Keyed)


class ContextThreads(ThreadPoolExecutor):
    """Threads that run each piece of work in a copy of the submitter's context."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit as usual; DSPy's settings are those of the submitter."""
        run = partial(contextvars.copy_context().run, fn, *args, **kwargs)
        return super().submit(run)


class Workers:
    """
    Where work runs, and what it has cost so far.

    Any ``concurrent.futures.Executor`` will do: what is submitted is a
    module-level function with programs, examples and records.
    """

    def __init__(self, executor: Executor) -> None:
        """Run work on ``executor``."""
        self._executor = executor
        self._under_way: set[asyncio.Task[Any]] = set()
        self._usage: dict[type, Usage] = {}

    @property
    def usage(self) -> Usage:
        """What all work has cost so far."""
        return Usage.total(self._usage.values())

    def usage_of(self, kind: type) -> Usage:
        """What the work that made records of one kind has cost so far."""
        return self._usage.get(kind, Usage())

    async def run(self, work: Callable[..., R], *arguments: object) -> R:
        """Run ``work(*arguments)`` and account for its usage."""
        loop = asyncio.get_running_loop()
        record: R = await loop.run_in_executor(self._executor, work, *arguments)
        self._usage[type(record)] = self.usage_of(type(record)) + record.usage
        return record

    def start(self, job: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """Start a job that runs work here; ``finish`` waits for it."""
        task = asyncio.ensure_future(job)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(_take_note)
        return task

    async def finish(self, patience: float | None = None) -> None:
        """
        Start nothing more, and let what is running come to its end.

        Args:
            patience: Seconds to wait at most; None waits as long as it takes.

        """
        self.stop()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=patience)

    def stop(self) -> None:
        """Start nothing more, without waiting."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class Once(Generic[R]):
    """
    Work of one kind that is done once, ever, and stored before it is used.

    Whoever asks for a key that is being worked on waits for the same work.
    """

    def __init__(self, shelf: Shelf[Any], workers: Workers) -> None:
        """Do work on ``workers``, keep its records on ``shelf``."""
        self._shelf = shelf
        self._workers = workers
        self._asked: dict[str, asyncio.Future[R]] = {}
        self._missing: set[str] = set()

    def look_up(self, keys: Iterable[str]) -> None:
        """Fetch what is stored under ``keys`` in one go."""
        new = [key for key in keys if key not in self._asked and key not in self._missing]
        stored: dict[str, R] = self._shelf.get_many(new) if new else {}
        for key, record in stored.items():
            self._asked[key] = asyncio.get_running_loop().create_future()
            self._asked[key].set_result(record)
        self._missing.update(key for key in new if key not in stored)

    async def get(self, key: str, work: Callable[..., R], *arguments: object) -> R:
        """Return the record under ``key``, from ``work(*arguments)`` if there is none yet."""
        self.look_up([key])
        if key not in self._asked:
            self._asked[key] = self._workers.start(self._do(work, arguments))
        return await asyncio.shield(self._asked[key])

    async def _do(self, work: Callable[..., R], arguments: tuple[object, ...]) -> R:
        record = await self._workers.run(work, *arguments)
        self._shelf.put(record)
        return record


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all results in order; the first error cancels the rest."""
    tasks = [asyncio.ensure_future(each) for each in work]
    with _cancelling(tasks):
        return await asyncio.gather(*tasks)


async def both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Return two results; an error in one cancels the other."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    with _cancelling(tasks):
        return await asyncio.gather(*tasks)


async def first_of(tasks: Sequence[asyncio.Task[T]]) -> T:
    """Return the result of the first of ``tasks``, or raise the first error of any."""
    waiting = set(tasks)
    while not tasks[0].done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    return tasks[0].result()


@contextmanager
def _cancelling(tasks: Iterable[asyncio.Future[Any]]) -> Generator[None]:
    try:
        yield
    finally:
        abandon(tasks)


def abandon(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel what is not done; nobody is going to ask for the results."""
    for task in tasks:
        task.add_done_callback(_take_note)
        task.cancel()


def _take_note(task: asyncio.Future[Any]) -> None:
    # The first error is raised where it is waited for; asyncio would log all others
    # when the garbage collector finds that nobody asked.
    if not task.cancelled():
        task.exception()


def complete(work: Coroutine[Any, Any, T], workers: Workers) -> T:
    """
    Run ``work`` to its end on an event loop of its own and return its result.

    The loop has a thread to itself, so that this also works where one is
    already running (a notebook, an async test). An error lets the calls that
    are under way come to their end and be stored; Ctrl-C gives them a second.
    """
    running: Future[Callable[[], object]] = Future()
    with ContextThreads(1, thread_name_prefix="mipro-loop") as thread:
        result = thread.submit(asyncio.run, _cancellable(work, workers, running))
        try:
            return result.result()
        except KeyboardInterrupt:
            with suppress(RuntimeError):  # The loop has closed: there is nothing to cancel.
                running.result()()
            raise


async def _cancellable(
    work: Coroutine[Any, Any, T], workers: Workers, running: Future[Callable[[], object]]
) -> T:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    running.set_result(partial(loop.call_soon_threadsafe, task.cancel))
    try:
        return await task
    finally:
        await workers.finish(_GRACE if task.cancelled() else None)
