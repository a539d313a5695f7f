"""Measure how tight the bound of a dry run is, and whether a budget of LM calls holds.

The benchmark compiles random tasks with language models in this process, each
twice: without a limit, to measure how much of the bound of ``--mipro-dry-run``
is used, and with a random budget of LM calls, which may be exceeded by no more
than the calls in flight.

    python benchmarks/budgets.py [--tasks 50]
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dspy

import pytest_mipro
from benchmarks.landscape import SHAPES, Landscape
from benchmarks.optimizers import STUDENTS, SimulatedEngine, exact, examples, local_lm
from benchmarks.printing import Table
from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.optimize import CallProfile, bounds_of_compile
from pytest_mipro.spending import Account, Limit
from pytest_mipro.task import Options

COLUMNS = {
    "tasks": 7,
    "calls/bound": 0,
    "highest": 0,
    "over bound": 0,
    "cut": 0,
    "refused": 0,
    "calls/budget": 0,
    "over budget": 0,
    "in flight": 0,
}
SMALL = (28, 31)
"""The numbers of tasks with few calls."""


@dataclass(frozen=True)
class Case:
    """A random task: its model, program, numbers of examples, threads and options."""

    landscape: str
    predictors: int
    train: int
    val: int
    threads: int
    options: Options

    @classmethod
    def draw(cls, number: int) -> Case:
        """Return the task with this number."""
        rng = random.Random(number)
        candidates = rng.randint(2, 8)
        return cls(
            landscape=f"{rng.choice(sorted(SHAPES))}-{number}",
            predictors=rng.choice(sorted(STUDENTS)),
            train=rng.randint(10, 40),
            val=rng.randint(10, 60),
            threads=rng.choice([1, 4, 16]),
            options=Options.checked(
                auto=None,
                num_candidates=candidates,
                num_trials=rng.randint(2, 20),
                max_bootstrapped_demos=rng.randint(0, 4),
                max_labeled_demos=rng.randint(1, 4),
                seed=number,
                minibatch=False,
            ),
        )

    @property
    def bound(self) -> int:
        """The most LM calls of the task by its dry run."""
        profile = CallProfile(self.predictors, "task", "task", "task")
        split = examples("train", self.train), examples("val", self.val)
        bounds = bounds_of_compile(STUDENTS[self.predictors](), self.options, *split, profile)
        return sum(bound.calls or 0 for bound in bounds)

    def spend(self, limit: int | None) -> tuple[int, str]:
        """Compile under a limit of LM calls; return the calls made and how the compile ended."""
        limits = [] if limit is None else [Limit("calls", limit, "lm_calls")]
        engine = SimulatedEngine(Landscape.named(self.landscape))
        options = dict(vars(self.options))
        constructor = {name: options.pop(name) for name in _CONSTRUCTOR}
        with Account(limits).current(), dspy.context(lm=local_lm(engine, cache=False)):
            optimizer = pytest_mipro.MIPROv2(exact, num_threads=self.threads, **constructor)
            try:
                optimizer.compile(
                    STUDENTS[self.predictors](),
                    trainset=examples("train", self.train),
                    valset=examples("val", self.val),
                    **options,
                )
            except BudgetExceeded:
                return len(engine.replies), "refused"
        return len(engine.replies), "whole" if optimizer.cut is None else "cut"


_CONSTRUCTOR = ("auto", "num_candidates", "init_temperature", "metric_threshold", "rounds")


@dataclass(frozen=True)
class Result:
    """The figures of one task: shares of the bound and the budget, calls over, and the end."""

    used: float
    of_budget: float
    over_budget: int
    in_flight: int
    end: str


def run(case: Case, number: int) -> Result:
    """Compile ``case`` without a limit, then with one."""
    calls, _ = case.spend(None)
    limit = random.Random(f"limit {number}").randint(2 * calls // 3, calls)
    limited, end = case.spend(limit)
    # A row that has begun is finished with all of its calls.
    in_flight = case.threads * case.predictors
    return Result(calls / case.bound, limited / limit, max(0, limited - limit), in_flight, end)


def main() -> None:
    """Print the table: a row per ten tasks, and a row of all tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=50, help="how many tasks")
    parser.add_argument("--quick", action="store_true", help="two small tasks")
    arguments = parser.parse_args()
    numbers = SMALL if arguments.quick else range(arguments.tasks)
    table = Table(COLUMNS)
    results = []
    for count, number in enumerate(numbers, start=1):
        results.append(run(Case.draw(number), number))
        if count % 10 == 0:
            show(table, results[-10:], f"{count - 9}-{count}")
    show(table, results, "all")
    if arguments.quick:
        show(table, results[:1], "first")
    if any(result.used > 1 or result.over_budget >= result.in_flight for result in results):
        sys.exit("a bound or a budget did not hold")


def show(table: Table, results: list[Result], name: str) -> None:
    """Print a row."""
    ends = [result.end for result in results]
    table.row(
        [
            name,
            f"{mean(result.used for result in results):.2f}",
            f"{max(result.used for result in results):.2f}",
            sum(result.used > 1 for result in results),
            ends.count("cut"),
            ends.count("refused"),
            f"{mean(result.of_budget for result in results):.2f}",
            max(result.over_budget for result in results),
            max(result.in_flight for result in results),
        ]
    )


if __name__ == "__main__":
    main()
