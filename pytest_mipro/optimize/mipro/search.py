"""The search: the third phase of MIPROv2.

The paper measures candidates that Optuna's tree-structured Parzen estimator
(Bergstra et al., 2011) proposes, each on a random minibatch, and the best of
them on the full validation set. The differences and their reasons:

- Rows have one fixed order, and a candidate is measured on a prefix of it,
  first on a few rows, then on twice as many. Any two candidates share rows, a
  row is evaluated once, and a bad candidate costs only the rows that show it.
- Demo sets come first, with the student's own instructions, because they are
  ready before the instructions are. Demo sets that take longer to make are
  introduced later, as the instructions are, and on as few rows.
- The next candidate is chosen by Thompson sampling from an additive model of
  all rows so far (``acquisition.py``, ``surrogate.py``), because instructions
  and demo sets mostly help or hurt in any combination. The Parzen estimator
  (``parzen.py``) proposes every ``TPE_EVERY``-th candidate, for the
  combinations in which they do not.
- Minibatches are chosen while less than a share of the rows, ``UNDER_WAY``, is
  under way, and recorded in the order in which they were chosen. So there is no
  barrier, and the result is the same at any parallelism.
- The paper measures the best candidate in full every few trials. This search
  does it at the end: the candidate with the highest expected score is measured
  on the full validation set, then the candidates that are expected to be better
  still. The first of these are measured beside its last rows. Ties go to the
  simpler program, and the baseline wins unless it is beaten.
- Once the rows are spent, further instructions are written from the mistakes of
  the best candidate, in rounds (``rounds.py``), and compete in the same search
  (``learning.py``).
- A budget may end the search early. Enough of it is reserved to measure a
  candidate in full. Of the rest, up to two thirds is for the rounds,
  because instructions that are written from mistakes mostly gain more than
  further combinations do. ``search_budget.py`` says how the budget decides.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_mipro.evaluate import gather
from pytest_mipro.optimize.mipro.learning import Learning
from pytest_mipro.optimize.mipro.measurements import Measurements
from pytest_mipro.optimize.mipro.search_budget import SearchBudget
from pytest_mipro.optimize.mipro.search_limits import OPENING_ROWS
from pytest_mipro.optimize.mipro.space_search import SpaceSearch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dspy

    from pytest_mipro.evaluate import StoredRows
    from pytest_mipro.optimize.mipro.rounds import Draft, Rounds
    from pytest_mipro.optimize.mipro.search_limits import SearchLimits
    from pytest_mipro.optimize.mipro.space import Space
    from pytest_mipro.records import Candidate, Progress, Row, Trial


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        winner: The best candidate on the full validation set.
        trials: Every candidate measured but the baseline, in the order they were first chosen.
        cut: The limit that ended the search early; empty if none did.
        scores: Of every candidate measured, its scores on a prefix of the row order.
        space: The space that was searched at last.
        drafts: The candidates that the rounds added.
    """

    winner: Candidate
    trials: tuple[Trial, ...]
    cut: str
    scores: dict[Candidate, list[float]] = field(hash=False)
    space: Space = field(hash=False, compare=False)
    drafts: tuple[Draft, ...] = field(default=(), hash=False, compare=False)


class Search:
    """Finds the best candidate of a space on a validation set."""

    def __init__(
        self,
        rows: StoredRows,
        valset: Sequence[dspy.Example],
        limits: SearchLimits,
        on_progress: Callable[[Progress], None],
        budget: SearchBudget | None = None,
    ) -> None:
        """Prepare a search.

        Args:
            rows: Evaluates programs.
            valset: The examples that candidates are measured on.
            limits: How much to search.
            on_progress: Called with the progress of the search.
            budget: The most that the search may spend.
        """
        self._budget = budget or SearchBudget()
        self._rows = rows
        self._valset = random.Random(limits.seed).sample(list(valset), len(valset))
        self._limits = limits
        self._on_progress = on_progress

    async def first_rows(self, program: dspy.Module, count: int) -> list[Row]:
        """Return the rows of ``program`` that every search begins with, at most ``count``."""
        return await self._rows.evaluate(program, self._valset[:count])

    async def prefetch(self, space: Space) -> None:
        """Evaluate the rows that every search of a space with these demo sets begins with."""
        rows = self._valset[:OPENING_ROWS]
        programs = [space.program(candidate) for candidate in space.opening]
        await gather([self._rows.evaluate(program, rows) for program in programs])

    async def run(self, space: Space, rounds: Rounds | None = None) -> SearchResult:
        """Search ``space`` and return the winner.

        Args:
            space: The first options of each predictor.
            rounds: Writes further instructions; None writes none.

        Raises:
            BudgetExceeded: The budget does not suffice to begin and to measure a winner.
        """
        measurements = Measurements(space, self._rows, self._valset, self._budget)
        search = SpaceSearch(space, measurements, self._limits, self._budget, self._on_progress)
        await search.explore(leave_for_rounds=rounds is not None)
        if rounds is not None:
            await Learning(search, rounds, measurements, self._budget).run()
        self._budget.reserve(0)
        winner = await search.choose_winner()
        scores = measurements.all_scores()
        return SearchResult(
            winner, search.trials(), search.any_cut, scores, search.space, tuple(search.drafts)
        )
