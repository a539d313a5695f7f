"""The identity of an example, its location in a dataset, and the check that it can be used."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import cached_property

import dspy

from pytest_mipro.canonical import digest, plain, scalars
from pytest_mipro.errors import DatasetError, FingerprintError
from pytest_mipro.task.hidden_fields import refuse_hidden_field
from pytest_mipro.task.near_duplicates import normalized_inputs_digest

_SURROGATE = re.compile(r"[\ud800-\udfff]")

# Hides this module's frames, so that pytest shows the declaring line.
__tracebackhide__ = True


def example_digest(example: dspy.Example) -> str:
    """Return the digest of the whole example: inputs and labels."""
    return digest([plain(example), sorted(example.inputs().keys())])


@dataclass(frozen=True)
class LocatedExample:
    """An example and its location in a dataset.

    Attributes:
        example: The example.
        location: The file and line, or the index, for messages.
        split: The value of the split field, if the dataset has one.
    """

    example: dspy.Example
    location: str
    split: str | None = None

    @cached_property
    def identity(self) -> str:
        """The digest of the whole example."""
        return example_digest(self.example)

    @cached_property
    def inputs_digest(self) -> str:
        """The digest of the inputs alone."""
        return digest(plain(self.example.inputs()))

    @cached_property
    def normalized_digest(self) -> str:
        """The digest of the inputs that near-duplicates share, which decides the split."""
        return normalized_inputs_digest(self.example)

    def checked(self, inputs: tuple[str, ...] | None) -> LocatedExample:
        """Return this example with ``inputs`` as its input fields, or with its own.

        Raises:
            DatasetError: It is no example, has no inputs, or has a field that
                cannot be read, sent to a model or compared.
        """
        checked = replace(self, example=_with_inputs(self.example, self.location, inputs))
        try:
            _ = checked.identity  # computed once, and cached
        except FingerprintError as error:
            message = (
                f"{self.location}: {error}; a field holds text, numbers, lists or dictionaries"
            )
            raise DatasetError(message) from error
        _refuse_unusable_values(checked.example, self.location)
        return checked


def check_example(example: object, location: str) -> None:
    """Check that a value is an example with declared inputs.

    Args:
        example: Any value.
        location: The value's name in messages, such as ``"trainset[3]"``.

    Raises:
        DatasetError: It is no example, or its inputs are not declared.
    """
    checked = _require_example(example, location)
    _refuse_undeclared_inputs(checked, location, "Example.with_inputs(...)")


def _with_inputs(value: object, location: str, inputs: tuple[str, ...] | None) -> dspy.Example:
    example = _require_example(value, location)
    _refuse_field_names(example, location)
    if inputs is None:
        remedy = "inputs=[...] or Example.with_inputs(...)"
        _refuse_undeclared_inputs(example, location, remedy)
    else:
        _refuse_missing_fields(example, location, inputs)
        example = example.with_inputs(*inputs)
    if not example.inputs().keys():
        message = f"{location} has none of its input fields; it has {sorted(example.keys())}"
        raise DatasetError(message)
    return example


def _require_example(value: object, location: str) -> dspy.Example:
    if not isinstance(value, dspy.Example):
        message = f"{location} is {value!r:.80}: expected a dspy.Example"
        raise DatasetError(message)
    return value


def _refuse_undeclared_inputs(example: dspy.Example, location: str, remedy: str) -> None:
    if getattr(example, "_input_keys", None) is None:
        message = (
            f"{location} declares no inputs among its fields {sorted(map(str, example.keys()))}; "
            f"declare them with {remedy}"
        )
        raise DatasetError(message)


def _refuse_missing_fields(example: dspy.Example, location: str, inputs: tuple[str, ...]) -> None:
    missing = [name for name in inputs if name not in example]
    if missing:
        message = f"{location} has no field {missing[0]!r}; it has {sorted(example.keys())}"
        raise DatasetError(message)


def _refuse_field_names(example: dspy.Example, location: str) -> None:
    try:
        names = list(example.toDict())
    except RecursionError as error:
        message = (
            f"{location} contains itself, or is nested too deeply; "
            "a field holds text, numbers, lists or dictionaries"
        )
        raise DatasetError(message) from error
    for name in names:
        if not isinstance(name, str):
            message = f"{location} has a field named {name!r:.80}: expected text as its name"
            raise DatasetError(message)
        refuse_hidden_field(name, location)


def _refuse_unusable_values(example: dspy.Example, location: str) -> None:
    for name, value in example.items(include_dspy=True):
        for scalar in scalars({name: value}):
            if isinstance(scalar, float) and not math.isfinite(scalar):
                message = (
                    f"{location}: the field {name!r} has the number {float(scalar)}; expected a "
                    "finite number, or None where there is no value"
                )
                raise DatasetError(message)
            if isinstance(scalar, str) and (surrogate := _SURROGATE.search(scalar)):
                message = (
                    f"{location}: the field {name!r} has {surrogate[0]!r}, one half of a "
                    "character (a lone surrogate), which no model can be sent; remove it, or "
                    "write the whole character"
                )
                raise DatasetError(message)
