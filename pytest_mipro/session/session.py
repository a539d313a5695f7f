"""
The order of things: fingerprint, store, optimize, evaluate, gate, report.

Sequencing only; what each step does is in its room. Nothing here knows
pytest.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import dspy

from pytest_mipro import fingerprint
from pytest_mipro.canonical import JSON, digest
from pytest_mipro.errors import (
    BudgetExceeded,
    DamagedReference,
    InfrastructureError,
    ReferenceFileError,
)
from pytest_mipro.evaluate import available_rows, refuse_broken
from pytest_mipro.records import Usage
from pytest_mipro.reference import accept_reference, read_reference
from pytest_mipro.session import advice
from pytest_mipro.session.outcome import Outcome, ReferenceProgram, ReferenceState, TaskResult
from pytest_mipro.session.program_state import field_names, restore_accepted, restore_state
from pytest_mipro.session.scorecards import (
    accepted_card,
    artifact_of,
    card_of,
    completed,
    reference_of,
)
from pytest_mipro.session.workplace import Workplace, bench_of, models_of, now, rollouts_of
from pytest_mipro.spending import Account, current_account, limits_of
from pytest_mipro.task import identity

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pytest_mipro.evaluate import ExampleRows
    from pytest_mipro.optimize import Estimate
    from pytest_mipro.records import Artifact
    from pytest_mipro.reference import Reference, ReferenceLocation
    from pytest_mipro.session.policy import Policy, Surroundings
    from pytest_mipro.store import CompileLock, Store
    from pytest_mipro.task import Task


@dataclass(frozen=True)
class _TaskContext:
    """A task, what it is by content, and what was accepted for it."""

    task: Task
    found: fingerprint.Fingerprint
    place: ReferenceLocation
    reference: Reference | None
    damaged: bool = False

    @property
    def stale(self) -> str:
        """What has changed since the reference was accepted, in words."""
        if self.reference is None or self.reference.key == self.found.key:
            return ""
        changes = ", ".join(self.found.changes_since(self.reference.parts))
        shown = self.place.show(self.place.scores)
        return (
            f"the reference {shown} is out of date: {changes}; "
            f"accept anew with: {self.place.command}"
        )


class Session:
    """Compiles and scores each task once, however many tests ask."""

    def __init__(  # ruff: ignore[too-many-arguments] - what a session is made of
        self,
        *,
        store_url: str,
        store_name: str,
        folder: Path,
        who: str,
        around: Surroundings,
        policy: Policy,
        account: Account | None = None,
        shared: Path | None = None,
    ) -> None:
        """
        Prepare a session; nothing is opened before the first task.

        Args:
            store_url: SQLAlchemy URL of the store.
            store_name: What people read instead.
            folder: Where everything is kept but a store that is elsewhere.
            who: What other processes call this one while they wait for it.
            around: What the session runs in.
            policy: What the user asked of all tasks.
            account: What all tasks together may spend.
            shared: A folder that all processes of this run share, and nobody
                else; None if there is one process.

        """
        self.policy = policy
        self._account = account or Account()
        self._workplace = Workplace(store_url, folder, around, policy, shared)
        self._store_name = store_name
        self._who = who
        self._around = around
        self._judged: dict[str, tuple[str, TaskResult]] = {}
        self._started = now()

    @property
    def store(self) -> Store:
        """The store, opened on first use."""
        return self._workplace.store

    @property
    def store_name(self) -> str:
        """Where the store is, without credentials; empty if none was needed."""
        return self._store_name if self._workplace.is_open else ""

    @property
    def usage(self) -> Usage:
        """What all tasks have asked so far."""
        return self._account.usage

    @property
    def tolerant(self) -> bool:
        """Whether an assert holds where the examples do not decide about a regression."""
        return self.policy.tolerant

    def warn(self, text: str) -> None:
        """Warn the user about the test that is running."""
        self._around.warn(text)

    def outcome(self, task: Task, place: ReferenceLocation) -> Outcome:
        """
        Return the outcome of ``task``: from memory, from the store, or by doing the work.

        Args:
            task: What a test declares.
            place: Where the test's reference is.

        Raises:
            MiproError: Something prevents a verdict.

        """
        found = fingerprint.of_task(task, self._around.fingerprint(task))
        with _settings(task), self._charged(task):
            case = self._case(task, found, place)
            judged = self._once(case)
            standing = self._accept(case, judged) if self.policy.update else self._stand(case)
        return Outcome(task, judged, standing, self)

    def estimate(self, task: Task, place: ReferenceLocation) -> Estimate | None:
        """
        Return what ``outcome`` would ask language models now, or None if nothing.

        Raises:
            MiproError: As ``outcome``, as far as that is known before.

        """
        found = fingerprint.of_task(task, self._around.fingerprint(task))
        with _settings(task), self._charged(task):
            return self._estimate(self._case(task, found, place))

    def _estimate(self, case: _TaskContext) -> Estimate | None:
        # ruff: ignore[import-outside-top-level]: it loads Optuna
        from pytest_mipro.session.dry_run import estimate_task

        task, dataset = case.task, case.task.dataset
        examples = [*dataset.train, *dataset.val, *dataset.test]
        known = available_rows(bench_of(task), self.store, task.program, examples)
        prices = {model: self._account.prices.of(model) for model in models_of(task)}
        reasons, rows = self._ahead(case)
        return estimate_task(task, reasons, rows, known, prices)

    def _ahead(self, case: _TaskContext) -> tuple[tuple[str, ...], int]:
        """Return why it would be compiled, if so, and how many held-out rows are evaluated."""
        task, test = case.task, case.task.dataset.test
        reasons: tuple[str, ...] = ()
        artifact = None if self.policy.frozen else self._stored(case.found)
        if self.policy.frozen:
            known = {} if case.reference is None or self.policy.rescore else case.reference.compiled
            rows = 2 * task.repeat * sum(identity(each) not in known for each in test)
        elif artifact is None:
            reasons, rows = self._reasons(task, case.found), self._workplace.held_out(task)
        else:
            rows = self._workplace.unscored_rows(
                task, [task.program, restore_state(task.program, artifact.state)]
            )
        if self._scores_differently(case):
            rows += task.repeat * len(test)
        return reasons, rows

    def _scores_differently(self, case: _TaskContext) -> bool:
        """Whether the accepted program is going to be scored again."""
        if case.reference is None or self.policy.update:
            return False
        return case.reference.metric != fingerprint.of_metric(case.task.metric, case.task.version)

    @contextmanager
    def _charged(self, task: Task) -> Generator[None]:
        """Charge an account of the task for what is asked, as a part of the session's."""
        account = Account(
            limits_of(task.budget),
            prices=self._account.prices,
            models=models_of(task),
            parent=self._account,
        )
        try:
            with account.current():
                yield
        except BudgetExceeded as error:
            raise account.restated(error) from error
        except InfrastructureError as error:
            error.stored = self.store.rows.count()
            if self.policy.refresh or self.policy.rescore:
                error.starts_over = "asking again starts over with the next run"
            raise

    def close(self) -> None:
        """Let go of the store, if it was opened."""
        self._workplace.close()

    def _case(
        self, task: Task, found: fingerprint.Fingerprint, place: ReferenceLocation
    ) -> _TaskContext:
        try:
            return _TaskContext(task, found, place, read_reference(place))
        except DamagedReference:
            if not self.policy.update:
                raise
            return _TaskContext(task, found, place, None, damaged=True)

    def _accept(self, case: _TaskContext, judged: TaskResult) -> ReferenceState:
        """Make what was judged the reference."""
        new = reference_of(case.task, case.found, case.place.test, judged)
        acceptance = accept_reference(
            case.place,
            new,
            case.reference,
            fields=field_names(case.task.program),
            replaces=case.damaged,
        )
        card = accepted_card(new, case.task.dataset.test)
        accepted = ReferenceProgram(
            card, partial(restore_accepted, new, case.task.program, case.place)
        )
        return ReferenceState(case.place, accepted, acceptance)

    def _stand(self, case: _TaskContext) -> ReferenceState:
        """Return the reference with scores that can be compared, where that is possible."""
        task, place, reference = case.task, case.place, case.reference
        if reference is None:
            return ReferenceState(place)
        load = partial(restore_accepted, reference, task.program, place)
        if reference.metric == fingerprint.of_metric(task.metric, task.version):
            card = accepted_card(reference, task.dataset.test)
            return ReferenceState(place, ReferenceProgram(card, load), stale=case.stale)
        try:
            program = load()
        except ReferenceFileError:
            # An error for the test that asks for it; others need no reference.
            return ReferenceState(place, ReferenceProgram(None, load), stale=case.stale)
        self._say(task, "the metric changed: scoring the accepted program again")
        with self._workplace.responses(task):
            (rows,), usage = self._workplace.score(task, [program], task.dataset.test)
        accepted = ReferenceProgram(
            card_of(task, rows, self._workplace.usage_of(rows)), load, rescored=True
        )
        return ReferenceState(place, accepted, stale=case.stale, usage=usage)

    def _once(self, case: _TaskContext) -> TaskResult:
        examples = [identity(example) for example in case.task.dataset.test]
        # The compile key leaves the held-out examples out.
        parts: list[JSON] = [case.found.key, examples, case.task.repeat, case.task.cluster]
        if self.policy.frozen:
            parts.append(case.place.scores.as_posix())
        key = digest(parts)
        if key not in self._judged or _goes_on(self._judged[key][1].artifact):
            judged = self._take(case) if self.policy.frozen else self._judge(case.task, case.found)
            self._judged[key] = case.task.test, judged
        first, judged = self._judged[key]
        if case.task.test == first:  # Perhaps once more, by a plugin that runs tests again.
            return judged
        # What was done and paid for is the first test's; the others have it from there.
        return replace(judged, reasons=(), usage=Usage(), seconds=0.0, resumed=0, shared=first)

    def _take(self, case: _TaskContext) -> TaskResult:
        """Return what the reference says, and score only the examples it lacks."""
        task, place, reference = case.task, case.place, case.reference
        if reference is None:
            message = (
                "nothing is compiled (--mipro-frozen), and no reference is accepted, "
                f"{place.show(place.scores)} is missing; accept one with: {place.command}"
            )
            raise ReferenceFileError(message)
        if case.stale:
            message = f"nothing is compiled (--mipro-frozen), and {case.stale}"
            raise ReferenceFileError(message)
        started = time.monotonic()
        compiled = restore_accepted(reference, task.program, place)
        (before, after), usage = self._lacking(case, reference, compiled)
        if len(before) == len(task.dataset.test):
            refuse_broken("the baseline program", list(chain.from_iterable(before.values())))
            refuse_broken("the compiled program", list(chain.from_iterable(after.values())))
        return TaskResult(
            artifact=artifact_of(reference, task),
            reasons=(),
            baseline=completed(task.program, reference, "baseline", task, before),
            compiled=completed(compiled, reference, "compiled", task, after),
            usage=usage,
            seconds=time.monotonic() - started,
            accepted=True,
        )

    def _lacking(
        self, case: _TaskContext, reference: Reference, compiled: dspy.Module
    ) -> tuple[list[dict[str, ExampleRows]], Usage]:
        """Return both programs' rows, by example, where ``reference`` has no scores to use."""
        task = case.task
        names = {identity(example): example for example in task.dataset.test}
        if not self.policy.rescore:
            accepted = reference.compiled
            names = {each: row for each, row in names.items() if each not in accepted}
        if not names:
            return [{}, {}], Usage()
        self._say(task, f"scoring {len(names)} held-out examples")
        with self._lease(task, case.found), self._workplace.responses(task):
            rows, usage = self._workplace.score(
                task, [task.program, compiled], list(names.values())
            )
        return [dict(zip(names, each, strict=True)) for each in rows], usage

    def _judge(self, task: Task, found: fingerprint.Fingerprint) -> TaskResult:
        """Return what is stored, or do what is missing while others wait for it."""
        known = self._recall(task, found)
        if known is not None:
            return known
        with self._lease(task, found):
            known = self._recall(task, found)
            if known is not None:
                return known
            with self._workplace.responses(task):
                return self._work(task, found)

    def _lease(self, task: Task, found: fingerprint.Fingerprint) -> CompileLock:
        """Wait until nobody else works on the task, and keep others waiting."""
        lease = self.store.lease(found.key, self._who)
        return lease.wait(on_wait=lambda who: self._say(task, f"waiting for {who}, who is at it"))

    def _stored(self, found: fingerprint.Fingerprint) -> Artifact | None:
        """Return the artifact in the store, unless it is to be compiled again."""
        artifact = self.store.artifacts.get(found.key)
        if artifact is None or _goes_on(artifact):
            return None
        if not self.policy.refresh:
            return artifact
        # Another worker may have compiled it again for this very run.
        return artifact if artifact.created >= self._started else None

    def _recall(self, task: Task, found: fingerprint.Fingerprint) -> TaskResult | None:
        artifact = None if self.policy.rescore else self._stored(found)
        if artifact is None:
            return None
        compiled = restore_state(task.program, artifact.state)
        rollouts, test = rollouts_of(task), task.dataset.test
        before = rollouts.stored(self.store, task.program, test)
        after = rollouts.stored(self.store, compiled, test)
        if before is None or after is None:
            return None
        return TaskResult(
            artifact=artifact,
            reasons=(),
            baseline=self._workplace.scored(task, "the baseline program", task.program, before),
            compiled=self._workplace.scored(task, "the compiled program", compiled, after),
            usage=Usage(),
            seconds=0.0,
        )

    def _work(self, task: Task, found: fingerprint.Fingerprint) -> TaskResult:
        started = time.monotonic()
        reasons: tuple[str, ...] = ()
        resumed = 0
        artifact = self._stored(found)
        if artifact is None:
            reasons = self._reasons(task, found)
            self._say(task, f"compiling: {', '.join(reasons)}")
            self._advise(advice.of_sizes(len(task.dataset.train), len(task.dataset.val)))
            artifact, resumed = self._workplace.compile(task, found)
        compiled = restore_state(task.program, artifact.state)
        test = task.dataset.test
        missing = max(rollouts_of(task).missing(self.store, [task.program, compiled], test))
        if missing and not reasons:
            self._say(task, f"scoring {missing} held-out examples that are not in the store")
        (before, after), usage = self._workplace.score(task, [task.program, compiled], test)
        baseline = self._workplace.scored(task, "the baseline program", task.program, before)
        scored = self._workplace.scored(task, "the compiled program", compiled, after)
        if reasons:
            self._advise(advice.of_scores(baseline.scores, scored.scores))
        return TaskResult(
            artifact=artifact,
            reasons=reasons,
            baseline=baseline,
            compiled=scored,
            usage=usage + artifact.usage if reasons else usage,
            seconds=time.monotonic() - started,
            resumed=resumed,
        )

    def _reasons(self, task: Task, found: fingerprint.Fingerprint) -> tuple[str, ...]:
        same = self.store.artifacts.get(found.key)
        if same is not None and same.cut is not None:
            return (f"the search was cut at {same.cut.limit}, there is more to spend now",)
        if same is not None:
            return ("again, as asked for (--mipro-refresh)",)
        known = self.store.artifacts.recent(task.test)
        if not known:
            return ("no artifact in the store yet",)
        # What was compiled last may have been undone since; the nearest of all says what is new.
        return min((found.changes_since(each.parts) for each in known), key=len)

    def _advise(self, text: str) -> None:
        if text:
            self._around.advise(text)

    def _say(self, task: Task, text: str) -> None:
        self._around.say(f"mipro: {task.name}: {text}")


def _goes_on(artifact: Artifact) -> bool:
    """Whether a budget cut the search for an artifact where there is more to spend now."""
    account = current_account()
    cut = artifact.cut
    return cut is not None and account is not None and account.allows_more(cut)


@contextmanager
def _settings(task: Task) -> Generator[None]:
    adapter = dspy.settings.adapter if task.adapter is None else task.adapter
    with dspy.context(lm=task.lm, adapter=adapter):
        yield
