"""Work in parallel: done once, stored before it is used, in an order that does not matter."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Protocol, TypeVar

from pytest_mipro.evaluate.retry_policy import DEFAULT, RetryPolicy, Throttle, throttled
from pytest_mipro.records import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
    from typing import TypeAlias

    from pytest_mipro.store import RecordTable

    Work: TypeAlias = tuple[Future[Any], Callable[[], Any]]

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")

_GRACE = 0.6
"""Seconds that calls under way get to come to their end after Ctrl-C."""
_CLOSING = 1.0
"""Seconds it may take at most, after these, to store what they came to."""
_REMINDER = 30.0
"""Seconds after which whoever waits is told again where things stand."""


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...

    @property
    def usage(self) -> Usage: ...

    def to_dict(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=_Keyed)


class ContextThreadPool(Executor):
    """
    Threads that run each piece of work in a copy of the submitter's context.

    The interpreter waits for the threads of a ``ThreadPoolExecutor`` when it
    exits. It does not wait for these: a call that was given up may take a
    minute more, and nobody is there for its result.
    """

    def __init__(self, most: int, thread_name_prefix: str = "mipro") -> None:
        """Run work on as many as ``most`` threads."""
        self._most = most
        self._prefix = thread_name_prefix
        self._waiting: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._shut = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit as usual; DSPy's settings are those of the submitter."""
        future: Future[T] = Future()
        run = partial(contextvars.copy_context().run, fn, *args, **kwargs)
        with self._lock:
            if self._shut:
                message = "cannot schedule new futures after shutdown"
                raise RuntimeError(message)
            self._waiting.put((future, run))
            if len(self._threads) < self._most:
                self._start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # ruff: ignore[boolean-type-hint-positional-argument, boolean-default-value-positional-argument] - the base class's
        """Take no more work; the threads end when there is none left."""
        with self._lock:
            self._shut = True
            if cancel_futures:
                self._cancel()
            for _ in self._threads:
                self._waiting.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _start(self) -> None:
        name = f"{self._prefix}_{len(self._threads)}"
        thread = threading.Thread(target=_work_off, args=[self._waiting], name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _cancel(self) -> None:
        with suppress(Empty):
            while True:
                work = self._waiting.get_nowait()
                if work is not None:
                    work[0].cancel()


def _work_off(waiting: SimpleQueue[Work | None]) -> None:
    while (work := waiting.get()) is not None:
        _do(*work)
        del work  # Or it would live until there is more.


def _do(future: Future[Any], run: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = run()
    except BaseException as error:  # ruff: ignore[blind-except] - raised where the result is asked for
        future.set_exception(error)
    else:
        future.set_result(result)


def _nothing() -> None:
    pass


class WorkerPool:
    """
    Where work runs, and what it has cost so far.

    Any ``concurrent.futures.Executor`` will do: what is submitted is a
    module-level function with programs, examples and records.

    Attributes:
        resumed: How many records were stored already, and not made again.
        made: How many were made.
        on_record: Called after each that was made, and from time to time.

    """

    def __init__(self, executor: Executor, patience: RetryPolicy = DEFAULT) -> None:
        """Run work on ``executor``, with ``patience`` for whoever does not answer."""
        self._executor = executor
        self._pace = Throttle(patience)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._usage: dict[type, Usage] = {}
        self.resumed = 0
        self.made = 0
        self.on_record: Callable[[], None] = _nothing

    @property
    def usage(self) -> Usage:
        """What all work has cost so far."""
        return Usage.total(self._usage.values())

    @property
    def provider_error(self) -> str:
        """What a model that is asked again said, while none answers."""
        return self._pace.provider_error

    def usage_of(self, kind: type) -> Usage:
        """What the work that made records of one kind has cost so far."""
        return self._usage.get(kind, Usage())

    async def run(self, work: Callable[..., R], *arguments: object) -> R:
        """Run ``work(*arguments)`` and account for its usage."""
        loop = asyncio.get_running_loop()
        record: R = await loop.run_in_executor(
            self._executor, throttled, self._pace, work, *arguments
        )
        self._usage[type(record)] = self.usage_of(type(record)) + record.usage
        self.made += 1
        self.on_record()
        return record

    def start(self, job: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
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
        """Start nothing more, and ask nothing again, without waiting."""
        self._pace.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)


class StoredWork(Generic[R]):
    """
    Work of one kind that is done once, ever, and stored before it is used.

    Whoever asks for a key that is being worked on waits for the same work.
    """

    def __init__(self, shelf: RecordTable[Any], workers: WorkerPool) -> None:
        """Do work on ``workers``, keep its records on ``shelf``."""
        self._shelf = shelf
        self._workers = workers
        self._asked: dict[str, asyncio.Future[R]] = {}
        self._missing: set[str] = set()
        self._finished: list[R] = []
        self._writing: asyncio.Task[None] | None = None

    def look_up(self, keys: Iterable[str]) -> None:
        """Fetch what is stored under ``keys`` in one go."""
        new = [key for key in keys if key not in self._asked and key not in self._missing]
        stored: dict[str, R] = self._shelf.get_many(new) if new else {}
        for key, record in stored.items():
            self._asked[key] = asyncio.get_running_loop().create_future()
            self._asked[key].set_result(record)
        self._workers.resumed += len(stored)
        self._missing.update(key for key in new if key not in stored)

    def is_new(self, key: str) -> bool:
        """Whether ``key`` has been looked up, and was not stored before."""
        return key in self._missing

    async def get(self, key: str, work: Callable[..., R], *arguments: object) -> R:
        """Return the record under ``key``, from ``work(*arguments)`` if there is none yet."""
        self.look_up([key])
        if key not in self._asked:
            self._asked[key] = self._workers.start(self._do(work, arguments))
        return await asyncio.shield(self._asked[key])

    async def _do(self, work: Callable[..., R], arguments: tuple[object, ...]) -> R:
        record = await self._workers.run(work, *arguments)
        self._finished.append(record)
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write())
        await asyncio.shield(self._writing)
        return record

    async def _write(self) -> None:
        """Store what has finished since the last time, in one transaction."""
        finished, self._finished, self._writing = self._finished, [], None
        self._shelf.put(*finished)


async def gather(work: Sequence[Coroutine[Any, Any, T] | asyncio.Future[T]]) -> list[T]:
    """Return all results in order; the first error cancels the rest."""
    tasks = [asyncio.ensure_future(each) for each in work]
    with _cancelling(tasks):
        return await asyncio.gather(*tasks)


async def gather_two(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Return two results; an error in one cancels the other."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    with _cancelling(tasks):
        return await asyncio.gather(*tasks)


async def first_result(tasks: Sequence[asyncio.Task[T]]) -> T:
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
        cancel_all(tasks)


def cancel_all(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel what is not done; nobody is going to ask for the results."""
    for task in tasks:
        task.add_done_callback(_take_note)
        task.cancel()


def _take_note(task: asyncio.Future[Any]) -> None:
    # The first error is raised where it is waited for; asyncio would log all others
    # when the garbage collector finds that nobody asked.
    if not task.cancelled():
        task.exception()


def run_to_completion(work: Coroutine[Any, Any, T], workers: WorkerPool) -> T:
    """
    Run ``work`` to its end on an event loop of its own and return its result.

    The loop has a thread to itself, so that this also works where one is
    already running (a notebook, an async test). An error lets the calls that
    are under way come to their end and be stored; Ctrl-C, or whatever else a
    signal raises here, such as a test's timeout, gives them a moment, and
    another Ctrl-C takes nothing of that from them.
    """
    running: Future[Callable[[], object]] = Future()
    thread = ContextThreadPool(1, thread_name_prefix="mipro-loop")
    with _sparing_the_old():
        result = thread.submit(asyncio.run, _cancellable(work, workers, running))
        try:
            return result.result()
        finally:
            if not result.done():
                _cancel(running)
                _outlast(result, _GRACE + _CLOSING)
            thread.shutdown(wait=False)


@contextmanager
def _sparing_the_old() -> Generator[None]:
    """
    Have the garbage collector look only at what is made meanwhile.

    With DSPy loaded, looking at everything stops all threads for a tenth of a second.
    """
    gc.freeze()
    try:
        yield
    finally:
        # Of whoever has frozen something for good, this thaws that, too: it costs them time alone.
        gc.unfreeze()


def _cancel(running: Future[Callable[[], object]]) -> None:
    with suppress(RuntimeError):  # The loop has closed: there is nothing to cancel.
        running.result()()


def _outlast(result: Future[Any], seconds: float) -> None:
    """Wait for ``result`` whatever the user presses: it is soon there, and worth more."""
    end = time.monotonic() + seconds
    while not result.done() and time.monotonic() < end:
        with suppress(KeyboardInterrupt):
            wait([result], timeout=end - time.monotonic())


async def _remind(workers: WorkerPool) -> NoReturn:
    """Tell again where things stand: a model that is asked again and again makes no records."""
    while True:
        await asyncio.sleep(_REMINDER)
        workers.on_record()


async def _cancellable(
    work: Coroutine[Any, Any, T], workers: WorkerPool, running: Future[Callable[[], object]]
) -> T:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    running.set_result(partial(loop.call_soon_threadsafe, task.cancel))
    reminding = asyncio.ensure_future(_remind(workers))
    try:
        return await first_result([task, reminding])
    finally:
        cancel_all([task, reminding])
        await workers.finish(_GRACE if task.cancelled() else None)
