"""Measure the quality and the calls of a search: ``pytest_mipro.MIPROv2`` and DSPy's.

Both compile on the same landscapes, in this process and without a network. The
table compares the number of their calls and the true held-out scores of their
results. README.md beside this file explains the columns.

    python benchmarks/search_quality.py
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from operator import attrgetter
from pathlib import Path
from statistics import stdev
from typing import TYPE_CHECKING, Any

import dspy

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.landscape import SHAPES, Landscape, digest
from benchmarks.optimizers import (
    FEW,
    OPTIMIZERS,
    STUDENTS,
    VALSET,
    Outcome,
    SimulatedEngine,
    Work,
    calls,
    local_lm,
    mute,
    true_score,
)
from benchmarks.printing import Listed, Table
from pytest_mipro.gate import student_critical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

COLUMNS = {
    "over": 22,
    "runs": 0,
    "dspy calls": 0,
    "our calls": 0,
    "ratio": 0,
    "dspy prompt": 0,
    "our prompt": 0,
    "start": 0,
    "dspy score": 0,
    "our score": 0,
    "difference": 0,
    "95% interval": 16,
}
_THREADS = 4
"""Calls at the same time; they have no latency, so more threads would be slower."""


@dataclass(frozen=True)
class Job:
    """One compile on one landscape."""

    landscape: str
    work: Work


@dataclass(frozen=True)
class Pair:
    """Both optimizers on the same landscape, size, program and seed."""

    landscape: str
    work: Work
    dspy: Outcome
    ours: Outcome

    @property
    def difference(self) -> float:
        """How many points the score of ours is higher."""
        return self.ours.score - self.dspy.score


def run(job: Job) -> tuple[Job, Outcome]:
    """Compile, count, and compute the true score."""
    landscape = Landscape.named(job.landscape)
    engine = SimulatedEngine(landscape)
    program = job.work.compile(local_lm(engine))
    start = true_score(STUDENTS[job.work.predictors](), landscape)
    return job, Outcome(*calls(engine.replies), start, true_score(program, landscape))


class KnownOutcomes:
    """Outcomes of ``dspy.MIPROv2`` in a file.

    They take most of the time, and do not depend on this package.

    Args:
        path: The file; None stores nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._outcomes: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            self._outcomes = json.loads(path.read_text(encoding="utf-8"))

    def get(self, job: Job) -> Outcome | None:
        """Return the stored outcome of ``job``, if there is one."""
        figures = self._outcomes.get(_identity(job))
        return None if figures is None else Outcome(**figures)

    def add(self, job: Job, outcome: Outcome) -> None:
        """Store the outcome of ``job`` if it is DSPy's."""
        if self._path is not None and job.work.optimizer == "dspy":
            self._outcomes[_identity(job)] = asdict(outcome)
            self._path.write_text(json.dumps(self._outcomes, indent=1), encoding="utf-8")


@cache
def _task() -> str:
    """Return a digest of the task; the students' code is part of the requests."""
    sources = [Path(__file__).with_name(f"{name}.py") for name in ("landscape", "optimizers")]
    return digest(dspy.__version__, *(source.read_text(encoding="utf-8") for source in sources))


def _identity(job: Job) -> str:
    return f"{_task()} {job}"


def _outcomes(
    jobs: Sequence[Job], known_outcomes: KnownOutcomes, processes: int
) -> dict[Job, Outcome]:
    outcomes = {job: outcome for job in jobs if (outcome := known_outcomes.get(job)) is not None}
    new = [job for job in jobs if job not in outcomes]
    with multiprocessing.get_context("spawn").Pool(processes, initializer=mute) as pool:
        for number, (job, outcome) in enumerate(pool.imap_unordered(run, new), start=1):
            outcomes[job] = outcome
            known_outcomes.add(job, outcome)
            print(f"\r{number} of {len(new)} compiles", end="", file=sys.stderr, flush=True)
        pool.close()
        pool.join()
    print(file=sys.stderr)
    return outcomes


def _pairs(outcomes: dict[Job, Outcome]) -> Iterator[Pair]:
    for job, outcome in outcomes.items():
        if job.work.optimizer == "ours":
            dspy_job = replace(job, work=replace(job.work, optimizer="dspy", rounds=None))
            yield Pair(job.landscape, job.work, outcomes[dspy_job], outcome)


def _interval(pairs: Sequence[Pair]) -> tuple[float, float] | None:
    """Return Student's interval of the mean difference; a landscape counts once."""
    by_landscape = defaultdict(list)
    for pair in pairs:
        by_landscape[pair.landscape].append(pair.difference)
    means = [_mean(differences) for differences in by_landscape.values()]
    if len(means) < 2:
        return None
    half_width = student_critical(0.025, len(means) - 1) * stdev(means) / math.sqrt(len(means))
    return _mean(means) - half_width, _mean(means) + half_width


def _cells(over: str, pairs: Sequence[Pair]) -> list[object]:
    interval = _interval(pairs)
    dspy_calls, our_calls = (
        _mean(getattr(pair, name).task_calls for pair in pairs) for name in OPTIMIZERS
    )
    return [
        *(over, len(pairs), f"{dspy_calls:.0f}", f"{our_calls:.0f}"),
        f"{our_calls / dspy_calls:.0%}",
        *(
            f"{_mean(getattr(pair, name).prompt_calls for pair in pairs):.1f}"
            for name in OPTIMIZERS
        ),
        f"{_mean(pair.ours.start for pair in pairs):.2f}",
        *(f"{_mean(getattr(pair, name).score for pair in pairs):.2f}" for name in OPTIMIZERS),
        f"{_mean(pair.difference for pair in pairs):+.2f}",
        "" if interval is None else "{:+.2f} {:+.2f}".format(*interval),
    ]


def _mean(values: Iterable[float]) -> float:
    collected = list(values)
    return math.fsum(collected) / len(collected)


def report(pairs: Sequence[Pair]) -> None:
    """Print a row per configuration, per size, per shape of landscape, and for all."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: (pair.work.auto, pair.work.predictors)):
        groups[f"{pair.work.auto}, {pair.work.predictors} predictor(s)"].append(pair)
    for pair in sorted(pairs, key=attrgetter("work.auto")):
        groups[pair.work.auto].append(pair)
    for pair in sorted(pairs, key=attrgetter("landscape")):
        groups[f"{pair.landscape.rpartition('-')[0]} landscapes"].append(pair)
    table = Table(COLUMNS)
    for over, members in {**groups, "all": list(pairs)}.items():
        table.row(_cells(over, members))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare what both optimizers find.")
    parser.add_argument("--quick", action="store_true", help="one landscape, one configuration")
    parser.add_argument("--landscapes", type=int, default=20, help="how many; default 20")
    parser.add_argument("--seeds", type=int, default=3, help="compiles per landscape; default 3")
    parser.add_argument("--auto", type=Listed(str, list(VALSET)), default=["light", "medium"])
    parser.add_argument("--predictors", type=Listed(int, list(STUDENTS)), default=[1, 2])
    parser.add_argument("--rows", type=int, help="validation rows; default is what the size takes")
    parser.add_argument("--shapes", type=Listed(str, list(SHAPES)), default=list(SHAPES))
    parser.add_argument("--rounds", type=int, help="the option of ours; default is its own")
    parser.add_argument("--jobs", type=int, default=2, help="compiles at a time; default 2")
    parser.add_argument("--known", type=Path, help="JSON file that stores the outcomes of dspy")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.landscapes, arguments.seeds, arguments.jobs = 1, 1, 1
        arguments.auto, arguments.predictors = ["light"], [1]
    return arguments


def _jobs(arguments: argparse.Namespace) -> list[Job]:
    names = [
        f"{arguments.shapes[number % len(arguments.shapes)]}-{number}"
        for number in range(arguments.landscapes)
    ]
    choices = product(
        arguments.auto, arguments.predictors, range(arguments.seeds), names, OPTIMIZERS
    )
    return [
        Job(
            name,
            Work(
                optimizer,
                auto,
                predictors,
                seed,
                _THREADS,
                _rows(arguments, auto),
                arguments.rounds if optimizer == "ours" else None,
            ),
        )
        for auto, predictors, seed, name, optimizer in choices
    ]


def _rows(arguments: argparse.Namespace, auto: str) -> int:
    rows: int = arguments.rows or VALSET[auto]
    return FEW if arguments.quick else rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run every compile and print the table."""
    arguments = _arguments(argv)
    known_outcomes = KnownOutcomes(arguments.known)
    outcomes = _outcomes(_jobs(arguments), known_outcomes, arguments.jobs)
    report(list(_pairs(outcomes)))


if __name__ == "__main__":
    main()
