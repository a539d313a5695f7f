"""Compare with references, and take results from them."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.records import Usage
from pytest_mipro.session.anchors import Anchors
from pytest_mipro.session.program_state import restore_accepted
from pytest_mipro.session.results import ReferenceProgram, ReferenceState, TaskResult
from pytest_mipro.session.rollouts import accepted_task
from pytest_mipro.session.scorecards import (
    accepted_card,
    artifact_of,
    completed_program,
)
from pytest_mipro.session.scoring import refuse_broken_programs
from pytest_mipro.task import example_digest

if TYPE_CHECKING:
    import dspy

    from pytest_mipro.evaluate import ExampleRows
    from pytest_mipro.records import Scorecard
    from pytest_mipro.reference import Reference
    from pytest_mipro.session.callbacks import Callbacks
    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.policy import Policy
    from pytest_mipro.session.scoring import Scorer
    from pytest_mipro.session.storage import Storage
    from pytest_mipro.task import Task


def missing_examples(
    reference: Reference, examples: tuple[dspy.Example, ...], policy: Policy
) -> dict[str, dspy.Example]:
    """Return the examples, by identity, that a frozen run evaluates."""
    by_identity = {example_digest(example): example for example in examples}
    if policy.rescore:
        return by_identity
    return {name: by_identity[name] for name in by_identity if name not in reference.compiled}


class References:
    """Compares tasks with their references, and in a frozen run judges them by these alone."""

    def __init__(
        self, storage: Storage, scorer: Scorer, policy: Policy, callbacks: Callbacks
    ) -> None:
        """Take the parts of a session that a reference may need."""
        self._storage = storage
        self._scorer = scorer
        self._policy = policy
        self._callbacks = callbacks
        self._anchors = Anchors(scorer, callbacks)

    def state(self, context: TaskContext) -> ReferenceState:
        """Return the reference of a task, and its anchor, with scores of the present metric.

        Raises:
            MiproError: An accepted program has to be scored again and cannot be.
        """
        state, anchor = self._state(context), self._anchors.other_than_reference(context)
        if anchor is None:
            return state
        return replace(state, anchor=anchor, usage=state.usage + anchor.usage)

    def _state(self, context: TaskContext) -> ReferenceState:
        task, location, reference = context.task, context.location, context.reference
        if reference is None:
            return ReferenceState(location)
        load = partial(restore_accepted, reference, task, location)
        if not context.has_new_metric:
            card = accepted_card(reference, task.dataset.test)
            return ReferenceState(location, ReferenceProgram(card, load), stale=context.stale)
        try:
            program = load()
        except ReferenceFileError:
            # The error is raised when a test uses the reference; other tests do without.
            return ReferenceState(location, ReferenceProgram(None, load), stale=context.stale)
        card, usage = self._rescored(task, program)
        accepted = ReferenceProgram(card, load, rescored=True)
        return ReferenceState(location, accepted, stale=context.stale, usage=usage)

    def _rescored(self, task: Task, program: dspy.Module) -> tuple[Scorecard, Usage]:
        self._callbacks.say(task, "the metric changed: scoring the accepted program again")
        (rows,), usage = self._scorer.evaluate(accepted_task(task), [program], task.dataset.test)
        return self._scorer.scorecard(task, rows), usage

    def frozen_result(self, context: TaskContext) -> TaskResult:
        """Return the accepted result of a task; evaluate only examples that it lacks.

        Raises:
            MiproError: There is no reference, it is out of date, or an example cannot be scored.
        """
        started, task = time.monotonic(), context.task
        reference = _up_to_date(context)
        compiled = restore_accepted(reference, task, context.location)
        (baseline_rows, compiled_rows), usage = self._missing_rows(context, reference, compiled)
        return TaskResult(
            artifact=artifact_of(reference, task),
            reasons=(),
            baseline=completed_program(task.program, reference, "baseline", task, baseline_rows),
            compiled=completed_program(compiled, reference, "compiled", task, compiled_rows),
            usage=usage,
            seconds=time.monotonic() - started,
            accepted=True,
        )

    def _missing_rows(
        self, context: TaskContext, reference: Reference, compiled: dspy.Module
    ) -> tuple[list[dict[str, ExampleRows]], Usage]:
        """Return the rows of both programs, by example, for which there is no accepted score."""
        task = context.task
        examples = missing_examples(reference, task.dataset.test, self._policy)
        if not examples:
            return [{}, {}], Usage()
        self._callbacks.say(task, f"scoring {len(examples)} held-out examples")
        programs = [task.program, compiled]
        on_wait = partial(self._callbacks.say_waiting, task)
        with self._storage.lock(context.fingerprint.key, on_wait):
            rows, usage = self._scorer.evaluate(accepted_task(task), programs, [*examples.values()])
        if len(examples) == len(task.dataset.test):
            refuse_broken_programs(*rows)
        return [dict(zip(examples, program_rows, strict=True)) for program_rows in rows], usage


def _up_to_date(context: TaskContext) -> Reference:
    """Return the reference, or raise ReferenceFileError if a frozen run cannot use it."""
    location = context.location
    if context.reference is None:
        message = (
            "nothing is compiled (--mipro-frozen), and no reference is accepted, "
            f"{location.show(location.scores)} is missing; accept one with: {location.command}"
        )
        raise ReferenceFileError(message)
    if context.stale:
        message = f"nothing is compiled (--mipro-frozen), and {context.stale}"
        raise ReferenceFileError(message)
    return context.reference
