"""Compare with references, and take results from them."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.records import Usage
from pytest_mipro.reference import prompts_of
from pytest_mipro.session.anchors import Anchors
from pytest_mipro.session.moves import moves_in_words
from pytest_mipro.session.program_state import field_names, restore_accepted
from pytest_mipro.session.results import (
    HeldOutRows,
    ReferenceProgram,
    ReferenceState,
    TaskResult,
)
from pytest_mipro.session.rollouts import accepted_task
from pytest_mipro.session.scorecards import (
    accepted_card,
    artifact_of,
    completed_further_cards,
    completed_program,
    further_cards,
    unchanged_further_cards,
)
from pytest_mipro.session.scoring import refuse_broken_programs
from pytest_mipro.task import example_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import dspy

    from pytest_mipro.records import Scorecard
    from pytest_mipro.reference import Reference
    from pytest_mipro.session.callbacks import Callbacks
    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.policy import Policy
    from pytest_mipro.session.results import ScoredProgram
    from pytest_mipro.session.scorecards import Role
    from pytest_mipro.session.scoring import Scorer
    from pytest_mipro.session.storage import Storage


def missing_examples(context: TaskContext, policy: Policy) -> dict[str, dspy.Example]:
    """Return the examples, by identity, that a frozen run evaluates."""
    by_identity = {example_digest(example): example for example in context.task.dataset.test}
    if policy.rescore or context.reference is None or context.new_further_metrics:
        return by_identity
    accepted = context.reference.compiled
    return {name: by_identity[name] for name in by_identity if name not in accepted}


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
        state = replace(self._state(context), moves=moves_in_words(context))
        anchor = self._anchors.other_than_reference(context)
        if anchor is None:
            return state
        return replace(state, anchor=anchor, usage=state.usage + anchor.usage)

    def _state(self, context: TaskContext) -> ReferenceState:
        task, location, reference = context.task, context.location, context.reference
        if reference is None:
            return ReferenceState(location)
        load = partial(restore_accepted, reference, task, location)
        card = None if context.has_new_metric else accepted_card(reference, task.dataset.test)
        further, changed = unchanged_further_cards(context), context.changed_metrics
        if not changed:
            accepted = ReferenceProgram(card, load, further=further)
            if not context.stale:  # Then the program fits the code, unless somebody edited it.
                accepted.load()
            stored = prompts_of(reference.state, field_names(task.program))
            return ReferenceState(location, accepted, stale=context.stale, stored_prompts=stored)
        try:
            program = load()
        except ReferenceFileError as error:
            # A test that uses the reference raises it; other tests do without.
            accepted = ReferenceProgram(card, load, further=further, error=error)
            return ReferenceState(location, accepted, stale=context.stale)
        new_card, new_further, usage = self._rescored(context, program)
        accepted = ReferenceProgram(
            card or new_card, load, further={**new_further, **further}, rescored_metrics=changed
        )
        return ReferenceState(location, accepted, stale=context.stale, usage=usage)

    def _rescored(
        self, context: TaskContext, program: dspy.Module
    ) -> tuple[Scorecard, dict[str, Scorecard], Usage]:
        """Return the scorecards of the accepted program by the present metrics."""
        task = accepted_task(context.task)
        names = " and ".join(f"metric {name}".rstrip() for name in context.changed_metrics)
        self._callbacks.say(task, f"the {names} changed: scoring the accepted program again")
        (held_out,), usage = self._scorer.evaluate(task, [program], task.dataset.test)
        card = self._scorer.scorecard(task, held_out.rows)
        return card, further_cards(task, held_out.further), usage

    def frozen_result(self, context: TaskContext) -> TaskResult:
        """Return the accepted result of a task; evaluate only examples that it lacks.

        Raises:
            MiproError: There is no reference, it is out of date, or an example cannot be scored.
        """
        started, task = time.monotonic(), context.task
        reference = _usable(context, self._policy)
        compiled = restore_accepted(reference, task, context.location)
        examples = missing_examples(context, self._policy)
        (baseline_rows, compiled_rows), usage = self._missing_rows(context, compiled, examples)
        return TaskResult(
            artifact=artifact_of(reference, task),
            reasons=(),
            baseline=self._completed(context, "baseline", task.program, examples, baseline_rows),
            compiled=self._completed(context, "compiled", compiled, examples, compiled_rows),
            usage=usage,
            seconds=time.monotonic() - started,
            accepted=True,
        )

    def _missing_rows(
        self, context: TaskContext, compiled: dspy.Module, examples: Mapping[str, dspy.Example]
    ) -> tuple[list[HeldOutRows], Usage]:
        """Return the rows of both programs on ``examples``."""
        task = context.task
        if not examples:
            return [HeldOutRows(()), HeldOutRows(())], Usage()
        self._callbacks.say(task, f"scoring {len(examples)} held-out examples")
        programs = [task.program, compiled]
        on_wait = partial(self._callbacks.say_waiting, task)
        with self._storage.lock(context.fingerprint.key, on_wait):
            held_out, usage = self._scorer.evaluate(
                accepted_task(task), programs, [*examples.values()]
            )
        if len(examples) == len(task.dataset.test):
            refuse_broken_programs(*(program_rows.rows for program_rows in held_out))
        return held_out, usage

    def _completed(
        self,
        context: TaskContext,
        role: Role,
        program: dspy.Module,
        examples: Iterable[str],
        held_out: HeldOutRows,
    ) -> ScoredProgram:
        """Return ``program`` with its accepted scores, and with new ones where there are none."""
        reference, task = context.reference, context.task
        assert reference is not None
        names = list(examples)
        new = {
            name: rows
            for name, rows in zip(names, held_out.rows, strict=True)
            if self._policy.rescore or name not in reference.compiled
        }
        further = {
            metric: {
                name: score
                for name, score in zip(names, scores, strict=True)
                if name in new or metric in context.new_further_metrics
            }
            for metric, scores in held_out.further.items()
        }
        return replace(
            completed_program(program, reference, role, task, new),
            further=completed_further_cards(reference, role, task, further),
            metric_name=task.metric_name,
        )


def _usable(context: TaskContext, policy: Policy) -> Reference:
    """Return the reference, or raise ReferenceFileError if a frozen run cannot use it.

    The accepted program can be scored again under another model, adapter or version of DSPy.
    """
    location = context.location
    if context.reference is None:
        message = (
            "nothing is compiled (--mipro-frozen), and no reference is accepted, "
            f"{location.show(location.scores)} is missing; accept one with: {location.command}"
        )
        raise ReferenceFileError(message)
    is_moved = bool(context.stale) and context.has_only_moved
    if context.stale and not (is_moved and policy.rescore):
        advice = "; to score the accepted program under it, add --mipro-rescore" * is_moved
        message = f"nothing is compiled (--mipro-frozen), and {context.stale}{advice}"
        raise ReferenceFileError(message)
    return context.reference
