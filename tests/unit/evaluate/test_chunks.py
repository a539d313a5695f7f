from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.evaluate import chunks
from pytest_mipro.evaluate.worker_messages import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = b"shared"


class Recording(Executor):
    """Records the requests of each task; the test completes it."""

    def __init__(self) -> None:
        self.tasks: list[tuple[Request, ...]] = []
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Record a task."""
        self.tasks.append(*args)
        self.futures.append(Future())
        return self.futures[-1]


def request(own: bytes = b"") -> Request:
    """Return a request that nobody runs."""
    return Request(len, "digest", SHARED, own, ("driver", 1), {}, None, None)  # type: ignore[arg-type]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> chunks.ChunkSender:
    """Return a sender with room for two rows in a chunk, whose rows are quick."""
    monkeypatch.setattr(chunks, "_LINGER", 60)
    sender = chunks.ChunkSender(16)
    sender._seconds = 0.001
    return sender


def send_two(sender: chunks.ChunkSender, executor: Executor) -> list[Future[Reply]]:
    """Send two requests at the same time, and return their futures."""
    with ThreadPoolExecutor(2) as threads:
        sent = [threads.submit(sender.send, executor, request(own)) for own in (b"1", b"2")]
        return sorted((future.result() for future in sent), key=id)


def test_quick_rows_are_sent_together(quick: chunks.ChunkSender) -> None:
    """One task has both requests, and their shared parts once; each row gets its reply."""
    executor = Recording()
    futures = send_two(quick, executor)
    (requests,) = executor.tasks
    assert [item.shared for item in requests] == [SHARED, None]
    replies = tuple(Reply(cannot_load=item.own.decode()) for item in requests)
    executor.futures[0].set_result(replies)
    assert {future.result().cannot_load for future in futures} == {"1", "2"}


def test_an_error_of_a_task_is_that_of_its_rows(quick: chunks.ChunkSender) -> None:
    """A worker that is lost has lost all of them."""
    executor = Recording()
    futures = send_two(quick, executor)
    executor.futures[0].set_exception(OSError("gone"))
    assert [str(future.exception()) for future in futures] == ["gone", "gone"]


def test_slow_rows_are_sent_alone() -> None:
    """So are all rows before one has come back, and those of a run with few rows in flight."""
    for sender, seconds in ((chunks.ChunkSender(99), 0.05), (chunks.ChunkSender(15), 0.0001)):
        sender._seconds = seconds
        executor = Recording()
        for _ in range(3):
            sender.send(executor, request())
        assert [len(requests) for requests in executor.tasks] == [1, 1, 1]


def test_a_row_does_not_wait_long_for_others(
    quick: chunks.ChunkSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last row of all is sent alone."""
    monkeypatch.setattr(chunks, "_LINGER", 0.001)
    executor = Recording()
    quick.send(executor, request())
    assert [len(requests) for requests in executor.tasks] == [1]


def test_tasks_that_may_run_are_not_cancelled(quick: chunks.ChunkSender) -> None:
    """An executor of another library may cancel running work, with its paid results."""
    executor = Recording()
    futures = send_two(quick, executor)
    quick.cancel()
    assert not any(future.done() for future in futures)
