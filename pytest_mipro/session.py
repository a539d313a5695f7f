"""
The order of things: fingerprint, store, optimize, evaluate, gate, report.

Sequencing only; what each step does is in its room. Nothing here knows
pytest.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import dspy

from pytest_mipro import fingerprint
from pytest_mipro.canonical import JSON, canonical_json, digest, plain
from pytest_mipro.dataset import identity
from pytest_mipro.errors import DeclarationError, StoreError
from pytest_mipro.evaluate.runner import Bench, Rows, stored_rows
from pytest_mipro.evaluate.usage import UsageMeter
from pytest_mipro.evaluate.workers import ContextThreads, Workers, both, complete
from pytest_mipro.gate import verdict
from pytest_mipro.gate.paired import compare
from pytest_mipro.records import (
    Artifact,
    PairedComparison,
    Progress,
    Report,
    Row,
    Scorecard,
    Usage,
    Verdict,
)
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

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


@dataclass(frozen=True)
class Scored:
    """
    A program and its held-out scores.

    Attributes:
        program: The program; calling it asks the model again.
        card: Its scorecard.

    """

    program: dspy.Module
    card: Scorecard

    @property
    def score(self) -> float:
        """The mean held-out score."""
        return self.card.score

    @property
    def scores(self) -> tuple[float, ...]:
        """One held-out score per test example, in the order of the split."""
        return self.card.scores

    @property
    def usage(self) -> Usage:
        """What it took to answer the held-out examples, when they were answered."""
        return self.card.usage


@dataclass(frozen=True)
class _Judged:
    """What is known of a task once both programs are scored; shared by all its tests."""

    artifact: Artifact
    reasons: tuple[str, ...]
    baseline: Scored
    compiled: Scored
    usage: Usage
    seconds: float


class Outcome:
    """
    What the ``mipro`` fixture gives a test: both programs, their scores, the verdicts.

    Attributes:
        task: What the test declared.
        baseline: The program before, scored on the held-out split.
        compiled: The program after, scored on the same examples.

    """

    def __init__(self, task: Task, judged: _Judged, store: str) -> None:
        """Wrap what the session found out."""
        self.task = task
        self.baseline = judged.baseline
        self.compiled = judged.compiled
        self._judged = judged
        self._store = store
        self._verdicts: list[Verdict] = []

    @cached_property
    def comparison(self) -> PairedComparison:
        """Compiled against baseline, without a margin."""
        return compare(self.baseline.scores, self.compiled.scores)

    def beats_baseline(self, *, margin: float = 0.0, alpha: float = 0.05) -> Verdict:
        """
        Judge whether the compiled program is better on held-out examples.

        Args:
            margin: How much better it has to be, as a difference of mean scores.
            alpha: Accepted chance of a PASS for a program that is not.

        Returns:
            A verdict that is truthy only on PASS.

        """
        __tracebackhide__ = True
        judged = verdict.beats_baseline(
            self.baseline.card,
            self.compiled.card,
            margin=margin,
            alpha=alpha,
            unchanged=self._unchanged,
        )
        self._verdicts.append(judged)
        return judged

    @property
    def _unchanged(self) -> bool:
        before, after = self.baseline.program, self.compiled.program
        return fingerprint.of_prompts(before) == fingerprint.of_prompts(after)

    def report(self) -> Report:
        """Return everything there is to say, as a record."""
        judged = self._judged
        return Report(
            task=self.task.name,
            test=self.task.test,
            key=judged.artifact.key,
            origin="compiled" if judged.reasons else "stored",
            reasons=judged.reasons,
            baseline=self.baseline.card,
            compiled=self.compiled.card,
            comparison=self.comparison,
            prompts_before=fingerprint.prompts(self.baseline.program),
            prompts_after=fingerprint.prompts(self.compiled.program),
            usage=judged.usage,
            seconds=judged.seconds,
            store=self._store,
            verdicts=tuple(self._verdicts),
        )


class Session:
    """Compiles and scores each task once, however many tests ask."""

    def __init__(self, *, store_url: str, folder: Path, who: str, around: Surroundings) -> None:
        """
        Prepare a session; nothing is opened before the first task.

        Args:
            store_url: SQLAlchemy URL of the store.
            folder: Where everything is kept but a store that is elsewhere.
            who: What other processes call this one while they wait for it.
            around: What the session runs in.

        """
        self._store_url = store_url
        self._folder = folder
        self._who = who
        self._around = around
        self._judged: dict[str, _Judged] = {}

    @cached_property
    def store(self) -> Store:
        """The store, opened on first use."""
        _prepare(self._folder)
        return Store.open(self._store_url)

    def outcome(self, task: Task) -> Outcome:
        """
        Return the outcome of ``task``: from memory, from the store, or by doing the work.

        Raises:
            MiproError: Something prevents a verdict.

        """
        found = fingerprint.of_task(task, self._around.fingerprint(task))
        store = self.store
        # The compile key leaves the held-out examples out.
        key = digest([found.key, [identity(example) for example in task.dataset.test]])
        if key not in self._judged:
            with _settings(task):
                self._judged[key] = self._judge(task, found)
        return Outcome(task, self._judged[key], store.name)

    def close(self) -> None:
        """Let go of the store, if it was opened."""
        if "store" in vars(self):
            self.store.close()

    def _judge(self, task: Task, found: fingerprint.Fingerprint) -> _Judged:
        """Return what is stored, or do what is missing while others wait for it."""
        known = self._recall(task, found)
        if known is not None:
            return known
        lease = self.store.lease(found.key, self._who)
        with lease.wait(on_wait=lambda who: self._say(task, f"waiting for {who}, who is at it")):
            known = self._recall(task, found)
            if known is not None:
                return known
            with _response_cache(self._folder / "lm", task):
                return self._work(task, found)

    def _recall(self, task: Task, found: fingerprint.Fingerprint) -> _Judged | None:
        artifact = self.store.artifacts.get(found.key)
        if artifact is None:
            return None
        compiled = restore(task.program, artifact.state)
        bench, test = _bench(task), task.dataset.test
        before = stored_rows(bench, self.store, task.program, test)
        after = stored_rows(bench, self.store, compiled, test)
        if before is None or after is None:
            return None
        return _Judged(
            artifact=artifact,
            reasons=(),
            baseline=Scored(task.program, _scorecard(test, before)),
            compiled=Scored(compiled, _scorecard(test, after)),
            usage=Usage(),
            seconds=0.0,
        )

    def _work(self, task: Task, found: fingerprint.Fingerprint) -> _Judged:
        started = time.monotonic()
        reasons: tuple[str, ...] = ()
        artifact = self.store.artifacts.get(found.key)
        if artifact is None:
            reasons = self._reasons(task, found)
            self._say(task, f"compiling: {', '.join(reasons)}")
            artifact = self._compile(task, found)
            self.store.artifacts.put(artifact)
        compiled = restore(task.program, artifact.state)
        before, after, usage = self._score(task, compiled)
        return _Judged(
            artifact=artifact,
            reasons=reasons,
            baseline=Scored(task.program, before),
            compiled=Scored(compiled, after),
            usage=usage + artifact.usage if reasons else usage,
            seconds=time.monotonic() - started,
        )

    def _reasons(self, task: Task, found: fingerprint.Fingerprint) -> tuple[str, ...]:
        earlier = self.store.artifacts.latest(task.test)
        if earlier is None:
            return ("no artifact in the store yet",)
        return found.changes_since(earlier.parts)

    def _compile(self, task: Task, found: fingerprint.Fingerprint) -> Artifact:
        started = time.monotonic()
        meter = UsageMeter()
        with dspy.context(usage_tracker=meter):
            program = self._around.optimize(task)
        usage = meter.usage
        if program is None:
            program, usage = self._optimize(task)
        elif not isinstance(program, dspy.Module):
            message = f"pytest_mipro_optimize returned {program!r:.80}, expected a dspy.Module"
            raise DeclarationError(message)
        return Artifact(
            key=found.key,
            task=task.test,
            parts=dict(found.parts),
            where=dict(found.where),
            state=dump(program),
            usage=usage,
            seconds=time.monotonic() - started,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def _optimize(self, task: Task) -> tuple[dspy.Module, Usage]:
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
            store=self.store,
            version=task.version,
            on_progress=lambda progress: self._around.progress(task, progress),
            **{name: options.pop(name) for name in at_construction},
        )
        program = optimizer.compile(
            task.program,
            trainset=task.dataset.train,
            valset=task.dataset.val,
            teacher=task.teacher,
            **options,
        )
        return program, optimizer.usage

    def _score(self, task: Task, compiled: dspy.Module) -> tuple[Scorecard, Scorecard, Usage]:
        test = task.dataset.test
        workers = Workers(ContextThreads(task.threads, thread_name_prefix="mipro"))
        rows = Rows(_bench(task), self.store, workers)

        self._around.progress(task, Progress("evaluate", 0, 2 * len(test)))
        before, after = complete(
            both(rows.evaluate(task.program, test), rows.evaluate(compiled, test)), workers
        )
        return _scorecard(test, before), _scorecard(test, after), workers.usage

    def _say(self, task: Task, text: str) -> None:
        self._around.say(f"mipro: {task.name}: {text}")


def _bench(task: Task) -> Bench:
    settings = {"lm": task.lm, "adapter": dspy.settings.adapter}
    key = fingerprint.of_evaluation(
        task.program, task.metric, task.lm, dspy.settings.adapter, task.version
    )
    return Bench(task.metric, settings, key)


def dump(program: dspy.Module) -> dict[str, Any]:
    """Return a program's DSPy state as JSON data, without any model in it."""
    program = program.deepcopy()
    program.set_lm(None)
    state = plain(program.dump_state(), fallback=str)
    if not isinstance(state, dict):
        raise AssertionError(state)
    return state


def restore(program: dspy.Module, state: Mapping[str, Any]) -> dspy.Module:
    """Return a copy of ``program`` in ``state``, with its own models."""
    restored: dspy.Module = program.deepcopy()
    restored.load_state(dict(state))
    for own, other in zip(program.predictors(), restored.predictors(), strict=True):
        other.lm = own.lm
    return restored


def _scorecard(test: Sequence[dspy.Example], rows: Sequence[Row]) -> Scorecard:
    return Scorecard(
        examples=tuple(identity(example) for example in test),
        scores=tuple(row.score for row in rows),
        usage=Usage.total(row.usage for row in rows),
        failures=tuple(row.failure for row in rows if row.failure is not None),
    )


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
        message = f"the folder {folder} cannot be written: {error}; it keeps what was paid for"
        raise StoreError(message) from error


@contextmanager
def _settings(task: Task) -> Generator[None]:
    adapter = dspy.settings.adapter if task.adapter is None else task.adapter
    with dspy.context(lm=task.lm, adapter=adapter):
        yield


@contextmanager
def _response_cache(folder: Path, task: Task) -> Generator[None]:
    """
    Let DSPy cache LM responses in a folder of the task's endpoints.

    DSPy's cache key leaves out the endpoint. Two endpoints that serve the same
    model name would answer for each other, so then nothing is cached.
    """
    models = [lm for lm in (task.lm, task.prompt_lm, task.teacher_lm) if lm is not None]
    described = {canonical_json(_where_served(lm)): lm.model for lm in models}
    ambiguous = len(set(described.values())) < len(described)
    before = vars(dspy).get("cache")
    dspy.configure_cache(
        enable_disk_cache=not ambiguous,
        enable_memory_cache=not ambiguous,
        disk_cache_dir=str(folder / digest(sorted(described))[:16]),
        restrict_pickle=True,
    )
    try:
        yield
    finally:
        used = vars(dspy).pop("cache")
        if used.enable_disk_cache:
            used.disk_cache.close()
        if before is not None:
            dspy.cache = before


def _where_served(lm: dspy.BaseLM) -> JSON:
    described = fingerprint.model(lm)
    return {name: described[name] for name in ("class", "model", "endpoint", "engine")}
