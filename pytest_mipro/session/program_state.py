"""A program's state: taken out as JSON, and put back where it still fits the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_mipro import fingerprint
from pytest_mipro.canonical import plain
from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.reference import predictors_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dspy

    from pytest_mipro.reference import Reference, ReferenceLocation


def dump_state(program: dspy.Module) -> dict[str, Any]:
    """Return a program's DSPy state as JSON data, without any model in it."""
    program = program.deepcopy()
    program.set_lm(None)
    state = plain(program.dump_state(), fallback=str)
    if not isinstance(state, dict):
        raise AssertionError(state)
    return state


def restore_state(program: dspy.Module, state: Mapping[str, Any]) -> dspy.Module:
    """Return a copy of ``program`` in ``state``, with its own models."""
    restored: dspy.Module = program.deepcopy()
    restored.load_state(dict(state))
    for own, other in zip(program.predictors(), restored.predictors(), strict=True):
        other.lm = own.lm
    return restored


def restore_accepted(
    reference: Reference, program: dspy.Module, place: ReferenceLocation
) -> dspy.Module:
    """
    Return a copy of ``program`` in the accepted state.

    Raises:
        ReferenceFileError: The program has other predictors or fields by now.

    """
    __tracebackhide__ = True
    before, now = _shape(reference.state), _shape(dump_state(program))
    if before == now:
        return restore_state(program, reference.state)
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    message = (
        f"the accepted program {place.show(place.program)} does not fit the code any more: "
        f"{', '.join(changed)} came, went or has other fields; accept anew with: {place.command}"
    )
    raise ReferenceFileError(message)


def field_names(program: dspy.Module) -> dict[str, tuple[str, ...]]:
    """Return each predictor's fields, in the order people read them in."""
    return {
        name: tuple(fingerprint.signature_of(predictor).fields)
        for name, predictor in program.named_predictors()
    }


def _shape(state: Mapping[str, Any]) -> dict[str, int]:
    """Return how many fields each predictor has: what DSPy restores by position."""
    predictors = predictors_of(state)
    return {name: len(part["signature"].get("fields", ())) for name, part in predictors.items()}
