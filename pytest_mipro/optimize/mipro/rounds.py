"""Rounds: instructions that are written from mistakes, and compete in the same search.

A round runs the best candidate so far on training examples. The prompt model
rewrites that candidate's instruction from what it got wrong there; several
requests side by side are shown different mistakes. The new instructions are
measured on a few validation rows first, as all candidates are. Then the best
ones are measured on more, and the next round begins with the best of all
(``learning.py``).

The prompt model is shown training examples only. Validation rows and held-out
rows decide which instruction wins; their inputs, labels and scores are in no
request.

Most rows of a round are spent on training examples that an earlier candidate
failed on, because the rows that a candidate gets right teach nothing.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from pytest_mipro.evaluate import gather
from pytest_mipro.optimize.mipro.mistakes import confusions
from pytest_mipro.optimize.mipro.search_limits import ATTEMPTS, WRITERS
from pytest_mipro.records import Candidate, Proposal, Trace, WrittenInstruction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_mipro.evaluate import WorkerPool
    from pytest_mipro.optimize.mipro.mistakes import Mistake, TrainingRuns
    from pytest_mipro.optimize.mipro.propose import GroundedProposer, Grounding
    from pytest_mipro.optimize.mipro.search_limits import SearchLimits
    from pytest_mipro.optimize.mipro.space import Space
    from pytest_mipro.records import Usage

_SHOWN = 4
"""Most mistakes that one request shows."""


@dataclass(frozen=True)
class Draft:
    """Candidates with new instructions.

    Attributes:
        leader: The candidate whose mistakes they are written from.
        space: The space with the new instructions.
        candidates: The candidates, each with one new instruction per predictor.
        examples: The training examples that each one's requests showed.
    """

    leader: Candidate
    space: Space
    candidates: tuple[Candidate, ...]
    examples: tuple[tuple[int, ...], ...]


@dataclass
class _TrainingState:
    """What is known of the training examples.

    Attributes:
        failed: The examples that the latest candidate run on them failed on.
        passed: The examples that it passed.
        shown: The examples that an instruction was written from, and those of its parents.
    """

    failed: dict[int, None] = field(default_factory=dict)
    passed: dict[int, None] = field(default_factory=dict)
    shown: dict[tuple[int, int], frozenset[int]] = field(default_factory=dict)


class Rounds:
    """Writes the instructions of each round."""

    def __init__(
        self,
        runs: TrainingRuns,
        proposer: GroundedProposer,
        workers: WorkerPool,
        limits: SearchLimits,
    ) -> None:
        """Prepare to ask ``proposer``.

        Args:
            runs: Runs candidates on training examples.
            proposer: Asks the prompt model.
            workers: Count what the rounds cost.
            limits: How many rounds there may be, and the seed of the order of the
                training examples.
        """
        self._most = limits.rounds
        self._runs = runs
        self._proposer = proposer
        self._workers = workers
        self._state = _TrainingState()
        count = len(runs.trainset)
        self._order = random.Random(f"{limits.seed}/rounds").sample(range(count), count)
        self._grounding: Grounding | None = None
        self._round = 0

    def begin(self, grounding: Grounding, failed: Sequence[int]) -> None:
        """Begin after the other phases.

        Args:
            grounding: The descriptions that the requests show.
            failed: The training examples that bootstrapping failed on.
        """
        self._grounding = grounding
        first = set(failed)
        self._order.sort(key=lambda index: index not in first)

    @property
    def left(self) -> int:
        """How many further rounds there may be."""
        return self._most - self._round

    @property
    def spent(self) -> Usage:
        """What the runs on training examples and the prompt model have cost so far."""
        return self._workers.usage_of(Trace) + self._workers.usage_of(Proposal)

    def attempts(self, leader: Candidate) -> list[int]:
        """Return the training examples to run the best candidate on.

        First those that an earlier candidate failed on, unless its instruction was written from
        them, then those that no candidate was run on.
        """
        state = self._state
        shown = self._shown_to(leader)
        unaddressed = [index for index in state.failed if index not in shown]
        tried = {*state.failed, *state.passed}
        untried = [index for index in self._order if index not in tried]
        again = [index for index in state.failed if index in shown]
        return [*unaddressed, *untried, *again][:ATTEMPTS]

    def count_new(self, space: Space, leader: Candidate, attempts: Sequence[int]) -> int:
        """Count the runs on training examples that cost something."""
        return self._runs.count_new(space.program(leader), attempts)

    async def prefetch(self, space: Space, leader: Candidate, attempts: Sequence[int]) -> None:
        """Run a candidate on training examples before ``draft`` asks for it."""
        await self._runs.run(space.program(leader), attempts)

    async def draft(self, space: Space, leader: Candidate, attempts: Sequence[int]) -> Draft | None:
        """Return candidates whose instructions are written from mistakes of the best one.

        Returns:
            None if there are no mistakes, or no new instruction.
        """
        self._round += 1
        mistakes = await self._runs.mistakes(space.program(leader), attempts)
        self._note(attempts, mistakes)
        if not mistakes:
            return None
        writers = min(WRITERS, len(mistakes))
        shown = [mistakes[writer::writers][:_SHOWN] for writer in range(writers)]
        confused = confusions(mistakes, self._runs.trainset)
        written = await gather(
            [
                gather(
                    [
                        self._rewrite(instruction, place, mistakes_shown, confused, writer)
                        for writer, mistakes_shown in enumerate(shown)
                    ]
                )
                for place, instruction in enumerate(space.texts(leader))
            ]
        )
        extended, indexes = space.with_instructions(written, leader.instructions)
        examples = [tuple(mistake.index for mistake in of_writer) for of_writer in shown]
        return self._drafted(leader, extended, list(zip(*indexes, strict=True)), examples)

    async def _rewrite(
        self, instruction: str, place: int, shown: Sequence[Mistake], confused: str, writer: int
    ) -> str:
        assert self._grounding is not None  # Rounds have begun.
        path = self._proposer.paths[place]
        evidence = {
            "mistakes": "\n".join(mistake.shown(path) for mistake in shown),
            "confusions": confused,
        }
        rollout = WRITERS * self._round + writer
        return await self._proposer.rewrite(place, instruction, self._grounding, evidence, rollout)

    def _drafted(
        self,
        leader: Candidate,
        space: Space,
        instructions: Sequence[tuple[int, ...]],
        examples: Sequence[tuple[int, ...]],
    ) -> Draft | None:
        by_candidate: dict[Candidate, tuple[int, ...]] = {}
        for choice, of_writer in zip(instructions, examples, strict=True):
            candidate = Candidate(choice, leader.demos)
            if candidate != leader:
                by_candidate.setdefault(candidate, of_writer)
        for candidate, of_writer in by_candidate.items():
            shown = self._shown_to(leader).union(of_writer)
            for place, index in enumerate(candidate.instructions):
                self._state.shown.setdefault((place, index), shown)
        if not by_candidate:
            return None
        return Draft(leader, space, tuple(by_candidate), tuple(by_candidate.values()))

    def _shown_to(self, candidate: Candidate) -> frozenset[int]:
        """Return the training examples that a candidate's instructions were written from."""
        shown = self._state.shown
        return frozenset(
            chain.from_iterable(shown.get(place, ()) for place in enumerate(candidate.instructions))
        )

    def _note(self, attempts: Sequence[int], mistakes: Sequence[Mistake]) -> None:
        state = self._state
        failed = {mistake.index for mistake in mistakes}
        for index in attempts:
            state.failed.pop(index, None)
            state.passed.pop(index, None)
            (state.failed if index in failed else state.passed)[index] = None


def written_instructions(
    drafts: Sequence[Draft], scores: Mapping[Candidate, Sequence[float]]
) -> tuple[WrittenInstruction, ...]:
    """Return the log of the instructions of all rounds.

    Args:
        drafts: The candidates of each round.
        scores: Per measured candidate, its scores on a prefix of the row order.
    """
    entries: dict[tuple[int, int], WrittenInstruction] = {}
    for number, draft in enumerate(drafts, start=1):
        paths = [path for path, _ in draft.space.student.named_predictors()]
        for candidate, examples in zip(draft.candidates, draft.examples, strict=True):
            rows, gain = _gain(scores.get(candidate, ()), scores.get(draft.leader, ()))
            for place, index in enumerate(candidate.instructions):
                parent = draft.leader.instructions[place]
                if index == parent:
                    continue
                text = draft.space.instructions[place][index]
                entry = WrittenInstruction(
                    number, paths[place], index, parent, text, examples, rows, gain
                )
                entries.setdefault((place, index), entry)
    return tuple(entries.values())


def _gain(scores: Sequence[float], leader: Sequence[float]) -> tuple[int, float]:
    """Return how many rows two candidates share, and how much higher the first one scores."""
    rows = min(len(scores), len(leader))
    if not rows:
        return 0, 0.0
    return rows, (math.fsum(scores[:rows]) - math.fsum(leader[:rows])) / rows
