"""The order of work for a task: memory, store, lock, compile, score, compare."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from pytest_mipro.canonical import JSON, digest, plain
from pytest_mipro.errors import BudgetExceeded, InfrastructureError
from pytest_mipro.fingerprint import task_fingerprint
from pytest_mipro.records import Usage
from pytest_mipro.session.accepted_failures import check_failures
from pytest_mipro.session.advice import advice_on_metric, advice_on_package, advice_on_scores
from pytest_mipro.session.anchors import Anchors
from pytest_mipro.session.batches import Batches, on_examples
from pytest_mipro.session.compiling import Compilation, Compiler, can_continue
from pytest_mipro.session.context import further_metric_keys, read_context
from pytest_mipro.session.interim import InterimResults
from pytest_mipro.session.ledger import Ledger, look_count
from pytest_mipro.session.outcome import Outcome
from pytest_mipro.session.program_calls import asking_model_of
from pytest_mipro.session.program_state import restore_artifact
from pytest_mipro.session.references import References
from pytest_mipro.session.results import TaskResult
from pytest_mipro.session.rollouts import accepted_task, scored_task
from pytest_mipro.session.scoring import Scorer
from pytest_mipro.session.storage import Storage
from pytest_mipro.spending import Account, limits_of
from pytest_mipro.task import example_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    import dspy

    from pytest_mipro.fingerprint import Fingerprint
    from pytest_mipro.gate import LookCount
    from pytest_mipro.optimize import Estimate
    from pytest_mipro.records import Artifact, Migration
    from pytest_mipro.reference import LedgerEntry, ReferenceLocation
    from pytest_mipro.session.callbacks import Callbacks
    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.policy import Policy
    from pytest_mipro.session.results import ReferenceState
    from pytest_mipro.task import Task

    Examples: TypeAlias = tuple[dspy.Example, ...]


class Session:
    """Compiles and scores each task once, for all tests that declare it."""

    def __init__(  # ruff: ignore[too-many-arguments] - the parts of a session
        self,
        *,
        store_url: str,
        store_name: str,
        folder: Path,
        process_name: str,
        callbacks: Callbacks,
        policy: Policy,
        account: Account | None = None,
        shared_folder: Path | None = None,
    ) -> None:
        """Prepare a session, which opens nothing before the first task.

        Args:
            store_url: SQLAlchemy URL of the store.
            store_name: The name of the store in reports, without credentials.
            folder: The folder of the store.
            process_name: The name of this process in messages of processes that wait for it.
            callbacks: What the session calls.
            policy: What the user set for all tasks.
            account: The limits of all tasks together.
            shared_folder: A folder of the processes of this run; None for one process.
        """
        self._store_name = store_name
        self._policy = policy
        self._callbacks = callbacks
        self._account = account or Account()
        self._storage = Storage(store_url, folder, process_name, shared_folder)
        self._compiler = Compiler(self._storage, policy, callbacks)
        self._scorer = Scorer(self._storage, policy, callbacks)
        self._references = References(self._storage, self._scorer, policy, callbacks)
        self._ledger = Ledger(self._storage, policy)
        self._results: dict[str, tuple[str, TaskResult]] = {}
        self._unversioned: set[str] = set()

    @property
    def store_name(self) -> str:
        """The name of the store; empty if no task needed it."""
        return self._store_name if self._storage.is_open else ""

    @property
    def usage(self) -> Usage:
        """The usage of all tasks so far."""
        return self._account.usage

    def close(self) -> None:
        """Close the store, if it is open."""
        self._storage.close()

    def outcome(self, task: Task, location: ReferenceLocation) -> Outcome:
        """Return the outcome of ``task``: from memory, from the store, or from new work.

        Raises:
            MiproError: There can be no verdict.
        """
        fingerprint, account = self._fingerprint(task), self._account_of(task)
        with self._charged(task, account):
            context = read_context(task, fingerprint, location, self._policy)
            results = self._interim_results(context, account)
            key, looks = self._looks(context, results)
            state = self._reference_state(context, results.latest, looks)
        latest = results.latest
        self._callbacks.advise(advice_on_metric(latest.baseline.scores, latest.compiled.scores))
        for warning in self._storage.new_warnings():
            self._callbacks.advise(warning)
        return Outcome(
            task,
            results,
            state,
            self._look_counter(context, results, _look_count(context, key, looks)),
            store_name=self.store_name,
            tolerant=self._policy.tolerant,
            defers_fails=self._policy.defers_fails,
            warn=self._callbacks.warn,
            account=Account(prices=self._account.prices, parent=self._account),
        )

    def migration(self, task: Task, location: ReferenceLocation) -> Migration:
        """Return what a move to the model, adapter and DSPy of this run does to ``task``.

        Raises:
            MiproError: It cannot be measured.
        """
        from pytest_mipro.session.migration import Migrator

        fingerprint = self._fingerprint(task)
        shared_result = partial(self._shared_result, examples=task.dataset.test)
        migrator = Migrator(self._storage, self._scorer, self._callbacks, shared_result)
        with self._charged(task, self._account_of(task)):
            context = read_context(task, fingerprint, location, self._policy)
            migration = migrator.migration(context)
            result, batches = shared_result(context), Batches.of(task)
            results = InterimResults(batches, len(batches.sizes), result, lambda _: result)
            self._looks(context, results)
        return migration

    def estimate(self, task: Task, location: ReferenceLocation) -> Estimate | None:
        """Return the most that ``outcome`` would ask of language models, or None if nothing.

        Raises:
            MiproError: ``outcome`` would raise it before it asks a model.
        """
        from pytest_mipro.session.dry_run import estimate_task, pending_work

        fingerprint = self._fingerprint(task)
        with self._charged(task, self._account_of(task)):
            context = read_context(task, fingerprint, location, self._policy)
            rows = self._scorer.available_rows(task)
            prices = {model: self._account.prices.of(model) for model in _models_of(task)}
            work = pending_work(context, self._compiler, self._scorer, self._policy)
            return estimate_task(task, work, rows, prices)

    def _looks(
        self, context: TaskContext, results: InterimResults
    ) -> tuple[str, Mapping[str, LedgerEntry]]:
        """Return the key of the look that the scores so far are, and all looks."""
        is_fresh = self._policy.update and accepted_task(context.task).first_rollout > 0
        return self._ledger.entries(context, results, "acceptance" if is_fresh else None)

    def _look_counter(
        self, context: TaskContext, results: InterimResults, first: LookCount
    ) -> Callable[[], LookCount]:
        """Return what counts the looks while a test runs, which may ask for more scores."""
        counts = {results.number: first}

        def count() -> LookCount:
            if results.number not in counts:
                key, looks = self._callbacks.run_in_test(partial(self._looks, context, results))
                counts[results.number] = _look_count(context, key, looks)
            return counts[results.number]

        return count

    def _reference_state(
        self, context: TaskContext, result: TaskResult, looks: Mapping[str, LedgerEntry]
    ) -> ReferenceState:
        if self._policy.update:
            check_failures(context.task, result, self._callbacks.warn)
            from pytest_mipro.session.acceptance import Acceptor

            anchors = Anchors(self._scorer, self._callbacks)
            acceptor = Acceptor(anchors, self._policy, self._callbacks)
            return acceptor.accept(context, result, looks)
        return self._references.state(context)

    def _fingerprint(self, task: Task) -> Fingerprint:
        fingerprint = task_fingerprint(task, self._callbacks.fingerprint(task))
        for package in fingerprint.unversioned:
            if package not in self._unversioned:
                self._unversioned.add(package)
                self._callbacks.advise(f"{task.name}: {advice_on_package(package)}")
        return fingerprint

    def _account_of(self, task: Task) -> Account:
        return Account(
            limits_of(task.budget),
            prices=self._account.prices,
            models=_models_of(task),
            parent=self._account,
        )

    @contextmanager
    def _charged(self, task: Task, account: Account) -> Generator[None]:
        """Run the block with the task's model and adapter, and charge the task's account."""
        try:
            with asking_model_of(task), account.current():
                yield
        except BudgetExceeded as error:
            raise account.with_present_spending(error) from error
        except InfrastructureError as error:
            error.stored = self._storage.store.rows.count()
            if self._policy.refresh or self._policy.rescore:
                error.starts_over = "asking again starts over with the next run"
            raise

    def _interim_results(self, context: TaskContext, account: Account) -> InterimResults:
        """Return the first result of a task, which asks for the rest when a verdict needs it.

        What is accepted, or scored again, has all rows; so has a frozen run, without asking.
        """
        batches, policy = Batches.of(context.task), self._policy
        asks_all = policy.update or policy.rescore or policy.frozen
        number = len(batches.sizes) if asks_all else 1
        first = self._shared_result(context, batches.examples_at(number))
        # A test may ask for more while it has a model and an account of its own.
        variables = copy_context()

        def ask(number: int) -> TaskResult:
            work = partial(
                self._ask_more, context, account, first.artifact, batches.examples_at(number)
            )
            result: TaskResult = self._callbacks.run_in_test(partial(variables.run, work))
            return result

        return InterimResults(batches, number, first, ask)

    def _ask_more(
        self,
        context: TaskContext,
        account: Account,
        artifact: Artifact,
        examples: Examples,
    ) -> TaskResult:
        """Score a compiled task on more examples; return the result with the usage of this call."""
        key, test = self._result_key(context, examples), context.task.test
        with self._charged(context.task, account):
            if key not in self._results or self._results[key][1].artifact != artifact:
                on_wait = partial(self._callbacks.say_waiting, context.task)
                with self._storage.lock(context.fingerprint.key, on_wait):
                    result = self._score(context, Compilation(artifact), examples)
                self._results[key] = test, result
        first_test, result = self._results[key]
        return result if test == first_test else replace(result, usage=Usage(), seconds=0.0)

    def _shared_result(self, context: TaskContext, examples: Examples) -> TaskResult:
        """Return the result on held-out examples, which the first test of a task obtains."""
        key, test = self._result_key(context, examples), context.task.test
        if key not in self._results or can_continue(self._results[key][1].artifact):
            self._results[key] = test, self._obtain_result(context, examples)
        first_test, result = self._results[key]
        if test == first_test:  # A plugin may run a test several times.
            return result
        # The report of the first test has the work and its usage.
        return replace(result, reasons=(), usage=Usage(), seconds=0.0, resumed=0, shared=first_test)

    def _result_key(self, context: TaskContext, examples: Examples) -> str:
        """Return what two tests with one result have in common."""
        task = context.task
        # The compile key leaves the held-out examples out.
        parts: list[JSON] = [context.fingerprint.key, [*map(example_digest, examples)]]
        parts += [task.repeat, task.cluster]
        # It leaves the further metrics out as well.
        parts += [task.metric_name, plain(further_metric_keys(task))]
        if self._policy.frozen:
            parts.append(context.location.scores.as_posix())
        # An accepted program may be scored on other rollouts than the same one elsewhere.
        parts.append("" if context.reference is None else context.reference.identity)
        return digest(parts)

    def _obtain_result(self, context: TaskContext, examples: Examples) -> TaskResult:
        """Take the accepted or the stored result, or compile and score while others wait."""
        if self._policy.frozen:
            return self._references.frozen_result(context)
        if result := self._read_result(context, examples):
            return result
        on_wait = partial(self._callbacks.say_waiting, context.task)
        with self._storage.lock(context.fingerprint.key, on_wait):
            # The process that held the lock may have done the work.
            if result := self._read_result(context, examples):
                return result
            started = time.monotonic()
            result = self._score(context, self._compile(context), examples)
            return replace(result, seconds=time.monotonic() - started)

    def _read_result(self, context: TaskContext, examples: Examples) -> TaskResult | None:
        """Return the result of a task if the store has all of it."""
        if self._policy.rescore:
            return None
        artifact = self._compiler.stored(context.fingerprint)
        if artifact is None:
            return None
        task = on_examples(scored_task(context, artifact.state, self._policy), examples)
        programs = self._scorer.stored(task, restore_artifact(task, artifact))
        return None if programs is None else TaskResult(artifact, (), *programs, Usage(), 0.0)

    def _score(
        self, context: TaskContext, compilation: Compilation, examples: Examples
    ) -> TaskResult:
        """Score the baseline and a compiled program on held-out examples."""
        started, artifact = time.monotonic(), compilation.artifact
        task = on_examples(scored_task(context, artifact.state, self._policy), examples)
        program = restore_artifact(task, artifact)
        if not compilation.reasons:
            self._announce_scoring(task, program)
        (baseline, compiled), usage = self._scorer.score(task, program)
        if compilation.reasons:
            self._callbacks.advise(advice_on_scores(baseline.scores, compiled.scores))
        return TaskResult(
            artifact=artifact,
            reasons=compilation.reasons,
            baseline=baseline,
            compiled=compiled,
            usage=usage + compilation.usage,
            seconds=time.monotonic() - started,
            resumed=compilation.resumed,
        )

    def _compile(self, context: TaskContext) -> Compilation:
        """Take the compiled program from the store, or compile it."""
        artifact = self._compiler.stored(context.fingerprint)
        if artifact is not None:
            return Compilation(artifact)
        task = scored_task(context, {}, self._policy)
        return self._compiler.compile(context, self._scorer.most_rows(task))

    def _announce_scoring(self, task: Task, program: dspy.Module) -> None:
        count = self._scorer.missing_examples(task, program)
        if count:
            text = f"scoring {count} held-out examples that are not in the store"
            self._callbacks.say(task, text)


def _look_count(context: TaskContext, key: str, looks: Mapping[str, LedgerEntry]) -> LookCount:
    return look_count(key, looks, len(context.task.dataset.test))


def _models_of(task: Task) -> list[str]:
    """Return the names of all models that ``task`` may ask."""
    predictor_lms = [predictor.lm for predictor in task.program.predictors()]
    lms = [task.lm, task.prompt_lm, task.teacher_lm, *predictor_lms]
    return list(dict.fromkeys(lm.model for lm in lms if lm is not None))
