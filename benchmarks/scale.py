"""Measure how rows spread over processes, and what the driver needs for each of them.

A program with one predictor answers, and a simulated model in the same process, which takes no
time or waits. Without a wait the processor is the limit, mostly that of DSPy, which renders and
parses prompts; with one it is the number of rows in flight. README.md beside this file explains
the columns.

    python benchmarks/scale.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

import dspy
from dspy import lm15

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.printing import Listed, Table
from pytest_mipro.evaluate import Evaluator, StoredRows, WorkerPool, run_to_completion
from pytest_mipro.store import Store
from pytest_mipro.task import ExecutorSource

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection

COLUMNS = {
    "latency ms": 0,
    "executor": 9,
    "workers": 0,
    "in flight": 0,
    "rows": 5,
    "rows/s": 7,
    "times one": 0,
    "driver ms/row": 0,
}
EXECUTORS = ("threads", "processes", "dask")
_THREADS = 16
"""Rows that a process with threads answers at a time if the model waits."""
_WAITS_AHEAD = 2
"""Rows in flight per row that is answered, so that no worker waits for the driver."""
_QUICK_AHEAD = 16
"""The same where a row takes milliseconds: several of them are sent together."""


class Engine:
    """A model that answers with a sum after a wait.

    Args:
        latency: The seconds of a call.
    """

    supports_response_schema = False
    supported_params: ClassVar[frozenset[str]] = frozenset({"temperature", "max_tokens"})

    def __init__(self, latency: float) -> None:
        self._latency = latency

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request``."""
        if self._latency:
            time.sleep(self._latency)
        text = "[[ ## reasoning ## ]]\nIt is 7.\n\n[[ ## answer ## ]]\n7\n\n[[ ## completed ## ]]"
        return lm15.Response(
            id="simulated",
            model=request.model,
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=200, output_tokens=20, total_tokens=220),
        )

    def dump_state(self) -> dict[str, float]:
        """Return what decides the answers."""
        return {"latency": self._latency}


def is_right(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:  # ruff: ignore[unused-function-argument] - DSPy's signature
    """Return whether the answer is the example's."""
    return bool(example.answer == prediction.answer)


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        latency: The seconds of a call.
        executor: One of ``EXECUTORS``.
        workers: The number of processes.
    """

    latency: float
    executor: str
    workers: int

    @property
    def threads_per_worker(self) -> int:
        """The rows that a process answers at a time."""
        return _THREADS if self.latency and self.executor != "processes" else 1

    @property
    def in_flight(self) -> int:
        """The rows in flight."""
        if self.executor == "threads":
            return self.threads_per_worker
        ahead = _WAITS_AHEAD if self.latency else _QUICK_AHEAD
        return self.workers * self.threads_per_worker * ahead

    def rows(self, most: int) -> int:
        """Return how many rows to evaluate: fewer if they wait for the model."""
        return most if self.latency == 0 else min(most, 8 * self.in_flight)


@dataclass(frozen=True)
class Figures:
    """The figures of one run: rows per second, and the driver's processor seconds per row."""

    rows_per_second: float
    driver: float


def serve_cluster(workers: int, threads: int, connection: Connection) -> None:
    """Run a cluster of Dask, send its address, and wait for a message."""
    from distributed import LocalCluster  # ruff: ignore[import-outside-top-level] - not all need it

    with LocalCluster(
        n_workers=workers, threads_per_worker=threads, dashboard_address=":0", silence_logs=50
    ) as cluster:
        connection.send(cluster.scheduler_address)
        connection.recv()


@contextmanager
def dask_executor(workers: int, threads: int) -> Generator[Executor]:
    """Yield the executor of a cluster whose scheduler is in a process of its own."""
    from distributed import Client  # ruff: ignore[import-outside-top-level] - the same

    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve_cluster, args=(workers, threads, there))
    process.start()
    try:
        with Client(here.recv()) as client:
            yield client.get_executor(pure=False)
    finally:
        here.send(None)
        process.join()


def executor_of(setting: Setting) -> AbstractContextManager[Executor | None]:
    """Return the executor of a setting; None for threads of this process."""
    if setting.executor == "threads":
        return nullcontext()
    if setting.executor == "dask":
        return dask_executor(setting.workers, setting.threads_per_worker)
    return ProcessPoolExecutor(setting.workers, multiprocessing.get_context("spawn"))


def measure(settings: Sequence[Setting], rows: int, repeat: int) -> list[Figures]:
    """Return the medians of each setting, whose runs alternate with those of the others."""
    with ExitStack() as stack:
        executors = [stack.enter_context(executor_of(setting)) for setting in settings]
        pairs = list(zip(settings, executors, strict=True))
        for setting, executor in pairs:  # Loads the code of all workers.
            run(setting, executor, 4 * setting.in_flight)
        rounds = [
            [run(setting, executor, setting.rows(rows)) for setting, executor in pairs]
            for _ in range(repeat)
        ]
    return [
        Figures(
            median(figures.rows_per_second for figures in of_setting),
            median(figures.driver for figures in of_setting),
        )
        for of_setting in zip(*rounds, strict=True)
    ]


def run(setting: Setting, executor: Executor | None, count: int) -> Figures:
    """Evaluate ``count`` rows, and return the figures."""
    lm = dspy.LM("simulated", engine=Engine(setting.latency), cache=False, num_retries=0)
    examples = [
        dspy.Example(question=f"What is {number} + 7?", answer=7).with_inputs("question")
        for number in range(count)
    ]
    evaluator = Evaluator(is_right, {"lm": lm}, "key")
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Store.open_file(Path(folder) / "store.db")) as store,
    ):
        workers = WorkerPool(setting.in_flight, executor=ExecutorSource.of(executor))
        stored = StoredRows(evaluator, store, workers)
        program: Any = dspy.ChainOfThought("question -> answer: int")
        start, processor = time.perf_counter(), time.process_time()
        run_to_completion(stored.evaluate(program, examples), workers)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
    return Figures(count / seconds, processor / count)


def main() -> None:
    """Print the table."""
    options = _options()
    table = Table(COLUMNS)
    for latency, executor in product(options.latency, options.executors):
        numbers = options.workers if executor != "threads" else [1]
        settings = [Setting(latency / 1000, executor, number) for number in numbers]
        measured = measure(settings, options.rows, options.repeat)
        for setting, figures in zip(settings, measured, strict=True):
            times_one = figures.rows_per_second / measured[0].rows_per_second
            table.row(
                [
                    *(latency, executor, setting.workers, setting.in_flight),
                    setting.rows(options.rows),
                    f"{figures.rows_per_second:.1f}",
                    f"{times_one:.2f}",
                    f"{1000 * figures.driver:.2f}",
                ]
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000, help="rows where the model does not wait")
    parser.add_argument("--workers", type=Listed(int), default=[1, 2, 4], help="processes")
    parser.add_argument("--latency", type=Listed(int), default=[0, 200], help="milliseconds")
    parser.add_argument(
        "--executors", type=Listed(str, EXECUTORS), default=list(EXECUTORS), help="what runs rows"
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs, of which medians are shown")
    parser.add_argument("--quick", action="store_true", help="check that it works, in seconds")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.workers, options.latency = 16, [1], [0]
        options.executors, options.repeat = ["threads", "processes"], 1
    return options


if __name__ == "__main__":
    main()
