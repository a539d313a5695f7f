"""What gets past verdicts in many merges and many looks, by simulation, without and with guards.

Scores of programs with known true differences are drawn and judged by the rules
of ``mipro.no_regression`` and ``mipro.beats_baseline``. No model is called.
README.md beside this file describes the rows.

    python benchmarks/merges.py
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # more threads only cost time on small matrices

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.printing import Listed, Table
from pytest_mipro import gate
from pytest_mipro.records import Scorecard, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from pytest_mipro.records import Verdict

    Numbers: TypeAlias = NDArray[np.float64]

COLUMNS = {"what": 29, "figure": 14, "n": 4, "without": 0, "with": 7, "should be": 13}
ALPHA = 0.05
TOLERANCE = 0.02
MERGES = 50
LOSS = 0.01
"""True loss of each merge, as a difference of mean scores."""
RESCORES = 10
SEEDS = 20
ADOPTIONS = 50
_EASE = 1.5
"""The mean of an example's ease, at which programs are right about three times in four."""
_LARGE = 200_000
"""Answers from which a mean score is estimated."""


class HeldOut:
    """Held-out examples, each with an ease that all programs share.

    Args:
        rng: The source of random numbers.
        n: The number of examples.
    """

    def __init__(self, rng: np.random.Generator, n: int) -> None:
        self._rng = rng
        self._ease = rng.normal(_EASE, 1.2, n)
        self._examples = tuple(map(str, range(n)))

    def program(self, loss: float = 0.0) -> Numbers:
        """Return the chance of a right answer to each example of a new program.

        It is better at some examples than at others, and its mean over all examples
        there may be is lower than that of a program without a loss by ``loss``.
        """
        quality = self._ease + self._rng.normal(0, 0.7, len(self._ease))
        chances: Numbers = (1 - loss / MEAN) / (1 + np.exp(-quality))
        return chances

    def answered(self, program: Numbers) -> Scorecard:
        """Return the scores of a program's new answers, each of them 0 or 1."""
        scores = (self._rng.random(len(program)) < program).astype(float)
        return Scorecard(self._examples, tuple(scores.tolist()), Usage())


@cache
def _with_counts(n: int, gained: int, lost: int) -> tuple[Scorecard, Scorecard]:
    """Return two programs' scores, of which the second gains and loses so many answers."""
    examples, right = tuple(map(str, range(n))), (1.0,) * (n - gained - lost)
    first = (0.0,) * gained + (1.0,) * lost + right
    second = (1.0,) * gained + (0.0,) * lost + right
    return Scorecard(examples, first, Usage()), Scorecard(examples, second, Usage())


def _pair(first: Scorecard, second: Scorecard) -> tuple[Scorecard, Scorecard]:
    """Return scores with as many gains and losses, by which verdicts on 0 and 1 are the same.

    There are few such pairs, so that the caches of ``gate`` have most of them.
    """
    pairs = list(zip(first.scores, second.scores, strict=True))
    return _with_counts(len(pairs), pairs.count((0.0, 1.0)), pairs.count((1.0, 0.0)))


def _mean_score() -> float:
    rng = np.random.default_rng(0)
    quality = rng.normal(_EASE, 1.2, _LARGE) + rng.normal(0, 0.7, _LARGE)
    return float(np.mean(1 / (1 + np.exp(-quality))))


MEAN = _mean_score()
"""The true mean score of a program without a loss."""


@dataclass
class Line:
    """The line of accepted programs, which merges move on.

    Attributes:
        reference: The scores of the program that was accepted last.
        anchor: The scores of the anchor; None without that guard.
        accepted: How many programs were accepted.
        differences: The differences to the anchor of the programs accepted since, in their order.
    """

    reference: Scorecard
    anchor: Scorecard | None
    accepted: int = 1
    differences: tuple[float, ...] = ()

    def merge(self, scores: Scorecard) -> bool:
        """Accept a program if ``no_regression`` lets it pass; return whether it did."""
        if not self._judge(scores):
            return False
        self.reference = scores
        self.accepted += 1
        if self.anchor is None:
            return True
        if gate.is_shown_better(*_pair(self.anchor, scores)):
            self.anchor, self.differences = scores, ()
        else:
            self.differences += (scores.score - self.anchor.score,)
        return True

    def _judge(self, scores: Scorecard) -> Verdict:
        reference, compiled = _pair(self.reference, scores)
        accepted = gate.AcceptedScores(reference, "")
        anchor = None
        if self.anchor is not None:
            anchor_scores, compiled_scores = _pair(self.anchor, scores)
            anchor = gate.judge_against_anchor(
                gate.AnchorScores(anchor_scores, self.accepted, "", earlier=self.differences),
                compiled_scores,
                tolerance=TOLERANCE,
                alpha=ALPHA / 2,
            )
        tolerated = anchor is None or not anchor.is_low
        levels = gate.Levels(ALPHA, ALPHA, ALPHA if anchor is None else ALPHA / 2)
        verdict = gate.judge_at(
            levels,
            partial(
                gate.no_regression, accepted, compiled, tolerance=TOLERANCE, tolerated=tolerated
            ),
        )
        return verdict if anchor is None else anchor.applied_to(verdict)


def creep(rng: np.random.Generator, n: int, *, guarded: bool, loss: float = LOSS) -> float:
    """Return how much true quality merges lose, each of which loses a little.

    A merge that is blocked is dropped, and the next one builds on what was accepted.
    """
    held_out, lost = HeldOut(rng, n), 0.0
    first = held_out.answered(held_out.program())
    line = Line(first, first if guarded else None)
    for _ in range(MERGES):
        if line.merge(held_out.answered(held_out.program(lost + loss))):
            lost += loss
    return lost


def held_up(rng: np.random.Generator, n: int, *, guarded: bool) -> float:
    """Return the share of merges of equally good programs that are blocked."""
    held_out = HeldOut(rng, n)
    first = held_out.answered(held_out.program())
    line = Line(first, first if guarded else None)
    return fmean(not line.merge(held_out.answered(held_out.program())) for _ in range(MERGES))


def rescored(rng: np.random.Generator, n: int, *, guarded: bool) -> float:
    """Return whether a program that is no better passes one of several rescores."""
    held_out = HeldOut(rng, n)
    baseline, compiled = held_out.program(), held_out.program()
    pairs = ((held_out.answered(baseline), held_out.answered(compiled)) for _ in range(RESCORES))
    return _passes_once(pairs, guarded=guarded)


def seeds(rng: np.random.Generator, n: int, *, guarded: bool) -> float:
    """Return whether one of several programs that are no better passes."""
    held_out = HeldOut(rng, n)
    baseline = held_out.answered(held_out.program())
    pairs = ((baseline, held_out.answered(held_out.program())) for _ in range(SEEDS))
    return _passes_once(pairs, guarded=guarded)


def accepted_again(rng: np.random.Generator, n: int, *, guarded: bool) -> float:
    """Return how much too high the score of a program is that was accepted again and again.

    Without the guard, the higher one of two scores stays. With it, an acceptance
    has rollouts of its own, and the program keeps their scores.
    """
    held_out = HeldOut(rng, n)
    program = held_out.program()
    tries = 1 if guarded else 1 + ADOPTIONS
    best = max(held_out.answered(program).score for _ in range(tries))
    return best - float(np.mean(program))


def adopted(rng: np.random.Generator, n: int, *, guarded: bool) -> float:
    """Return how much too high the accepted score is after each higher program was accepted.

    The programs are equally good. With the guard, an acceptance has rollouts of its own.
    """
    held_out = HeldOut(rng, n)
    program = held_out.program()
    reference = held_out.answered(program)
    for _ in range(ADOPTIONS):
        candidate = held_out.program()
        scores = held_out.answered(candidate)
        if scores.score > reference.score:
            program = candidate
            reference = held_out.answered(program) if guarded else scores
    return reference.score - float(np.mean(program))


def _passes_once(pairs: Iterable[tuple[Scorecard, Scorecard]], *, guarded: bool) -> bool:
    return any(
        gate.beats_baseline(
            *_pair(baseline, compiled),
            margin=0.0,
            alpha=gate.spent_alpha(ALPHA, look) if guarded else ALPHA,
            unchanged=False,
        )
        for look, (baseline, compiled) in enumerate(pairs, start=1)
    )


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        event: What happens.
        figure: What is counted.
        simulate: Simulates it once.
        unit: The format of a mean.
        limit: What the mean with the guard should be.
    """

    event: str
    figure: str
    simulate: Callable[..., float]
    unit: str
    limit: str

    def cells(self, n: int, repetitions: int) -> list[object]:
        """Return the cells of the row."""
        means = (self._mean(n, repetitions, guarded=guarded) for guarded in (False, True))
        return [self.event, self.figure, n, *means, self.limit]

    def _mean(self, n: int, repetitions: int, *, guarded: bool) -> str:
        values = (
            self.simulate(np.random.default_rng([seed, n]), n, guarded=guarded)
            for seed in range(repetitions)
        )
        return f"{fmean(map(float, values)):{self.unit}}"


ROWS = (
    Row(f"{MERGES} merges that lose 0.010", "quality lost", creep, ".3f", "at most 0.100"),
    Row(f"{MERGES} equally good merges", "held up", held_up, ".1%", ""),
    Row(f"{RESCORES} rescores until it passes", "false pass", rescored, ".1%", "at most 5%"),
    Row(f"{SEEDS} seeds until one passes", "false pass", seeds, ".1%", "at most 5%"),
    Row(f"accepted {ADOPTIONS} times more", "score too high", accepted_again, "+.3f", "0.000"),
    Row(f"the higher of {ADOPTIONS} accepted", "score too high", adopted, "+.3f", "less"),
)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--sizes", type=Listed(int), default=[50, 100, 200])
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.sizes, arguments.repetitions = [20], 1
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run the simulations and print a table of their figures."""
    arguments = _arguments(argv)
    table = Table(COLUMNS)
    for row in ROWS:
        for n in arguments.sizes:
            table.row(row.cells(n, arguments.repetitions))


if __name__ == "__main__":
    main()
