"""The check, without a call, that a program takes the inputs of the examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dspy

from pytest_mipro.errors import DeclarationError
from pytest_mipro.task.callables import mismatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def check_inputs(
    program: dspy.Module, splits: Mapping[str, Sequence[dspy.Example]], role: str = "program"
) -> None:
    """Check that the examples' inputs are the arguments of ``program``.

    Args:
        program: A program.
        splits: The examples that it is called with.
        role: What the test declares the program as.

    Raises:
        DeclarationError: The program has no method to call, or it does not take
            the inputs of an example.
    """
    for names, location in _first_locations(splits).items():
        if reason := _refusal(program, names):
            message = (
                f"{role} {type(program).__name__} does not take the inputs of {location}, "
                f"{', '.join(names)}: {reason}; give both the same names, by inputs=[...] or in "
                "the program"
            )
            raise DeclarationError(message)


def _first_locations(
    splits: Mapping[str, Sequence[dspy.Example]],
) -> dict[tuple[str, ...], str]:
    """Return the first example with the same names of inputs, by these names."""
    locations: dict[tuple[str, ...], str] = {}
    for split, examples in splits.items():
        for index, example in enumerate(examples):
            locations.setdefault(tuple(example.inputs().keys()), f"{split}[{index}]")
    return locations


def _refusal(program: dspy.Module, names: Iterable[str]) -> str:
    """Return why ``program`` does not take inputs of these names; empty if it does."""
    cls = type(program)
    method = getattr(cls, "forward", None) or getattr(cls, "aforward", None)
    if method is None:
        overrides_call = cls.__call__ is not dspy.Module.__call__
        return "" if overrides_call else "it has neither forward nor aforward"
    if reason := mismatch(method, program, **dict.fromkeys(names)):
        return f"{method.__name__} cannot be called with them: {reason}"
    return _misnamed(program, set(names))


def _misnamed(program: dspy.Module, names: set[str]) -> str:
    """Return which inputs one of DSPy's own modules lacks, which takes any and only logs it.

    A field that is missing alone may be optional, and one that is left over is ignored.
    """
    if not type(program).__module__.startswith("dspy."):
        return ""
    predictor = getattr(program, "predict", program)
    signature = getattr(program, "signature", getattr(predictor, "signature", None))
    fields = {} if signature is None else signature.input_fields
    missing = [name for name, field in fields.items() if field.is_required() and name not in names]
    is_renamed = bool(missing) and not names <= fields.keys()
    return f"its signature has the inputs {', '.join(fields)}" if is_renamed else ""
