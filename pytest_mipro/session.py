"""
The order of things: fingerprint, store, optimize, evaluate, gate, report.

Sequencing only; what each step does is in its room. Nothing here knows
pytest.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Protocol

import dspy

from pytest_mipro import advice, fingerprint
from pytest_mipro.canonical import JSON, digest
from pytest_mipro.cards import accepted_card, artifact_of, card_of, completed, reference_of, scored
from pytest_mipro.dataset import identity
from pytest_mipro.errors import (
    BudgetExceeded,
    DamagedReference,
    DeclarationError,
    InfrastructureError,
    ReferenceFileError,
    StoreError,
)
from pytest_mipro.evaluate.budget import Account, current, limits_of
from pytest_mipro.evaluate.failures import refuse_broken
from pytest_mipro.evaluate.responses import response_cache
from pytest_mipro.evaluate.rollouts import Answers, Rollouts
from pytest_mipro.evaluate.runner import Bench, known_rows, usage_of_answers
from pytest_mipro.evaluate.usage import UsageMeter
from pytest_mipro.evaluate.workers import ContextThreads, Workers, complete
from pytest_mipro.gate import reference as references
from pytest_mipro.outcome import Accepted, Judged, Outcome, Scored, Standing
from pytest_mipro.program import dump, fields_of, fit, restore
from pytest_mipro.records import Artifact, Progress, Usage
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from pytest_mipro.gate.place import Place
    from pytest_mipro.optimize.estimate import Estimate
    from pytest_mipro.optimize.mipro import MIPROv2
    from pytest_mipro.records import Reference
    from pytest_mipro.store.lease import Lease
    from pytest_mipro.task import Task


class Surroundings(Protocol):
    """What a session asks of whatever it runs in."""

    def optimize(self, task: Task) -> dspy.Module | None:
        """Compile ``task`` in another way than ours, or return None."""

    def fingerprint(self, task: Task) -> Mapping[str, object]:
        """Return further parts of the compile key, by name."""

    def say(self, line: str) -> None:
        """Show the user one line."""

    def progress(self, task: Task, progress: Progress) -> None:
        """Show the user how far a task has come."""

    def warn(self, text: str) -> None:
        """Warn the user about the test that is running."""

    def advise(self, text: str) -> None:
        """Warn the user about the task of the test that is being set up."""


@dataclass(frozen=True)
class Policy:
    """
    What the user asked of all tasks of a session.

    Attributes:
        update: Accept every outcome as the reference.
        frozen: Take program and scores from the reference; compile nothing.
        refresh: Compile again what the store has.
        rescore: Answer the held-out examples again, whatever the store has.
        tolerant: Let ``no_regression`` pass where the examples do not decide.

    """

    update: bool = False
    frozen: bool = False
    refresh: bool = False
    rescore: bool = False
    tolerant: bool = True


@dataclass(frozen=True)
class _Case:
    """A task, what it is by content, and what was accepted for it."""

    task: Task
    found: fingerprint.Fingerprint
    place: Place
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

        """
        self.policy = policy
        self._account = account or Account()
        self._store_url = store_url
        self._store_name = store_name
        self._folder = folder
        self._who = who
        self._around = around
        self._judged: dict[str, Judged] = {}
        self._started = _now()

    @cached_property
    def store(self) -> Store:
        """The store, opened on first use."""
        _prepare(self._folder)
        return Store.open(self._store_url)

    @property
    def store_name(self) -> str:
        """Where the store is, without credentials; empty if none was needed."""
        return self._store_name if "store" in vars(self) else ""

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

    def outcome(self, task: Task, place: Place) -> Outcome:
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

    def foresee(self, task: Task, place: Place) -> Estimate | None:
        """
        Return what ``outcome`` would ask language models now, or None if nothing.

        Raises:
            MiproError: As ``outcome``, as far as that is known before.

        """
        found = fingerprint.of_task(task, self._around.fingerprint(task))
        with _settings(task), self._charged(task):
            return self._estimate(self._case(task, found, place))

    def _estimate(self, case: _Case) -> Estimate | None:
        # ruff: ignore[import-outside-top-level]: it loads Optuna
        from pytest_mipro.forecast import forecast

        task, dataset = case.task, case.task.dataset
        examples = [*dataset.train, *dataset.val, *dataset.test]
        known = known_rows(_bench(task), self.store, task.program, examples)
        prices = {model: self._account.prices.of(model) for model in _models(task)}
        reasons, rows = self._ahead(case)
        return forecast(task, reasons, rows, known, prices)

    def _ahead(self, case: _Case) -> tuple[tuple[str, ...], int]:
        """Return why it would be compiled, if so, and how many held-out rows are evaluated."""
        task, test = case.task, case.task.dataset.test
        reasons: tuple[str, ...] = ()
        artifact = None if self.policy.frozen else self._stored(case.found)
        if self.policy.frozen:
            known = {} if case.reference is None or self.policy.rescore else case.reference.compiled
            rows = 2 * task.repeat * sum(identity(each) not in known for each in test)
        elif artifact is None:
            reasons, rows = self._reasons(task, case.found), self._held_out(task)
        else:
            rows = self._unscored_rows(task, [task.program, restore(task.program, artifact.state)])
        if self._scores_differently(case):
            rows += task.repeat * len(test)
        return reasons, rows

    def _scores_differently(self, case: _Case) -> bool:
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
            models=_models(task),
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
        if "store" in vars(self):
            self.store.close()

    def _case(self, task: Task, found: fingerprint.Fingerprint, place: Place) -> _Case:
        try:
            return _Case(task, found, place, references.read(place))
        except DamagedReference:
            if not self.policy.update:
                raise
            return _Case(task, found, place, None, damaged=True)

    def _accept(self, case: _Case, judged: Judged) -> Standing:
        """Make what was judged the reference."""
        new = reference_of(case.task, case.found, case.place.test, judged)
        acceptance = references.accept(
            case.place,
            new,
            case.reference,
            fields=fields_of(case.task.program),
            replaces=case.damaged,
        )
        card = accepted_card(new, case.task.dataset.test)
        accepted = Accepted(card, partial(fit, new, case.task.program, case.place))
        return Standing(case.place, accepted, acceptance)

    def _stand(self, case: _Case) -> Standing:
        """Return the reference with scores that can be compared, where that is possible."""
        task, place, reference = case.task, case.place, case.reference
        if reference is None:
            return Standing(place)
        load = partial(fit, reference, task.program, place)
        if reference.metric == fingerprint.of_metric(task.metric, task.version):
            card = accepted_card(reference, task.dataset.test)
            return Standing(place, Accepted(card, load), stale=case.stale)
        try:
            program = load()
        except ReferenceFileError:
            # An error for the test that asks for it; others need no reference.
            return Standing(place, Accepted(None, load), stale=case.stale)
        self._say(task, "the metric changed: scoring the accepted program again")
        with self._response_cache(task):
            (rows,), usage = self._score(task, [program], task.dataset.test)
        accepted = Accepted(card_of(task, rows, self._usage_of(rows)), load, rescored=True)
        return Standing(place, accepted, stale=case.stale, usage=usage)

    def _once(self, case: _Case) -> Judged:
        examples = [identity(example) for example in case.task.dataset.test]
        # The compile key leaves the held-out examples out.
        parts: list[JSON] = [case.found.key, examples, case.task.repeat, case.task.cluster]
        if self.policy.frozen:
            parts.append(case.place.scores.as_posix())
        key = digest(parts)
        known = self._judged.get(key)
        if known is not None:
            return known
        judged = self._take(case) if self.policy.frozen else self._judge(case.task, case.found)
        # What was done and paid for is the first test's; the others have it from there.
        self._judged[key] = replace(
            judged, reasons=(), usage=Usage(), seconds=0.0, resumed=0, shared=case.task.test
        )
        return judged

    def _take(self, case: _Case) -> Judged:
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
        compiled = fit(reference, task.program, place)
        (before, after), usage = self._lacking(case, reference, compiled)
        if len(before) == len(task.dataset.test):
            refuse_broken("the baseline program", list(chain.from_iterable(before.values())))
            refuse_broken("the compiled program", list(chain.from_iterable(after.values())))
        return Judged(
            artifact=artifact_of(reference, task),
            reasons=(),
            baseline=completed(task.program, reference, "baseline", task, before),
            compiled=completed(compiled, reference, "compiled", task, after),
            usage=usage,
            seconds=time.monotonic() - started,
            accepted=True,
        )

    def _lacking(
        self, case: _Case, reference: Reference, compiled: dspy.Module
    ) -> tuple[list[dict[str, Answers]], Usage]:
        """Return both programs' rows, by example, where ``reference`` has no scores to use."""
        task = case.task
        names = {identity(example): example for example in task.dataset.test}
        if not self.policy.rescore:
            accepted = reference.compiled
            names = {each: row for each, row in names.items() if each not in accepted}
        if not names:
            return [{}, {}], Usage()
        self._say(task, f"scoring {len(names)} held-out examples")
        with self._lease(task, case.found), self._response_cache(task):
            rows, usage = self._score(task, [task.program, compiled], list(names.values()))
        return [dict(zip(names, each, strict=True)) for each in rows], usage

    def _judge(self, task: Task, found: fingerprint.Fingerprint) -> Judged:
        """Return what is stored, or do what is missing while others wait for it."""
        known = self._recall(task, found)
        if known is not None:
            return known
        with self._lease(task, found):
            known = self._recall(task, found)
            if known is not None:
                return known
            with self._response_cache(task):
                return self._work(task, found)

    def _lease(self, task: Task, found: fingerprint.Fingerprint) -> Lease:
        """Wait until nobody else works on the task, and keep others waiting."""
        lease = self.store.lease(found.key, self._who)
        return lease.wait(on_wait=lambda who: self._say(task, f"waiting for {who}, who is at it"))

    def _stored(self, found: fingerprint.Fingerprint) -> Artifact | None:
        """Return the artifact in the store, unless it is to be compiled again."""
        artifact = self.store.artifacts.get(found.key)
        account = current()
        if artifact is None or (
            artifact.cut is not None and account is not None and account.allows_more(artifact.cut)
        ):
            return None
        if not self.policy.refresh:
            return artifact
        # Another worker may have compiled it again for this very run.
        return artifact if artifact.created >= self._started else None

    def _recall(self, task: Task, found: fingerprint.Fingerprint) -> Judged | None:
        artifact = None if self.policy.rescore else self._stored(found)
        if artifact is None:
            return None
        compiled = restore(task.program, artifact.state)
        rollouts, test = _rollouts(task), task.dataset.test
        before = rollouts.stored(self.store, task.program, test)
        after = rollouts.stored(self.store, compiled, test)
        if before is None or after is None:
            return None
        return Judged(
            artifact=artifact,
            reasons=(),
            baseline=self._scored(task, "the baseline program", task.program, before),
            compiled=self._scored(task, "the compiled program", compiled, after),
            usage=Usage(),
            seconds=0.0,
        )

    def _work(self, task: Task, found: fingerprint.Fingerprint) -> Judged:
        started = time.monotonic()
        reasons: tuple[str, ...] = ()
        resumed = 0
        artifact = self._stored(found)
        if artifact is None:
            reasons = self._reasons(task, found)
            self._say(task, f"compiling: {', '.join(reasons)}")
            self._advise(advice.of_sizes(len(task.dataset.train), len(task.dataset.val)))
            with self._workplace(task, again=self.policy.refresh) as store:
                artifact, resumed = self._compile(task, found, store)
            self._keep(artifact)
        compiled = restore(task.program, artifact.state)
        test = task.dataset.test
        missing = max(_rollouts(task).missing(self.store, [task.program, compiled], test))
        if missing and not reasons:
            self._say(task, f"scoring {missing} held-out examples that are not in the store")
        (before, after), usage = self._score(task, [task.program, compiled], test)
        baseline = self._scored(task, "the baseline program", task.program, before)
        scored = self._scored(task, "the compiled program", compiled, after)
        if reasons:
            self._advise(advice.of_scores(baseline.scores, scored.scores))
        return Judged(
            artifact=artifact,
            reasons=reasons,
            baseline=baseline,
            compiled=scored,
            usage=usage + artifact.usage if reasons else usage,
            seconds=time.monotonic() - started,
            resumed=resumed,
        )

    def _keep(self, artifact: Artifact) -> None:
        # There is one already if it is compiled again, or if its search goes on.
        self.store.artifacts.replace(artifact)

    def _reasons(self, task: Task, found: fingerprint.Fingerprint) -> tuple[str, ...]:
        earlier = self.store.artifacts.latest(task.test)
        if earlier is None:
            return ("no artifact in the store yet",)
        if earlier.key == found.key and earlier.cut is not None:
            return (f"the search was cut at {earlier.cut.limit}, there is more to spend now",)
        changes = found.changes_since(earlier.parts)
        return changes or ("again, as asked for (--mipro-refresh)",)

    @contextmanager
    def _workplace(self, task: Task, *, again: bool) -> Generator[Store]:
        """Give the store, or, to ask the models again, an empty one and no cached responses."""
        if not again:
            yield self.store
            return
        store = Store.in_memory()
        try:
            with response_cache(self._folder / "lm", task, again=True):
                yield store
        finally:
            store.close()

    def _response_cache(self, task: Task) -> AbstractContextManager[None]:
        return response_cache(self._folder / "lm", task)

    def _compile(
        self, task: Task, found: fingerprint.Fingerprint, store: Store
    ) -> tuple[Artifact, int]:
        """Return the compiled program, and how many stored results it was made from."""
        started = time.monotonic()
        meter = UsageMeter()
        with dspy.context(usage_tracker=meter):
            program = self._around.optimize(task)
        optimizer = None
        if program is None:
            program, optimizer = self._optimize(task, store)
        elif not isinstance(program, dspy.Module):
            message = f"pytest_mipro_optimize returned {program!r:.80}, expected a dspy.Module"
            raise DeclarationError(message)
        artifact = Artifact(
            key=found.key,
            task=task.test,
            parts=dict(found.parts),
            where=dict(found.where),
            state=dump(program),
            usage=meter.usage if optimizer is None else optimizer.usage,
            seconds=time.monotonic() - started,
            created=_now(),
            cut=None if optimizer is None else optimizer.cut,
            search=None if optimizer is None else optimizer.search,
        )
        return artifact, 0 if optimizer is None else optimizer.resumed

    def _optimize(self, task: Task, store: Store) -> tuple[dspy.Module, MIPROv2]:
        # ruff: ignore[import-outside-top-level]: only a compile needs Optuna
        from pytest_mipro.optimize.mipro import MIPROv2

        options = dict(vars(task.options))
        at_construction = ("auto", "num_candidates", "init_temperature", "metric_threshold")
        optimizer = MIPROv2(
            metric=task.metric,
            prompt_model=task.prompt_lm,
            task_model=task.lm,
            teacher_settings={} if task.teacher_lm is None else {"lm": task.teacher_lm},
            num_threads=task.threads,
            track_stats=False,
            store=store,
            version=task.version,
            on_progress=lambda progress: self._around.progress(task, progress),
            held_out=self._held_out(task),
            **{name: options.pop(name) for name in at_construction},
        )
        program = optimizer.compile(
            task.program,
            trainset=task.dataset.train,
            valset=task.dataset.val,
            teacher=task.teacher,
            **options,
        )
        return program, optimizer

    def _held_out(self, task: Task) -> int:
        """Return how many held-out rows a compile leaves to be evaluated, at most."""
        return self._unscored_rows(task, [task.program]) + task.repeat * len(task.dataset.test)

    def _unscored_rows(self, task: Task, programs: Sequence[dspy.Module]) -> int:
        test = task.dataset.test
        if self.policy.rescore:
            return len(programs) * task.repeat * len(test)
        missing = [_rollouts(task).missing(self.store, [each], test) for each in programs]
        return sum(map(sum, missing))

    def _score(
        self, task: Task, programs: Sequence[dspy.Module], examples: Sequence[dspy.Example]
    ) -> tuple[list[list[Answers]], Usage]:
        """Return the rows of each program, by example, and what it took now."""
        workers = Workers(ContextThreads(task.threads, thread_name_prefix="mipro"))
        account = current()
        if account is not None:
            account.stage = "held-out"
            account.reserve(0)
        total = len(programs) * len(examples) * task.repeat
        workers.on_record = partial(self._tell, task, workers, total)
        workers.on_record()
        with self._workplace(task, again=self.policy.rescore) as store:
            work = _rollouts(task).evaluate(programs, examples, store, workers)
            return complete(work, workers), workers.usage

    def _tell(self, task: Task, workers: Workers, total: int) -> None:
        done = min(workers.resumed + workers.made, total)
        self._around.progress(task, Progress("evaluate", done, total, usage=workers.usage))

    def _scored(
        self, task: Task, name: str, program: dspy.Module, found: Sequence[Answers]
    ) -> Scored:
        refuse_broken(name, list(chain.from_iterable(found)))
        return scored(program, task, found, self._usage_of(found))

    def _usage_of(self, found: Sequence[Answers]) -> Usage:
        rows = list(chain.from_iterable(found))
        # What was asked anew is not what it took to ask the first time.
        again = self.policy.rescore
        spent = Usage.total(row.usage for row in rows)
        return spent if again else usage_of_answers(self.store, rows)

    def _advise(self, text: str) -> None:
        if text:
            self._around.advise(text)

    def _say(self, task: Task, text: str) -> None:
        self._around.say(f"mipro: {task.name}: {text}")


def _models(task: Task) -> list[str]:
    """Return the names of all models that a task is going to ask."""
    own = [predictor.lm for predictor in task.program.predictors()]
    known = [task.lm, task.prompt_lm, task.teacher_lm, *own]
    return list(dict.fromkeys(lm.model for lm in known if lm is not None))


def _rollouts(task: Task) -> Rollouts:
    return Rollouts(_bench(task), task.repeat)


def _bench(task: Task) -> Bench:
    settings = {"lm": task.lm, "adapter": dspy.settings.adapter}
    key = fingerprint.of_evaluation(
        task.program, task.metric, task.lm, dspy.settings.adapter, task.version
    )
    answers = fingerprint.of_answers(task.program, task.lm, dspy.settings.adapter, task.version)
    return Bench(task.metric, settings, key, answers)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def _prepare(folder: Path) -> None:
    """Make the folder, and keep it out of version control and backups."""
    try:
        folder.mkdir(exist_ok=True)
        for name, content in (
            (".gitignore", "*\n"),
            ("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n"),
        ):
            if not (folder / name).exists():
                (folder / name).write_text(content, encoding="ascii")
    except OSError as error:
        message = (
            f"the folder {folder}, which keeps what was paid for, cannot be written: "
            f"{error.strerror or error}; move aside what is in its place, or let it be written"
        )
        raise StoreError(message) from error


@contextmanager
def _settings(task: Task) -> Generator[None]:
    adapter = dspy.settings.adapter if task.adapter is None else task.adapter
    with dspy.context(lm=task.lm, adapter=adapter):
        yield
