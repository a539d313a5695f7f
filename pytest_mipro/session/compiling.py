"""Compile a task to an artifact, or take the artifact that the store has."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from pytest_mipro.errors import StoreError
from pytest_mipro.fingerprint import by_part, by_text
from pytest_mipro.records import Artifact, Usage
from pytest_mipro.reference import refused_key
from pytest_mipro.session.advice import advice_on_sizes
from pytest_mipro.session.program_state import check_state, dump_state
from pytest_mipro.session.studies import Studies
from pytest_mipro.spending import current_account

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mipro.fingerprint import Fingerprint
    from pytest_mipro.session.callbacks import Callbacks
    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.policy import Policy
    from pytest_mipro.session.storage import Storage
    from pytest_mipro.store import Store
    from pytest_mipro.task import Task


@dataclass(frozen=True)
class Compilation:
    """An artifact, and the work that it took in this run.

    Attributes:
        artifact: The compiled program's state.
        reasons: Why the task was compiled; empty if the store had the artifact.
        resumed: How many stored results the compile started from.
        write_study: See ``CompileResult``.
    """

    artifact: Artifact
    reasons: tuple[str, ...] = ()
    resumed: int = 0
    write_study: Callable[[str, str], None] | None = None

    @property
    def usage(self) -> Usage:
        """The usage of the compile in this run."""
        return self.artifact.usage if self.reasons else Usage()


class Compiler:
    """Compiles tasks with their optimizers."""

    def __init__(self, storage: Storage, policy: Policy, callbacks: Callbacks) -> None:
        """Prepare a compiler whose session starts now."""
        self._storage = storage
        self._policy = policy
        self._callbacks = callbacks
        self._studies = Studies(storage, policy.study, callbacks)
        self._started = _now()

    def stored(self, fingerprint: Fingerprint) -> Artifact | None:
        """Return the artifact that the store has, unless the task is to be compiled again.

        Raises:
            StoreError: It holds more than prompts.
        """
        store = self._storage.store
        artifact = store.artifacts.get(fingerprint.key)
        if artifact is None or can_continue(artifact):
            return None
        _check_state(artifact, store.name)
        if not self._policy.refresh:
            return artifact
        # Another process of this run may have compiled the task again already.
        return artifact if artifact.created >= self._started else None

    def reasons(self, task: Task, fingerprint: Fingerprint) -> tuple[str, ...]:
        """Return why ``task`` is to be compiled, in words."""
        artifacts = self._storage.store.artifacts
        artifact = artifacts.get(fingerprint.key)
        if artifact is not None and artifact.cut is not None:
            return (f"the search was cut at {artifact.cut.limit}, there is more to spend now",)
        if artifact is not None:
            return ("again, as asked for (--mipro-refresh)",)
        recent = artifacts.recent(task.test)
        if not recent:
            return ("no artifact in the store yet",)
        # The user may have undone the latest change; the most similar artifact shows what is new.
        changes = (fingerprint.changes_since(by_part(artifact.parts)) for artifact in recent)
        return min(changes, key=len)

    def compile(self, context: TaskContext, held_out_rows: int) -> Compilation:
        """Compile a task, and store the artifact; a budget has to leave ``held_out_rows``.

        Raises:
            MiproError: The task cannot be compiled.
        """
        task, dataset = context.task, context.task.dataset
        check_state(task.program)
        reasons = self.reasons(task, context.fingerprint)
        self._callbacks.say(task, f"compiling: {', '.join(reasons)}")
        sizes = len(dataset.train), len(dataset.val)
        self._callbacks.advise(advice_on_sizes(task.optimizer.name, *sizes))
        with self._storage.opened(again=self._policy.refresh) as store:
            compilation = self._compiled(context, reasons, store, held_out_rows)
        # An earlier artifact stays until here, so that an error loses nothing.
        self._storage.store.artifacts.replace(compilation.artifact)
        self._studies.write(context, compilation.write_study)
        return compilation

    def _compiled(
        self, context: TaskContext, reasons: tuple[str, ...], store: Store, held_out_rows: int
    ) -> Compilation:
        from pytest_mipro.optimize import CompileRequest, optimizer_of

        started, task, fingerprint = time.monotonic(), context.task, context.fingerprint
        show_progress = partial(self._callbacks.show_progress, task)

        def warn(text: str) -> None:
            self._callbacks.advise(f"{task.name}: {text}")

        request = CompileRequest(task, store, held_out_rows, show_progress, warn)
        result = optimizer_of(task.optimizer).compile(request)
        artifact = Artifact(
            key=fingerprint.key,
            task=task.test,
            parts=by_text(fingerprint.parts),
            state=dump_state(result.program),
            usage=result.usage,
            seconds=time.monotonic() - started,
            created=_now(),
            cut=result.cut,
            search=result.search,
            optimizer=result.optimizer or task.optimizer.name,
        )
        return Compilation(artifact, reasons, result.resumed, result.write_study)


def can_continue(artifact: Artifact) -> bool:
    """Whether a budget cut the artifact's search and the present one allows more."""
    account, cut = current_account(), artifact.cut
    return cut is not None and account is not None and account.allows_more(cut)


def _check_state(artifact: Artifact, store: str) -> None:
    key = refused_key(artifact.state)
    if key:
        message = (
            f"artifacts/{artifact.key} holds {key}, which no artifact has: it may redirect calls, "
            f"with their API key; somebody changed the store {store}, move it aside"
        )
        raise StoreError(message)


def _now() -> str:
    """Return the time as text that sorts by time."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
