"""Dump the state of a program as JSON data, and restore it where it fits the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.canonical import plain
from pytest_mipro.errors import DeclarationError, ReferenceFileError, StoreError
from pytest_mipro.fingerprint import signature_of
from pytest_mipro.optimize import optimizer_of
from pytest_mipro.reference import missing_part, predictors_of, refused_key, unsendable_part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.records import Artifact
    from pytest_mipro.reference import Anchor, Reference, ReferenceLocation
    from pytest_mipro.task import Task


def dump_state(program: dspy.Module) -> dict[str, Any]:
    """Return the DSPy state of a program's predictors as JSON data, without any model in it.

    What else has a state, such as a retriever, keeps that of the code.

    Raises:
        DeclarationError: A predictor's class keeps more than a prompt in its state.
    """
    program = program.deepcopy()
    program.set_lm(None)
    states = {name: predictor.dump_state() for name, predictor in program.named_predictors()}
    state = plain(states["self"] if isinstance(program, dspy.Predict) else states, fallback=str)
    if not isinstance(state, dict):
        raise AssertionError(state)
    key = refused_key(state)
    if key:
        message = (
            f"{type(program).__name__} cannot be compiled: its state holds {key}, and a reference "
            "keeps prompts alone; set it in the code of the program instead"
        )
        raise DeclarationError(message)
    return state


def check_state(program: dspy.Module) -> None:
    """Check that the state of ``program`` can be kept, before any model is asked.

    Raises:
        DeclarationError: It cannot be dumped, or not be loaded again.
    """
    if part := unsendable_part(dump_state(program)):
        message = (
            f"{type(program).__name__} has one half of a character (a lone surrogate) in {part}, "
            "which no model can be sent; remove it, or write the whole character"
        )
        raise DeclarationError(message)
    try:
        restore_state(program, dump_state(program))
    except Exception as error:
        message = (
            f"the state of {type(program).__name__} cannot be kept, so that compiling it would be "
            f"in vain: {type(error).__name__}: {error}; each dspy.Parameter in it needs a "
            "dump_state() that returns what its load_state(state) takes"
        )
        raise DeclarationError(message) from error


def restore_state(program: dspy.Module, state: Mapping[str, Any]) -> dspy.Module:
    """Return a copy of ``program`` in ``state``, with the models of ``program``.

    Raises:
        StoreError: The state holds what DSPy would obey, or is of another program.
    """
    predictors = predictors_of(state)
    problem = _problem(state, program)
    if problem:
        message = (
            f"a stored program of {type(program).__name__} {problem}; somebody changed it: move "
            "the store aside, and restore references from version control"
        )
        raise StoreError(message)
    restored: dspy.Module = program.deepcopy()
    lms = [predictor.lm for predictor in program.predictors()]
    for (name, predictor), lm in zip(restored.named_predictors(), lms, strict=True):
        predictor.load_state({**predictors[name], "lm": None})
        predictor.lm = lm
    return restored


def _problem(state: Mapping[str, Any], program: dspy.Module) -> str:
    """Return why ``program`` cannot be put in ``state``, in words; empty if it can."""
    key = refused_key(state)
    if key:
        return f"holds {key}"
    if _field_counts(state) != _field_counts(dump_state(program)):
        return "has other predictors or fields than the code"
    part = missing_part(state)
    if part:
        return f"is without {part}"
    part = unsendable_part(state)
    return f"has one half of a character (a lone surrogate) in {part}" if part else ""


def restore_artifact(task: Task, artifact: Artifact) -> dspy.Module:
    """Return what the task's optimizer compiled, in the state of ``artifact``.

    Raises:
        StoreError: The state does not fit the program, although its key does.
    """
    shape = optimizer_of(task.optimizer).shape(task)
    try:
        reason = _changed_predictors(artifact.state, shape)
        if not reason:
            return restore_state(shape, artifact.state)
    # ruff: ignore[blind-except]: DSPy raises whatever a wrong state leads to.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    message = (
        f"the compiled program of {task.name} in the store cannot be loaded: {reason}; another "
        "program has written it, and --mipro-refresh compiles it again"
    )
    raise StoreError(message)


def restore_accepted(reference: Reference, task: Task, location: ReferenceLocation) -> dspy.Module:
    """Return what a task's optimizer compiled, in the accepted state.

    Raises:
        ReferenceFileError: The code has other predictors or fields than the state.
    """
    __tracebackhide__ = True
    subject = f"the accepted program {location.show(location.program)}"
    return _restored(reference.state, task, subject, f"accept anew with: {location.command}")


def restore_anchor(anchor: Anchor, task: Task, location: ReferenceLocation) -> dspy.Module:
    """Return what a task's optimizer compiled, in the state of the anchor.

    Raises:
        ReferenceFileError: The code has other predictors or fields than the state.
    """
    __tracebackhide__ = True
    path = location.show(location.history)
    subject = f"the anchor in {path} has scores of another metric, and"
    advice = f"accept a new anchor with: {location.anchor_command}"
    return _restored(anchor.state, task, subject, advice)


def _restored(state: Mapping[str, Any], task: Task, subject: str, advice: str) -> dspy.Module:
    __tracebackhide__ = True
    shape = optimizer_of(task.optimizer).shape(task)
    if changed := _changed_predictors(state, shape):
        message = f"{subject} does not fit the code any more: {changed}; {advice}"
        raise ReferenceFileError(message)
    return restore_state(shape, state)


def field_names(program: dspy.Module) -> dict[str, tuple[str, ...]]:
    """Return the fields of each predictor, in the order of its signature."""
    return {
        name: tuple(signature_of(predictor).fields)
        for name, predictor in program.named_predictors()
    }


def _changed_predictors(state: Mapping[str, Any], program: dspy.Module) -> str:
    """Return which predictors of ``program`` do not fit a state, in words; empty if all do."""
    accepted, present = _field_counts(state), _field_counts(dump_state(program))
    names = sorted({*accepted, *present})
    changed = [name for name in names if accepted.get(name) != present.get(name)]
    words = f"predictors added, removed or with other fields: {', '.join(changed)}"
    return words if changed else ""


def _field_counts(state: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of fields of each predictor; DSPy restores them by position."""
    predictors = predictors_of(state).items()
    return {name: len(part["signature"].get("fields", ())) for name, part in predictors}
