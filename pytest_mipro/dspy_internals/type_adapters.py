"""Pydantic's adapters of simple types, prepared once.

DSPy makes an adapter for each value of an input and of a demo in each prompt, though they depend
on the type alone, and nearly all values are texts. With four demos that is an eighth of the
processor time of a call. No setting of DSPy changes this, so this module replaces, while a block
runs, the class in the module of DSPy that writes values.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from dspy.adapters import utils
from pydantic import TypeAdapter

from pytest_mipro.dspy_internals.replacement import Replacement

_SIMPLE = frozenset(map(id, (bool, float, int, str, type(None))))
"""The identities of types whose adapters depend on nothing else; a class may lack a hash."""
_CALLER = 3
"""How many frames above the constructor the code is whose names a type may refer to."""


def type_adapter(
    annotation: Any,  # ruff: ignore[any-type] - Pydantic takes any
    **options: Any,  # ruff: ignore[any-type] - the same
) -> TypeAdapter[Any]:
    """Return the adapter of a type, as the class does."""
    if id(annotation) in _SIMPLE and not options:
        return _prepared(annotation)
    return TypeAdapter(annotation, **{"_parent_depth": _CALLER, **options})


@cache
def _prepared(annotation: type) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


PREPARED_TYPE_ADAPTERS = Replacement((utils,), "TypeAdapter", TypeAdapter, type_adapter)
"""Lets DSPy use prepared adapters, in all threads, while a block runs."""
