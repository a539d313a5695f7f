"""Wait for several asyncio tasks, and cancel the rest after an error."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Iterable, Sequence

T = TypeVar("T")
U = TypeVar("U")


async def gather(awaitables: Sequence[Coroutine[Any, Any, T] | asyncio.Future[T]]) -> list[T]:
    """Return all results in order; the first error cancels the rest."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    with _cancelling(tasks):
        return await asyncio.gather(*tasks)


async def gather_two(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Return two results; an error in either coroutine cancels the other."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    with _cancelling(tasks):
        return await asyncio.gather(*tasks)


async def first_result(tasks: Sequence[asyncio.Future[T]]) -> T:
    """Return the result of the first of ``tasks``, or raise the first error of any."""
    pending = set(tasks)
    while not tasks[0].done():
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
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
    """Cancel the tasks that are not done, and retrieve their errors."""
    for task in tasks:
        task.add_done_callback(retrieve_error)
        task.cancel()


def retrieve_error(task: asyncio.Future[Any]) -> None:
    """Mark the error of a task as retrieved."""
    # The first error is raised where the task is awaited. Of all later ones asyncio would log
    # "exception was never retrieved" when the garbage collector drops the task.
    if not task.cancelled():
        task.exception()
