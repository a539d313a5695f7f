from __future__ import annotations

import sys
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import ModuleType
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from executors import Killing, calls_in, logged_lm, process_pool
from scripted import scripted_lm
from sums import Asking, Function, evaluate, sums

from pytest_mipro.errors import ExecutorError, InfrastructureError
from pytest_mipro.evaluate import executor_runner, worker
from pytest_mipro.evaluate.retry_policy import RetryPolicy
from pytest_mipro.evaluate.throttle import Throttle, throttled
from pytest_mipro.evaluate.work import Work
from pytest_mipro.records import Row
from pytest_mipro.task import ExecutorSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import ProcessPoolExecutor
    from pathlib import Path

    from pytest_mipro.evaluate.worker_messages import Reply, Request
    from pytest_mipro.store import Store

pytestmark = pytest.mark.uses("cloudpickle", "dspy")

PATIENT = RetryPolicy(attempts=9, first_wait=0.001, total=60)


class Wrapping(Executor):
    """Runs work in a thread, as a function wraps it, and records the requests."""

    def __init__(self, wrap: Callable[[Request], Reply] = worker.attempt) -> None:
        self.requests: list[Request] = []
        self._wrap = wrap
        self._threads = ThreadPoolExecutor(1)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Record the requests and run them."""
        (requests,) = args
        self.requests += requests
        return self._threads.submit(lambda: tuple(map(self._wrap, requests)))


class Silent(Executor):
    """Never runs anything."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return a future that nobody completes."""
        return Future()


def row_of(key: str) -> Row:
    """Return a row."""
    return Row(key, 1.0)


def run_on(executor: object, work: Work[Row], throttle: Throttle | None = None) -> Row:
    """Return the row of some work on an executor."""
    source = ExecutorSource.of(executor)
    assert source is not None
    runner = executor_runner.ExecutorRunner(source, 2)
    return throttled(throttle or Throttle(PATIENT), runner.run, work)


@pytest.fixture
def renewable() -> Iterator[ExecutorSource]:
    """Return a source of pools of processes."""
    source = ExecutorSource(process_pool)
    yield source
    source.close()


class TestLostWorkers:
    def test_a_new_pool_takes_the_place_of_a_broken_one(
        self, store: Store, renewable: ExecutorSource, tmp_path: Path
    ) -> None:
        """A worker is killed: the rows in flight run again, and all are scored."""
        program, lm = Killing(tmp_path, "2 + 1", kills=1), logged_lm(tmp_path / "log")
        rows = evaluate(program, sums(4), store, executor=renewable, lm=lm)
        assert [row.score for row in rows] == [1.0] * 4
        assert len(list(tmp_path.glob("*.kill"))) == 1

    def test_a_row_that_kills_each_worker_stops_the_run(self, store: Store, tmp_path: Path) -> None:
        """Without a function that makes pools it does so at once, and says what to do."""
        program, lm = Killing(tmp_path, "0 + 1", kills=9), logged_lm(tmp_path / "log")
        with process_pool() as pool, pytest.raises(InfrastructureError) as caught:
            evaluate(program, sums(1), store, executor=ExecutorSource(pool), lm=lm)
        message = str(caught.value)
        assert message.startswith("the executor failed while running a row: BrokenProcessPool")
        assert "let mipro_executor return a function that makes one" in message
        assert "this is no score" in message
        assert len(list(tmp_path.glob("*.kill"))) == 1

    def test_a_loss_is_retried_and_then_named(self) -> None:
        """The message has the executor's error and the number of losses."""

        def lose(_: Request) -> Reply:
            message = "worker tcp://10.0.0.7 died"
            raise OSError(message)

        executor = Wrapping(lose)
        with pytest.raises(InfrastructureError, match=r"OSError: worker .* died \(3 times\)"):
            run_on(executor, Work(row_of, (), ("key",)))
        assert len(executor.requests) == 3

    def test_silence_is_reported_and_then_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A cluster without workers replies to nothing."""
        throttle, reported = Throttle(PATIENT), list[str]()
        monkeypatch.setattr(executor_runner, "_CHECK_SECONDS", 0.01)
        monkeypatch.setattr(executor_runner, "_SILENCE", 0.02)
        monkeypatch.setattr(executor_runner, "LONGEST_SILENCE", 0.1)
        monkeypatch.setattr(throttle, "add_error", lambda _, error: reported.append(error))
        with pytest.raises(InfrastructureError, match="NoReply: no worker has replied for 0 s"):
            run_on(Silent(), Work(row_of, (), ("key",)), throttle)
        assert reported[0] == "no worker has replied for 0 s"

    def test_an_executor_that_is_shut_down(self) -> None:
        """The error is that of the executor."""
        executor = ThreadPoolExecutor(1)
        executor.shutdown()
        with pytest.raises(InfrastructureError, match="RuntimeError: cannot schedule new futures"):
            run_on(executor, Work(row_of, (), ("key",)))


class TestWhatCrosses:
    def test_shared_parts_are_pickled_once(self, store: Store) -> None:
        """All rows of a program send the same parts, and few bytes of their own."""
        executor = Wrapping()
        evaluate(Function(), sums(5), store, executor=ExecutorSource(executor))
        assert len({request.shared for request in executor.requests}) == 1
        assert max(len(request.own) for request in executor.requests) < 600

    def test_large_parts_are_sent_to_a_worker_once(self, store: Store) -> None:
        """A worker that has them gets their digest."""
        executor, program = Wrapping(), Function()
        vars(program)["index"] = list(range(100_000))
        evaluate(program, sums(4), store, executor=ExecutorSource(executor), threads=1)
        sent = [request.shared is not None for request in executor.requests]
        assert sent == [False, True, False, False, False]

    def test_a_users_module_crosses_by_value(
        self, store: Store, processes: ProcessPoolExecutor, tmp_path: Path
    ) -> None:
        """A worker needs no file of it."""
        code = "import dspy\ndef add(question):\n    return dspy.Prediction(answer=PREFIX + '1')\n"
        module = ModuleType("module_of_this_session")
        module.__file__ = str(tmp_path / "module_of_this_session.py")
        vars(module)["PREFIX"] = ""
        exec(code, vars(module))
        sys.modules[module.__name__] = module
        try:
            source = ExecutorSource(processes)
            (row,) = evaluate(Function(module.add), sums(1), store, executor=source)
        finally:
            del sys.modules[module.__name__]
        assert (row.prediction, row.score) == ({"answer": "1"}, 1.0)

    def test_prompts_of_earlier_calls_stay(self, store: Store) -> None:
        """The history of a model does not cross."""
        executor, lm = Wrapping(), scripted_lm()
        lm("a prompt of an earlier call")
        evaluate(Asking(catches=False), sums(1), store, executor=ExecutorSource(executor), lm=lm)
        assert b"earlier call" not in (executor.requests[0].shared or b"")
        assert len(lm.history) == 1

    def test_what_cannot_cross_is_named(self, store: Store) -> None:
        """The error has the path from the program to the object."""
        program = Function()
        vars(program)["tools"] = {"search": [threading.Lock()]}
        with pytest.raises(ExecutorError) as caught:
            evaluate(program, sums(1), store, executor=ExecutorSource(Wrapping()))
        assert str(caught.value).startswith(
            "the program Function.tools['search'][0] (lock) cannot be sent to the executor: "
            "TypeError: cannot pickle '_thread.lock' object; make it"
        )

    def test_what_a_worker_lacks_is_named(self, store: Store) -> None:
        """The error has the worker's, and the next step."""
        program = Function()
        vars(program)["tool"] = Unloadable()
        with pytest.raises(ExecutorError, match="ModuleNotFoundError: No module named 'absent'"):
            evaluate(program, sums(1), store, executor=ExecutorSource(Wrapping()))

    def test_versions_are_compared(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """Bytecode of another Python would crash a worker, or worse."""
        driver = {**worker.versions(), "Python": "2.7"}

        def attempt(request: Request) -> Reply:
            vars(request)["versions"] = driver
            return worker.attempt(request)

        with pytest.raises(ExecutorError, match=r"it has Python 3\.\d+ at .*has 2\.7; workers"):
            evaluate(Function(), sums(1), store, executor=ExecutorSource(Wrapping(attempt)))

    def test_a_worker_without_the_package(self, store: Store) -> None:
        """The error says what to install."""

        def attempt(_: Request) -> Reply:
            message = "No module named 'pytest_mipro'"
            raise ModuleNotFoundError(message)

        with pytest.raises(ExecutorError, match="install the driver's version of it on all"):
            evaluate(Function(), sums(1), store, executor=ExecutorSource(Wrapping(attempt)))


def test_stopping_cancels_what_has_not_begun(store: Store, tmp_path: Path) -> None:
    """After an error, rows that wait in the executor's queue make no call."""
    lm = logged_lm(tmp_path / "log", dspy.LMBillingError("no credit"), failures=99)
    source = ExecutorSource(lambda: ThreadPoolExecutor(1))
    with pytest.raises(InfrastructureError, match="no credit"):
        evaluate(Asking(catches=False), sums(8), store, executor=source, threads=8, lm=lm)
    source.close()
    assert calls_in(tmp_path / "log") < 8


class Unloadable:
    """Loads as a module that no worker has."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return __import__, ("absent",)
