from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from project import start_script
from sums import Function, evaluate, sums

from pytest_mipro.evaluate import event_loop
from pytest_mipro.evaluate.event_loop import run_to_completion
from pytest_mipro.evaluate.thread_pool import ContextThreadPool
from pytest_mipro.evaluate.worker_pool import WorkerPool
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from forks import ForkServer

    from pytest_mipro.records import Row

INTERRUPTED = """
import signal, sys, time
import dspy
from pytest_mipro.evaluate import (
    Evaluator, StoredRows, WorkerPool, run_to_completion,
)
from pytest_mipro.store import Store

class Slow(dspy.Module):
    def forward(self, question):
        print(question, flush=True)
        time.sleep(0.1)
        return dspy.Prediction(answer="1")

# The process that runs the tests may ignore the signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
store = Store.open(sys.argv[1])
workers = WorkerPool(2)
rows = StoredRows(Evaluator(lambda *_: 1.0, {}, "key"), store, workers)
examples = [dspy.Example(question=str(n)).with_inputs("question") for n in range(1000)]
try:
    run_to_completion(rows.evaluate(Slow(), examples), workers)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_the_result_is_returned() -> None:
    """The result of the coroutine is that of the call."""

    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    assert run_to_completion(work(), WorkerPool(1)) == "done"


def test_the_error_is_raised() -> None:
    """An error of the coroutine is raised with its traceback."""

    async def work() -> None:
        await asyncio.sleep(0)
        message = "here"
        raise KeyError(message)

    with pytest.raises(KeyError, match="here") as caught:
        run_to_completion(work(), WorkerPool(1))
    assert caught.traceback[-1].name == "work"


@pytest.mark.uses("dspy")
def test_it_works_inside_a_running_loop(store: Store) -> None:
    """A notebook and an async test run a loop of their own."""

    async def notebook() -> list[Row]:
        await asyncio.sleep(0)
        return evaluate(Function(), sums(3), store)

    assert [row.score for row in asyncio.run(notebook())] == [1.0] * 3


@pytest.mark.uses("dspy")
def test_its_threads_end(store: Store) -> None:
    """Some time after the call none of its threads is alive."""
    threads = set(threading.enumerate())
    evaluate(Function(), sums(10), store)
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= threads


@pytest.mark.uses("dspy")
def test_ctrl_c_keeps_finished_rows(tmp_path: Path, fork_server: ForkServer | None) -> None:
    """The caller gets KeyboardInterrupt soon, and the store has the rows that were finished."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    process = start_script(fork_server, INTERRUPTED, url, folder=tmp_path)
    assert process.stdout is not None
    started = [process.stdout.readline() for _ in range(6)]
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    *questions, last = output.splitlines()
    assert last == "interrupted"
    assert all(line.isdigit() for line in questions)
    store = Store.open(url)
    with store.connection() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM rows").scalar_one()
    store.close()
    assert 4 <= count <= len(started) + len(questions) < 100


def test_progress_is_reported_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool reports without a record, as while calls are retried, until the work ends."""
    monkeypatch.setattr(event_loop, "PROGRESS_INTERVAL", 0.01)
    counts: list[int] = []
    workers = WorkerPool(1)
    workers.on_record = lambda: counts.append(workers.new_records)
    run_to_completion(asyncio.sleep(0.2), workers)
    assert counts[:2] == [0, 0]
    number = len(counts)
    time.sleep(0.05)
    assert len(counts) == number


def test_an_error_of_the_progress_report_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report may be a function of the user, whose error must not be swallowed."""
    monkeypatch.setattr(event_loop, "PROGRESS_INTERVAL", 0.01)
    workers = WorkerPool(1)

    def fail() -> None:
        message = "cannot report"
        raise ValueError(message)

    workers.on_record = fail
    with pytest.raises(ValueError, match="cannot report"):
        run_to_completion(asyncio.sleep(60), workers)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no such signal")
def test_a_timeout_of_the_test_ends_the_work() -> None:
    """An exception that a signal handler raises cancels the coroutine."""
    steps: list[int] = []

    class TimeoutOfTestError(BaseException):
        pass

    def fail(*_: object) -> None:
        raise TimeoutOfTestError

    async def work() -> None:
        while True:
            steps.append(1)
            if len(steps) == 3:
                os.kill(os.getpid(), signal.SIGALRM)
            await asyncio.sleep(0.01)

    handler = signal.signal(signal.SIGALRM, fail)
    try:
        with pytest.raises(TimeoutOfTestError):
            run_to_completion(work(), WorkerPool(1))
    finally:
        signal.signal(signal.SIGALRM, handler)
    count = len(steps)
    time.sleep(0.2)
    assert len(steps) == count


def test_an_interrupt_while_the_loop_starts_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal may arrive before the call that starts the loop has returned."""
    started = threading.Event()
    steps: list[int] = []

    class InterruptedPool(ContextThreadPool):
        def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
            super().submit(*args, **kwargs)
            assert started.wait(60)
            raise KeyboardInterrupt

    async def work() -> None:
        while True:
            steps.append(1)
            started.set()
            await asyncio.sleep(0.01)

    monkeypatch.setattr(event_loop, "ContextThreadPool", InterruptedPool)
    with pytest.raises(KeyboardInterrupt):
        run_to_completion(work(), WorkerPool(1))
    count = len(steps)
    time.sleep(0.05)
    assert len(steps) == count
