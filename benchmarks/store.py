"""Measure the store as it grows: how long rows take to write, and a warm session to read.

A store is filled with unused rows and with the rows of some tasks. Then a new
process works like a warm session: it opens the store, computes all keys, and
reads, per task, the artifact and the held-out rows of both programs. README.md
beside this file explains the columns.

    python benchmarks/store.py [--url postgresql://user@host/database]
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

import dspy

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.printing import Table
from pytest_mipro import fingerprint
from pytest_mipro.canonical import digest
from pytest_mipro.evaluate import (
    Evaluator,
    StoredRows,
    WorkerPool,
    gather,
    run_to_completion,
    stored_rows,
)
from pytest_mipro.records import Artifact, Row, Usage
from pytest_mipro.session import dump_state, restore_state
from pytest_mipro.store import Store
from pytest_mipro.task import Dataset, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

T = TypeVar("T")

COLUMNS = {
    "rows in store": 0,
    "what": 38,
    "times": 9,
    "ms each": 8,
    "cpu ms": 8,
    "limit ms": 0,
    "ms/limit": 0,
}
WRITE = 1.0
"""The most milliseconds that a row may take to write."""
WARM = 500.0
"""The most milliseconds that a warm session may take to read its results."""
BATCH_SIZE = 1000
HELD_OUT = 120


@dataclass
class Duration:
    """How long some work took, in seconds.

    Attributes:
        wall: Wall time.
        cpu: Processor time.
    """

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def measured(self) -> Generator[None]:
        """Add the duration of the block."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu


class Answer(dspy.Signature):
    """Answer the question."""

    question: str = dspy.InputField()
    reasoning: str = dspy.OutputField()
    answer: str = dspy.OutputField()


class Echo(dspy.Module):
    """A program that answers without a model."""

    def __init__(self, instruction: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # DSPy's
        self.answer = dspy.Predict(Answer.with_instructions(instruction))

    def forward(self, question: str) -> dspy.Prediction:
        """Answer ``question`` with itself."""
        return dspy.Prediction(reasoning=f"The question is: {question} " * 4, answer=question)


def is_right(example: dspy.Example, prediction: dspy.Prediction, _trace: object = None) -> float:
    """Score a prediction."""
    return float(example.answer == prediction.answer)


def declare(number: int) -> Task:
    """Return task ``number`` of a session."""
    rows = [
        dspy.Example(question=f"Which is number {row} of task {number}?", answer=f"{row}")
        for row in range(3 * HELD_OUT)
    ]
    examples = iter([row.with_inputs("question") for row in rows])
    splits = {name: [*islice(examples, HELD_OUT)] for name in ("train", "val", "test")}
    return Task(
        name=f"task {number}",
        test=f"test_module.py::test_{number}",
        program=Echo(f"Answer the question; this is task {number}."),
        metric=is_right,
        dataset=Dataset.load(splits),
        lm=dspy.LM("openai/none", api_key="x"),
        prompt_lm=dspy.LM("openai/none", api_key="x"),
    )


def evaluator_of(task: Task) -> Evaluator:
    """Return the evaluator of ``task``."""
    settings = {"lm": task.lm, "adapter": dspy.settings.adapter}
    models = (task.lm, dspy.settings.adapter, task.version)
    key = fingerprint.evaluation_key(task.program, task.metric, *models)
    return Evaluator(task.metric, settings, key)


def write_session(url: str, count: int) -> None:
    """Write the artifacts and the rows of a session that compiled ``count`` tasks."""
    with closing(Store.open(url)) as store:
        for number in range(count):
            task = declare(number)
            compiled = Echo(f"This is task {number}. Think before you answer.")
            task_fingerprint = fingerprint.task_fingerprint(task)
            parts, state = fingerprint.by_text(task_fingerprint.parts), dump_state(compiled)
            store.artifacts.put(
                Artifact(task_fingerprint.key, task.test, parts, state, Usage(), 1.0, "now")
            )
            workers = WorkerPool(8)
            rows = StoredRows(evaluator_of(task), store, workers)
            programs = (task.program, compiled)
            work = [rows.evaluate(program, task.dataset.test) for program in programs]
            run_to_completion(gather(work), workers)


def read_session(url: str, count: int) -> Duration:
    """Read the results of ``count`` tasks, and return the duration without loading code."""
    tasks = [declare(number) for number in range(count)]
    duration = Duration()
    with duration.measured(), closing(Store.open(url)) as store:
        for task in tasks:
            artifact = store.artifacts.get(fingerprint.task_fingerprint(task).key)
            assert artifact is not None
            evaluator = evaluator_of(task)
            for program in (task.program, restore_state(task.program, artifact.state)):
                assert stored_rows(evaluator, store, program, task.dataset.test) is not None
    return duration


def in_new_process(work: Callable[[str, int], T], url: str, count: int) -> T:
    """Return the result of ``work`` in a new process, as a session has one."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(work, (url, count))
        pool.close()
        pool.join()
    return result


def rows_from(start: int, count: int) -> Iterator[Row]:
    """Yield unused rows of the size of a short answer with its reasoning."""
    for number in range(start, start + count):
        prediction = {"reasoning": f"The number is {number}. " * 8, "answer": f"{number}"}
        key, answer = digest(["row", number]), digest(["answer", number])
        yield Row(key, number % 2, prediction, Usage(1, 400, 60), prediction_key=answer)


def write(store: Store, rows: Iterator[Row], batch_size: int, duration: Duration) -> None:
    """Write ``rows`` in batches, and add the duration."""
    while batch := list(islice(rows, batch_size)):
        with duration.measured():
            store.rows.put(*batch)


def let_a_day_pass(url: str) -> None:
    """Date the last use of all content in the store back by two days."""
    with closing(Store.open(url)) as store, store.connection() as connection:
        connection.exec_driver_sql("UPDATE rows SET used = used - 2 * 86400")
        connection.exec_driver_sql("UPDATE artifacts SET used = used - 2 * 86400")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of a new store.

    Attributes:
        url: The URL of the store.
        rows: How many rows it gets.
        tasks: How many tasks a session has.
        table: Prints the figures.
    """

    url: str
    rows: int
    tasks: int
    table: Table

    def run(self) -> None:
        """Fill the store, read it, and print the rows of the table."""
        url = self.url
        half, hundredth = self.rows // 2, self.rows // 100
        batched, single = Duration(), Duration()
        with closing(Store.open(url)) as store:
            write(store, rows_from(0, half), BATCH_SIZE, batched)
            in_new_process(write_session, url, self.tasks)
            write(store, rows_from(half, self.rows - half), BATCH_SIZE, batched)
            write(store, rows_from(self.rows, hundredth), 1, single)
        self._row(f"write a row, {BATCH_SIZE} at a time", self.rows, batched, WRITE)
        self._row("write a row, one at a time", hundredth, single, WRITE)
        warm = f"warm session of {self.tasks} tasks"
        self._row(warm, 1, in_new_process(read_session, url, self.tasks), WARM)
        let_a_day_pass(url)
        self._row(f"{warm}, a day later", 1, in_new_process(read_session, url, self.tasks), WARM)

    def _row(self, name: str, times: int, duration: Duration, limit: float) -> None:
        wall, cpu = 1000 * duration.wall / times, 1000 * duration.cpu / times
        figures = (f"{wall:.3f}", f"{cpu:.3f}", f"{limit:g}", f"{wall / limit:.3f}")
        self.table.row([f"{self.rows:,}", name, f"{times:,}", *figures])


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fill a store, and read from it.")
    parser.add_argument("--quick", action="store_true", help="a store of few rows")
    parser.add_argument("--rows", type=int, default=1_000_000, help="default 1000000")
    parser.add_argument("--tasks", type=int, default=10, help="default 10")
    parser.add_argument("--url", help="an empty PostgreSQL database, default a SQLite file")
    parser.add_argument(
        "--folder", type=Path, help="a folder for the store, which is removed at the end"
    )
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.rows, arguments.tasks = 200, 1
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    arguments = _arguments(argv)
    with TemporaryDirectory(dir=arguments.folder) as folder:
        url = arguments.url or f"sqlite:///{Path(folder) / 'store.db'}"
        Benchmark(url, arguments.rows, arguments.tasks, Table(COLUMNS)).run()


if __name__ == "__main__":
    main()
