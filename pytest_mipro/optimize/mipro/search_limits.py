"""The limits of a search: how many rows it compares candidates on, and the most that it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from pytest_mipro.optimize.mipro.measurements import FIRST_MINIBATCH

OPENING_ROWS = 7
"""Rows every demo set is measured on while instructions are being written."""
UNDER_WAY = 1 / 6
"""Share of the rows to search with that is under way: more waits less, and knows fewer scores."""
_SHARE = 0.15
"""Rows to search with, as a share of the rows that the paper's schedule evaluates."""
SMALL_VALSET = 50
"""Rows up to which the paper's schedule of ``auto`` measures every trial in full."""
_SHARE_OF_SMALL = 0.5
"""Rows to search with on so few, as a share of those of the trials, if there are no rounds."""
_ROWS_PER_OPTION = 10
_FULL_EVALUATIONS_EVERY = 5
RIVALS = 1
"""Candidates measured at a time because they may be better than the best one in full."""
RIVAL_TURNS = 6
"""Most times that rivals are measured."""
ATTEMPTS = 20
"""Training examples that the best candidate is run on in a round."""
WRITERS = 3
"""Instructions that are written for a predictor in a round."""
DRAFT_ROWS = 10
"""Validation rows that a new instruction is measured on at first."""
PROMISING = 2
"""Candidates that are measured on more rows at the end of a round."""
PROMISING_ROWS = 20
"""Validation rows that these are measured on."""


class SearchBound(NamedTuple):
    """The most rows that a search evaluates: at first, in its rounds, and in the final."""

    search: int
    rounds: int
    final: int


@dataclass(frozen=True)
class SearchLimits:
    """How much to search.

    Attributes:
        trials: Trials of the paper's schedule, which decide the number of rows.
        rows: Validation rows that the paper's schedule measures a trial on.
        seed: Decides every draw.
        candidates: Most candidates to try besides the baseline.
        rounds: Most rounds of instructions that are written from mistakes.
    """

    trials: int
    rows: int
    seed: int
    candidates: int
    rounds: int = 0

    def row_budget(self, options: int, valset: int) -> int:
        """Return how many rows to spend on comparing candidates.

        It is a share of the rows that the paper's schedule evaluates, but
        enough to try every option on a few rows, and never more than the rows
        of the trials. The share is larger on a small validation set, where
        further candidates cost little, but not before rounds: they measure
        further rows themselves, and nothing is gained.

        Args:
            options: Instructions and demo sets of all predictors.
            valset: Rows of the validation set.
        """
        full = valset * (2 + self.trials // _FULL_EVALUATIONS_EVERY)
        of_trials = self.trials * self.rows
        rows = max(_SHARE * (of_trials + full), _ROWS_PER_OPTION * options)
        if valset <= SMALL_VALSET and not self.rounds:
            rows = max(rows, _SHARE_OF_SMALL * of_trials)
        return int(min(rows, of_trials))

    def most_rows(
        self, predictors: int, instructions: int, demo_sets: int, valset: int
    ) -> SearchBound:
        """Return the most rows that a search evaluates.

        Args:
            predictors: Predictors of the student.
            instructions: Instructions per predictor.
            demo_sets: Demo sets per predictor.
            valset: Rows of the validation set.
        """
        size = ((instructions + self.rounds * WRITERS) * demo_sets) ** predictors
        added = self.rounds * (WRITERS + 1 + PROMISING)
        all_rows = min(size, self.candidates + 1 + added + RIVALS) * valset
        # A minibatch doubles the rows of a candidate.
        largest = min(valset, max(FIRST_MINIBATCH, math.ceil(valset / 2)))
        begun = min(demo_sets, self.candidates + 1) * min(OPENING_ROWS, valset)
        spent = self.row_budget(predictors * (instructions + demo_sets), valset) - 1 + largest
        searched = max(begun, spent, begun + (instructions - 1) * largest)
        final = 2 * valset + RIVAL_TURNS * RIVALS * math.ceil(valset / 2)
        learned = self.rounds * _rows_compared(valset)
        return SearchBound(*(min(rows, all_rows) for rows in (searched, learned, final)))

    @property
    def most_runs(self) -> int:
        """The most candidates that run on training examples: one in a round, and one before it.

        There is none before the first round.
        """
        return max(0, 2 * self.rounds - 1)

    def most_rows_of_rounds(self, predictors: int, valset: int) -> int:
        """Return the most rows of all rounds, with training examples; requests count as rows."""
        return self.rounds * (_rows_compared(valset) + ATTEMPTS + WRITERS * predictors)


def _rows_compared(valset: int) -> int:
    """Return the most validation rows of a round."""
    return (WRITERS + 1) * min(DRAFT_ROWS, valset) + PROMISING * min(PROMISING_ROWS, valset)
