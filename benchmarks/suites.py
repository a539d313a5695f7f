"""False alarms of many tasks and of many nights, by simulation.

Scores of equal programs are drawn many times and judged by the rules of ``mipro.no_regression``:
for a suite of tasks with and without Holm's correction, and for one task on many nights, whose
FAIL counts at once or when it comes twice in a row. No model is called. README.md beside this
file describes the columns.

    python benchmarks/suites.py
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # more threads only cost time on small matrices

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.printing import Listed, Table
from pytest_mipro.gate import (
    AcceptedScores,
    corrected_by_holm,
    fail_p_value,
    next_streak,
    no_regression,
)
from pytest_mipro.records import Scorecard, Usage, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

COLUMNS = {
    "rule": 17,
    "tasks": 5,
    "nights": 6,
    "n": 4,
    "tolerance": 0,
    "false alarm, without": 0,
    "false alarm, with": 0,
    "loss found, without": 0,
    "loss found, with": 0,
}
ALPHA = 0.05
TASKS, NIGHTS, IN_A_ROW = 20, 30, 2
LOSS = 0.2
"""By how much the score of a task falls that got worse."""


@dataclass(frozen=True)
class Alarms:
    """Whether a suite or a task raised an alarm, without and with the rule."""

    without: bool
    with_rule: bool


class Task:
    """A task whose examples have a chance each to be answered rightly, and its reference."""

    def __init__(self, rng: np.random.Generator, n: int, tolerance: float = 0.0) -> None:
        """Draw ``n`` examples and the accepted answers."""
        self._rng = rng
        self._tolerance = tolerance
        self._chances = 1 / (1 + np.exp(-rng.normal(0.8, 1.2, n)))
        self._accepted = self._answers(0.0)

    def verdict(self, loss: float = 0.0) -> Verdict:
        """Return the verdict on new answers, to fewer questions right by a share of ``loss``."""
        answers = self._answers(loss)
        lost = int((self._accepted & ~answers).sum())
        won = int((answers & ~self._accepted).sum())
        return _judged(lost, won, len(answers), self._tolerance)

    def _answers(self, loss: float) -> NDArray[np.bool_]:
        answers: NDArray[np.bool_] = self._rng.random(len(self._chances)) < self._chances * (
            1 - loss
        )
        return answers


@cache
def _judged(lost: int, won: int, n: int, tolerance: float) -> Verdict:
    """Return the verdict on answers of which some were lost, some won, and the rest is equal."""
    scores = [1.0] * lost + [0.0] * (n - lost), [0.0] * lost + [1.0] * won
    accepted, compiled = (
        Scorecard(tuple(map(str, range(n))), tuple(values + [0.0] * (n - len(values))), Usage())
        for values in scores
    )
    basis = AcceptedScores(accepted, "")
    verdict = no_regression(basis, compiled, tolerance=tolerance, alpha=ALPHA)
    is_fail = verdict.word == "FAIL"
    return replace(verdict, alpha=ALPHA, p_fail=fail_p_value(verdict), deferred=is_fail)


def suite_alarms(rng: np.random.Generator, n: int, tolerance: float, loss: float) -> Alarms:
    """Return the alarms of a suite, of whose tasks the first may have lost something.

    With a loss, only an alarm of that task counts.
    """
    tasks = [Task(rng, n, tolerance) for _ in range(TASKS)]
    verdicts = [task.verdict(0.0 if number else loss) for number, task in enumerate(tasks)]
    corrected = corrected_by_holm(verdicts, range(len(verdicts)))
    counted = slice(0, 1 if loss else TASKS)
    return Alarms(
        any(verdict.word == "FAIL" for verdict in verdicts[counted]),
        any(verdict.word == "FAIL" and not verdict.deferred for verdict in corrected[counted]),
    )


def nightly_alarms(rng: np.random.Generator, n: int, tolerance: float, loss: float) -> Alarms:
    """Return the alarms of one task over all nights; with a loss, over the first few of them."""
    task, streak = Task(rng, n, tolerance), None
    most = 0
    for _ in range(2 * IN_A_ROW if loss else NIGHTS):
        streak = next_streak(
            streak,
            "key",
            fails=task.verdict(loss).word == "FAIL",
            evidence={},
            is_new=True,
        )
        most = max(most, streak.fails)
    return Alarms(most >= 1, most >= IN_A_ROW)


@dataclass(frozen=True)
class Rule:
    """A rule, and the sessions in which it is simulated."""

    name: str
    tasks: int
    nights: int
    tolerance: float
    alarms: Callable[[np.random.Generator, int, float, float], Alarms]


RULES = (
    Rule("holm", TASKS, 1, 0.0, suite_alarms),
    *(
        Rule(f"confirm = {IN_A_ROW}", 1, NIGHTS, tolerance, nightly_alarms)
        for tolerance in (0, 0.02)
    ),
)


def row(rule: Rule, n: int, repetitions: int) -> list[object]:
    """Return a row of the table."""
    rng = np.random.default_rng([rule.tasks, n])
    figures: list[float] = []
    for loss in (0.0, LOSS):
        alarms = [rule.alarms(rng, n, rule.tolerance, loss) for _ in range(repetitions)]
        figures += [
            fmean(alarm.without for alarm in alarms),
            fmean(alarm.with_rule for alarm in alarms),
        ]
    sizes = [rule.name, rule.tasks, rule.nights, n, f"{rule.tolerance:g}"]
    return [*sizes, *(f"{share:.1%}" for share in figures)]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--sizes", type=Listed(int), default=[50, 100, 200])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.sizes, arguments.repetitions = [20], 2
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run the simulations and print a table of their figures."""
    arguments = _arguments(argv)
    table = Table(COLUMNS)
    for rule in RULES:
        for n in arguments.sizes:
            table.row(row(rule, n, arguments.repetitions))


if __name__ == "__main__":
    main()
