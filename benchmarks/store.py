"""
The time of writing rows to a growing store, and of a warm session that reads it.

The store is filled with rows that no session reads, and with the rows of some tasks.
Then a new process works as a warm session: it opens the store, computes all keys, and
reads, for each task, the artifact and the held-out rows of both programs. See README.md
beside this file for the columns.

    python benchmarks/store.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import sqlite3
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
    ContextThreadPool,
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
"""Milliseconds that writing a row may take."""
WARM = 500.0
"""Milliseconds that a warm session may take."""
TOGETHER = 1000
HELD_OUT = 120
_LONG_AGO = 2 * 86_400


@dataclass
class Took:
    """
    The seconds of some work.

    Attributes:
        wall: Elapsed time.
        cpu: Processor time.

    """

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def measured(self) -> Generator[None]:
        """Add the time of the block."""
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
    """Looks like a program, and answers without a model."""

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
    """Return one of the tasks of a session."""
    rows = [
        dspy.Example(question=f"Which is number {row} of task {number}?", answer=f"{row}")
        for row in range(3 * HELD_OUT)
    ]
    left = iter([row.with_inputs("question") for row in rows])
    splits = {name: [*islice(left, HELD_OUT)] for name in ("train", "val", "test")}
    return Task(
        name=f"task {number}",
        test=f"test_module.py::test_{number}",
        program=Echo(f"Answer the question; this is task {number}."),
        metric=is_right,
        dataset=Dataset.load(splits),
        lm=dspy.LM("openai/none", api_key="x"),
        prompt_lm=dspy.LM("openai/none", api_key="x"),
    )


def bench_of(task: Task) -> Evaluator:
    """Return the evaluator of the rows of ``task``."""
    settings = {"lm": task.lm, "adapter": dspy.settings.adapter}
    shared = (task.lm, dspy.settings.adapter, task.version)
    key = fingerprint.of_evaluation(task.program, task.metric, *shared)
    return Evaluator(task.metric, settings, key)


def compile_nothing(url: str, count: int) -> None:
    """Write the records of a session that has compiled its tasks."""
    with closing(Store.open(url)) as store:
        for number in range(count):
            task = declare(number)
            compiled = Echo(f"This is task {number}. Think before you answer.")
            task_key = fingerprint.of_task(task)
            parts, state = dict(task_key.parts), dump_state(compiled)
            store.artifacts.put(
                Artifact(task_key.key, task.test, parts, {}, state, Usage(), 1.0, "now")
            )
            workers = WorkerPool(ContextThreadPool(8))
            rows = StoredRows(bench_of(task), store, workers)
            programs = (task.program, compiled)
            work = [rows.evaluate(program, task.dataset.test) for program in programs]
            run_to_completion(gather(work), workers)


def recall(url: str, count: int) -> Took:
    """Read all records of a session, with all modules loaded, and return the time."""
    tasks = [declare(number) for number in range(count)]
    took = Took()
    with took.measured(), closing(Store.open(url)) as store:
        for task in tasks:
            artifact = store.artifacts.get(fingerprint.of_task(task).key)
            assert artifact is not None
            bench = bench_of(task)
            for program in (task.program, restore_state(task.program, artifact.state)):
                assert stored_rows(bench, store, program, task.dataset.test) is not None
    return took


def apart(work: Callable[[str, int], T], url: str, count: int) -> T:
    """Run ``work`` in a new process, as every session does."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(work, (url, count))
        pool.close()
        pool.join()
    return result


def rows_from(start: int, count: int) -> Iterator[Row]:
    """Yield rows that no session reads, each with a short answer and its reasoning."""
    for number in range(start, start + count):
        prediction = {"reasoning": f"The number is {number}. " * 8, "answer": f"{number}"}
        key, answer = digest(["row", number]), digest(["answer", number])
        yield Row(key, number % 2, prediction, Usage(1, 400, 60), answer=answer)


def write(store: Store, rows: Iterator[Row], gather: int, took: Took) -> None:
    """Write ``rows`` in batches."""
    while batch := list(islice(rows, gather)):
        with took.measured():
            store.rows.put(*batch)


def let_a_day_pass(path: Path) -> None:
    """Set the last use of all records to the day before yesterday."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE rows SET used = used - ?", [_LONG_AGO])
        connection.execute("UPDATE artifacts SET used = used - ?", [_LONG_AGO])
        connection.commit()


@dataclass(frozen=True)
class Measuring:
    """
    A store that is filled, and the table of the measurements.

    Attributes:
        path: The path of the store.
        rows: The number of rows.
        tasks: The number of tasks of a session.
        table: The table to print.

    """

    path: Path
    rows: int
    tasks: int
    table: Table

    def run(self) -> None:
        """Carry out all measurements."""
        url = f"sqlite:///{self.path}"
        half, few = self.rows // 2, self.rows // 100
        many, single = Took(), Took()
        with closing(Store.open(url)) as store:
            write(store, rows_from(0, half), TOGETHER, many)
            apart(compile_nothing, url, self.tasks)
            write(store, rows_from(half, self.rows - half), TOGETHER, many)
            write(store, rows_from(self.rows, few), 1, single)
        self._row(f"write a row, {TOGETHER} at a time", self.rows, many, WRITE)
        self._row("write a row, one at a time", few, single, WRITE)
        warm = f"warm session of {self.tasks} tasks"
        self._row(warm, 1, apart(recall, url, self.tasks), WARM)
        let_a_day_pass(self.path)
        self._row(f"{warm}, a day later", 1, apart(recall, url, self.tasks), WARM)

    def _row(self, operation: str, times: int, took: Took, limit: float) -> None:
        wall, cpu = 1000 * took.wall / times, 1000 * took.cpu / times
        figures = (f"{wall:.3f}", f"{cpu:.3f}", f"{limit:g}", f"{wall / limit:.3f}")
        self.table.row([f"{self.rows:,}", operation, f"{times:,}", *figures])


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fill a store, and look things up in it.")
    parser.add_argument("--quick", action="store_true", help="a store of few rows")
    parser.add_argument("--rows", type=int, default=1_000_000, help="default 1000000")
    parser.add_argument("--tasks", type=int, default=10, help="default 10")
    parser.add_argument("--folder", type=Path, help="where the store is made; it is removed again")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.rows, arguments.tasks = 2000, 2
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    arguments = _arguments(argv)
    with TemporaryDirectory(dir=arguments.folder) as folder:
        Measuring(Path(folder) / "store.db", arguments.rows, arguments.tasks, Table(COLUMNS)).run()


if __name__ == "__main__":
    main()
