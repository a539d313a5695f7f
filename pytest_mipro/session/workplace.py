"""Where tasks are compiled and scored: the store, and everything else that is kept."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timezone
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING

import dspy

from pytest_mipro import fingerprint
from pytest_mipro.errors import DeclarationError, StoreError
from pytest_mipro.evaluate import (
    ContextThreadPool,
    Evaluator,
    ExampleRows,
    RolloutEvaluator,
    WorkerPool,
    cached_responses,
    original_usage,
    refuse_broken,
    run_to_completion,
)
from pytest_mipro.records import Artifact, Progress, Usage
from pytest_mipro.session import scorecards
from pytest_mipro.session.program_state import dump_state
from pytest_mipro.spending import UsageMeter, cached_price_list, current_account
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from pytest_mipro.optimize import MIPROv2
    from pytest_mipro.session.outcome import ScoredProgram
    from pytest_mipro.session.policy import Policy, Surroundings
    from pytest_mipro.task import Task


class Workplace:
    """
    Compiles programs and scores them.

    Args:
        store_url: SQLAlchemy URL of the store.
        folder: Where everything is kept but a store that is elsewhere.
        around: What the session runs in.
        policy: What the user asked of all tasks.
        shared: A folder that all processes of this run share, and nobody else;
            None if there is one process.

    """

    def __init__(
        self,
        store_url: str,
        folder: Path,
        around: Surroundings,
        policy: Policy,
        shared: Path | None = None,
    ) -> None:
        self._store_url = store_url
        self._folder = folder
        self._shared = shared
        self._around = around
        self._policy = policy

    @cached_property
    def store(self) -> Store:
        """The store, opened on first use."""
        _prepare(self._folder)
        return Store.open(self._store_url)

    @cached_property
    def _anew(self) -> Store:
        """What this run has asked again, also in its other processes; opened on first use."""
        if self._shared is None:
            return Store.in_memory()
        return Store.open(f"sqlite:///{self._shared / 'anew.db'}")

    @property
    def is_open(self) -> bool:
        """Whether the store was needed."""
        return "store" in vars(self)

    def close(self) -> None:
        """Let go of the stores that were opened."""
        if self.is_open:
            self.store.close()
        if "_anew" in vars(self):
            self._anew.close()

    def responses(self, task: Task) -> AbstractContextManager[None]:
        """Have DSPy keep and find what models answer for ``task``, while the context lasts."""
        return cached_responses(self._folder / "lm", task)

    def compile(self, task: Task, found: fingerprint.Fingerprint) -> tuple[Artifact, int]:
        """
        Compile ``task``, and keep what becomes of it.

        Args:
            task: What a test declares.
            found: What it is by content.

        Returns:
            The compiled program, and how many stored results it was made from.

        Raises:
            MiproError: It cannot be compiled.

        """
        with self._store_for(task, again=self._policy.refresh) as store:
            artifact, resumed = self._compiled(task, found, store)
        # There is one already if it is compiled again, or if its search goes on.
        self.store.artifacts.replace(artifact)
        return artifact, resumed

    def _compiled(
        self, task: Task, found: fingerprint.Fingerprint, store: Store
    ) -> tuple[Artifact, int]:
        started = time.monotonic()
        meter = UsageMeter()
        with cached_price_list(), dspy.context(usage_tracker=meter):
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
            state=dump_state(program),
            usage=meter.usage if optimizer is None else optimizer.usage,
            seconds=time.monotonic() - started,
            created=now(),
            cut=None if optimizer is None else optimizer.cut,
            search=None if optimizer is None else optimizer.search,
        )
        return artifact, 0 if optimizer is None else optimizer.resumed

    def _optimize(self, task: Task, store: Store) -> tuple[dspy.Module, MIPROv2]:
        # ruff: ignore[import-outside-top-level]: only a compile needs Optuna
        from pytest_mipro.optimize import MIPROv2

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
            held_out=self.held_out(task),
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

    def held_out(self, task: Task) -> int:
        """Return how many held-out rows a compile leaves to be evaluated, at most."""
        return self.unscored_rows(task, [task.program]) + task.repeat * len(task.dataset.test)

    def unscored_rows(self, task: Task, programs: Sequence[dspy.Module]) -> int:
        """Return how many held-out rows of ``programs`` are still to be evaluated."""
        test = task.dataset.test
        if self._policy.rescore:
            return len(programs) * task.repeat * len(test)
        missing = [rollouts_of(task).missing(self.store, [each], test) for each in programs]
        return sum(map(sum, missing))

    def score(
        self, task: Task, programs: Sequence[dspy.Module], examples: Sequence[dspy.Example]
    ) -> tuple[list[list[ExampleRows]], Usage]:
        """
        Have every program answer every example, as often as the task says.

        Returns:
            The rows of each program, by example, and what it took now.

        Raises:
            MiproError: Something cannot be answered, or not be scored.

        """
        workers = WorkerPool(ContextThreadPool(task.threads, thread_name_prefix="mipro"))
        account = current_account()
        if account is not None:
            account.stage = "held-out"
            account.reserve(0)
        total = len(programs) * len(examples) * task.repeat
        workers.on_record = partial(self._tell, task, workers, total)
        workers.on_record()
        with self._store_for(task, again=self._policy.rescore) as store:
            work = rollouts_of(task).evaluate(programs, examples, store, workers)
            return run_to_completion(work, workers), workers.usage

    def _tell(self, task: Task, workers: WorkerPool, total: int) -> None:
        done = min(workers.resumed + workers.made, total)
        progress = Progress(
            "evaluate", done, total, usage=workers.usage, provider_error=workers.provider_error
        )
        self._around.progress(task, progress)

    def scored(
        self, task: Task, name: str, program: dspy.Module, found: Sequence[ExampleRows]
    ) -> ScoredProgram:
        """
        Return what the answers of a program make of it.

        Raises:
            MiproError: The program, which is called ``name``, fails on most examples.

        """
        refuse_broken(name, list(chain.from_iterable(found)))
        return scorecards.scored(program, task, found, self.usage_of(found))

    def usage_of(self, found: Sequence[ExampleRows]) -> Usage:
        """Return what it took to answer, whenever that was."""
        rows = list(chain.from_iterable(found))
        # What was asked anew is not what it took to ask the first time.
        again = self._policy.rescore
        spent = Usage.total(row.usage for row in rows)
        return spent if again else original_usage(self.store, rows)

    @contextmanager
    def _store_for(self, task: Task, *, again: bool) -> Generator[Store]:
        """Give the store, or, to ask the models again, another one and no cached responses."""
        if not again:
            yield self.store
            return
        with cached_responses(self._folder / "lm", task, again=True):
            yield self._anew


def models_of(task: Task) -> list[str]:
    """Return the names of all models that a task is going to ask."""
    own = [predictor.lm for predictor in task.program.predictors()]
    known = [task.lm, task.prompt_lm, task.teacher_lm, *own]
    return list(dict.fromkeys(lm.model for lm in known if lm is not None))


def rollouts_of(task: Task) -> RolloutEvaluator:
    """Return what has the held-out examples of ``task`` answered."""
    return RolloutEvaluator(bench_of(task), task.repeat)


def bench_of(task: Task) -> Evaluator:
    """Return what rows of ``task`` are evaluated with."""
    settings = {"lm": task.lm, "adapter": dspy.settings.adapter}
    key = fingerprint.of_evaluation(
        task.program, task.metric, task.lm, dspy.settings.adapter, task.version
    )
    answers = fingerprint.of_answers(task.program, task.lm, dspy.settings.adapter, task.version)
    return Evaluator(task.metric, settings, key, answers)


def now() -> str:
    """Return the time, so that texts are in the order of what they stand for."""
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
