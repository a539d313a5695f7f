"""Rows in parallel: each evaluated once, stored before it is used."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar

import dspy

from pytest_mipro.canonical import digest, plain
from pytest_mipro.dataset import identity
from pytest_mipro.errors import ProgramError
from pytest_mipro.evaluate.failures import (
    CallWatch,
    blame_program,
    infrastructure_cause,
    surface,
)
from pytest_mipro.evaluate.scoring import call_metric
from pytest_mipro.evaluate.usage import UsageMeter
from pytest_mipro.fingerprint import of_prompts
from pytest_mipro.records import Row, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from pytest_mipro.store import Shelf, Store
    from pytest_mipro.task import Metric

logger = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")


@dataclass(frozen=True)
class Bench:
    """
    What all rows of one task are evaluated with.

    Attributes:
        metric: Scores a prediction.
        settings: DSPy settings, such as ``lm`` and ``adapter``.
        key: Digest of all of this and the program's code; rows are only
            comparable, and only found again, under the same one.

    """

    metric: Metric
    settings: Mapping[str, Any]
    key: str

    def context(self, watch: CallWatch, meter: UsageMeter) -> AbstractContextManager[None]:
        """Return the DSPy settings a row runs under."""
        context: AbstractContextManager[None] = dspy.context(
            **{
                **self.settings,
                "callbacks": [*dspy.settings.callbacks, watch],
                "usage_tracker": meter,
                "trace": [],
            }
        )
        return context


def evaluate_row(bench: Bench, program: dspy.Module, example: dspy.Example, key: str) -> Row:
    """
    Run ``program`` on ``example`` and score what it answers.

    An exception in the program makes a row with a failure; see
    ``failures.py`` for whose fault an exception is.

    Raises:
        InfrastructureError: A language model could not be asked.
        MetricError: The metric gave no score.

    """
    watch, meter = CallWatch(), UsageMeter()
    doing = f"evaluating {type(program).__name__}"
    with bench.context(watch, meter):
        try:
            prediction = program(**example.inputs())
        except Exception as error:  # The user's program may raise anything; it is sorted here.
            cause = watch.error or infrastructure_cause(error)
            if cause is not None:
                raise surface(cause, doing) from error
            return Row(key, Row.FAILURE_SCORE, None, meter.usage, blame_program(error))
        if watch.error is not None:
            raise surface(watch.error, doing) from watch.error
        score = _scored(bench.metric, example, prediction, watch)
    return Row(key, score, plain(prediction, fallback=repr), meter.usage)


def _scored(metric: Metric, example: dspy.Example, prediction: object, watch: CallWatch) -> float:
    try:
        score = call_metric(metric, example, prediction)
    except dspy.LMError as error:
        raise surface(error, "scoring with the metric") from error
    if watch.error is not None:
        raise surface(watch.error, "scoring with the metric") from watch.error
    return score


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...

    @property
    def usage(self) -> Usage: ...

    def to_dict(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=_Keyed)


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
            self._asked[key] = asyncio.ensure_future(self._do(work, arguments))
        return await asyncio.shield(self._asked[key])

    async def _do(self, work: Callable[..., R], arguments: tuple[object, ...]) -> R:
        record = await self._workers.run(work, *arguments)
        self._shelf.put(record)
        return record


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

    def __init__(
        self, executor: Executor, on_usage: Callable[[Usage], None] = lambda _: None
    ) -> None:
        """Run work on ``executor``; tell ``on_usage`` the total after each piece."""
        self._executor = executor
        self._on_usage = on_usage
        self.usage = Usage()

    async def run(self, work: Callable[..., R], *arguments: object) -> R:
        """Run ``work(*arguments)`` and account for its usage."""
        loop = asyncio.get_running_loop()
        record: R = await loop.run_in_executor(self._executor, work, *arguments)
        self.usage += record.usage
        self._on_usage(self.usage)
        return record

    def stop(self) -> None:
        """Start nothing more; what is running runs out."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class Tolerance:
    """
    How many rows the program may fail on.

    Args:
        allowed: Failures after which work stops; None never stops.
        provide_traceback: Log failures with their traceback.

    """

    def __init__(self, allowed: int | None = None, *, provide_traceback: bool = False) -> None:
        self._allowed = allowed
        self._provide_traceback = provide_traceback
        self._failed: set[str] = set()

    def check(self, rows: Iterable[Row]) -> None:
        """Count the failures among ``rows``; raise ProgramError when there are too many."""
        for row in rows:
            if row.failure is None or row.key in self._failed:
                continue
            self._failed.add(row.key)
            detail = row.failure.traceback if self._provide_traceback else row.failure.message
            logger.warning("the program failed on a row: %s: %s", row.failure.type, detail)
            if self._allowed is not None and len(self._failed) > self._allowed:
                message = (
                    f"the program failed on {len(self._failed)} rows, max_errors={self._allowed} "
                    f"allows no more; the last failure is {row.failure.type}: "
                    f"{row.failure.message}"
                )
                raise ProgramError(message)


class Rows:
    """Evaluates programs on examples, each pair once."""

    def __init__(
        self, bench: Bench, store: Store, workers: Workers, tolerance: Tolerance | None = None
    ) -> None:
        """Evaluate with ``bench`` on ``workers``, and keep rows in ``store``."""
        self._bench = bench
        self._once: Once[Row] = Once(store.rows, workers)
        self._tolerance = tolerance or Tolerance()

    async def evaluate(self, program: dspy.Module, examples: Sequence[dspy.Example]) -> list[Row]:
        """Return the rows of ``program`` on ``examples``, in their order."""
        prompts = of_prompts(program)
        keys = [digest([self._bench.key, prompts, identity(example)]) for example in examples]
        self._once.look_up(keys)
        rows = await together(
            [
                self._once.get(key, evaluate_row, self._bench, program, example, key)
                for key, example in zip(keys, examples, strict=True)
            ]
        )
        self._tolerance.check(rows)
        return rows


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


@contextmanager
def _cancelling(tasks: Iterable[asyncio.Future[Any]]) -> Generator[None]:
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


def complete(work: Coroutine[Any, Any, T], workers: Workers) -> T:
    """
    Run ``work`` to its end on an event loop of its own and return its result.

    The loop has a thread to itself, so that this also works where one is
    already running (a notebook, an async test). Ctrl-C cancels the work.
    """
    running: Future[Callable[[], object]] = Future()
    with ContextThreads(1, thread_name_prefix="mipro-loop") as thread:
        result = thread.submit(asyncio.run, _cancellable(work, running))
        try:
            return result.result()
        except BaseException:
            workers.stop()
            cancel = running.result()
            with suppress(RuntimeError):  # The loop has closed: there is nothing to cancel.
                cancel()
            raise
        finally:
            workers.stop()


async def _cancellable(work: Coroutine[Any, Any, T], running: Future[Callable[[], object]]) -> T:
    task = asyncio.current_task()
    if task is None:
        raise AssertionError
    loop = asyncio.get_running_loop()
    running.set_result(partial(loop.call_soon_threadsafe, task.cancel))
    return await work
