"""The pipeline of MIPROv2: bootstrap, propose and search, and the work that overlaps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from itertools import chain, compress
from operator import not_
from statistics import fmean
from typing import TYPE_CHECKING

import dspy

from pytest_mipro import fingerprint
from pytest_mipro.evaluate import cancel_all, gather, gather_two
from pytest_mipro.optimize.mipro.bootstrap import own_demos
from pytest_mipro.optimize.mipro.first_rows import FIRST_ROWS, CallerWatch, refuse_broken
from pytest_mipro.optimize.mipro.rounds import written_instructions
from pytest_mipro.optimize.mipro.space import Space
from pytest_mipro.records import Progress, Proposal, SearchLog, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_mipro.evaluate import WorkerPool
    from pytest_mipro.optimize.mipro.bootstrap import Bootstrap, PendingDemoSet
    from pytest_mipro.optimize.mipro.plan import Plan
    from pytest_mipro.optimize.mipro.progress import ProgressReporter
    from pytest_mipro.optimize.mipro.propose import GroundedProposer
    from pytest_mipro.optimize.mipro.rounds import Rounds
    from pytest_mipro.optimize.mipro.search import Search, SearchResult
    from pytest_mipro.optimize.mipro.search_budget import SearchBudget
    from pytest_mipro.optimize.mipro.space import DemoSet
    from pytest_mipro.records import BudgetCut


@dataclass(frozen=True)
class PipelineResult:
    """The result of a pipeline.

    Attributes:
        search: The result of the search.
        full: Rows of the validation set.
        cut: Where the budget ended the search early; None if it did not.
    """

    search: SearchResult
    full: int
    cut: BudgetCut | None

    @property
    def log(self) -> SearchLog:
        """The log of the search, as an artifact has it."""
        scores, winner = self.search.scores, self.search.winner
        baseline = scores.get(self.search.space.baseline)
        return SearchLog(
            rows=self.full,
            trials=self.search.trials,
            winner=winner,
            baseline=fmean(baseline) if baseline else None,
            score=fmean(scores[winner]),
            written=written_instructions(self.search.drafts, scores),
        )


class Pipeline:
    """The phases of one compile."""

    def __init__(  # ruff: ignore[too-many-arguments] - the phases, and what they share
        self,
        *,
        student: dspy.Module,
        plan: Plan,
        zero_shot: bool,
        bootstrap: Bootstrap,
        proposer: GroundedProposer,
        search: Search,
        rounds: Rounds,
        budget: SearchBudget,
        workers: WorkerPool,
        reporter: ProgressReporter,
        warn: Callable[[str], None],
    ) -> None:
        """Prepare to run the phases.

        Args:
            student: The program that is optimized.
            plan: The sizes of the compile.
            zero_shot: Whether candidates have no demos.
            bootstrap: Makes demo sets.
            proposer: Proposes instructions.
            search: Finds the best candidate.
            rounds: Writes instructions from mistakes.
            budget: The most that the search may spend.
            workers: Run the work of all phases.
            reporter: Reports where the compile is.
            warn: Warns about the program.
        """
        self._student = student
        self._plan = plan
        self._zero_shot = zero_shot
        self._bootstrap = bootstrap
        self._proposer = proposer
        self._search = search
        self._rounds = rounds
        self._budget = budget
        self._workers = workers
        self._reporter = reporter
        self._warn = warn
        self._signatures: dict[tuple[int, str], type[dspy.Signature]] = {}

    async def run(self) -> PipelineResult:
        """Bootstrap demo sets, propose instructions, and search both."""
        plan = self._plan
        self._reporter.report(Progress("bootstrap", 0, plan.demos.sets))
        # The account reserves less than the search budget leaves for the final evaluation. So the
        # budget, which decides in a fixed order, ends a search before the account does.
        self._budget.reserve(len(plan.valset))
        await self._look_at_baseline()
        # First, because every instruction depends on it, and nearly all of the search on those.
        grounding = asyncio.ensure_future(self._proposer.ground(plan.instructions))
        pending = self._bootstrap.start(plan.demos, plan.limits.seed)
        self._reporter.demo_sets = pending
        # The rows that the search begins with in any case are evaluated before it begins.
        begun = pending[: plan.limits.candidates + 1]
        prefetches = [asyncio.ensure_future(self._prefetch(demo_set)) for demo_set in begun]
        try:
            first_demos = [demo_set.first for demo_set in pending]
            instructions, demo_sets = await gather_two(
                self._proposer.propose(grounding, first_demos, plan.instructions),
                self._demo_sets(pending),
            )
            self._rounds.begin(await grounding, self._bootstrap.failed)
            return await self._searched(self._space(instructions, *demo_sets))
        finally:
            cancel_all([grounding, *prefetches])
            cancel_all(
                chain.from_iterable((demo_set.first, demo_set.demos) for demo_set in pending)
            )

    async def _look_at_baseline(self) -> None:
        """Refuse a broken baseline, and warn about calls that are not optimized."""
        space = self._space(self._own_instructions())
        program = space.program(space.baseline)
        watch = CallerWatch(program)
        with dspy.context(callbacks=[*dspy.settings.callbacks, watch]):
            refuse_broken(await self._search.first_rows(program, FIRST_ROWS))
        if watch.advice:
            self._warn(watch.advice)

    async def _searched(self, space: Space) -> PipelineResult:
        spent = self._workers.usage_of(Trace) + self._workers.usage_of(Proposal)
        self._budget.count_preparation(spent, self._bootstrap.usages)
        self._reporter.report(Progress("search", 0))
        result = await self._search.run(space, self._rounds)
        cut = self._budget.cut(result.cut) if result.cut else None
        return PipelineResult(result, len(self._plan.valset), cut)

    async def _demo_sets(self, pending: Sequence[PendingDemoSet]) -> list[list[dict[str, DemoSet]]]:
        """Return the demo sets whose first attempts sufficed, and the others."""
        demo_sets = await gather([demo_set.demos for demo_set in pending])
        self._reporter.report(Progress("propose", 0, self._plan.instructions))
        early = [demo_set.first.result().suffice for demo_set in pending]
        return [list(compress(demo_sets, early)), list(compress(demo_sets, map(not_, early)))]

    async def _prefetch(self, demo_set: PendingDemoSet) -> None:
        """Evaluate the first rows of a demo set with the student's own instructions."""
        if (await demo_set.first).suffice:
            space = self._space(self._own_instructions(), [await demo_set.demos])
            await self._search.prefetch(space)

    def _own_instructions(self) -> tuple[tuple[str, ...], ...]:
        signatures = map(fingerprint.signature_of, self._student.predictors())
        return tuple((signature.instructions,) for signature in signatures)

    def _space(
        self,
        instructions: tuple[tuple[str, ...], ...],
        early: Sequence[Mapping[str, DemoSet]] = (),
        late: Sequence[Mapping[str, DemoSet]] = (),
    ) -> Space:
        if self._zero_shot:
            space = Space(self._student, instructions, tuple(((),) for _ in instructions))
        else:
            sets = [own_demos(self._student), *early]
            space = Space.of_demo_sets(self._student, instructions, sets, late)
        return replace(space, signatures=self._signatures)
