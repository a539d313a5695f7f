"""What a value is by content, one function per kind of value."""

from __future__ import annotations

import functools
import logging
import operator
import re
from collections import OrderedDict
from enum import Enum
from fractions import Fraction
from functools import singledispatch
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    EllipsisType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
    UnionType,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING, Any, Protocol, get_origin

import dspy

from pytest_mipro.canonical import JSON, canonical_json, plain
from pytest_mipro.fingerprint.dependencies import memory_of
from pytest_mipro.fingerprint.source import is_lambda, is_users, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mipro.fingerprint.source import Code


class Describer(Protocol):
    """Describes the values inside a value, and follows the code it meets."""

    def describe(self, value: object, label: str) -> JSON:
        """Describe a value by its content."""
        ...

    def follow(self, code: Code) -> str:
        """Add a function or class, and all it reaches; return its name."""
        ...

    def refer(self, value: object, description: JSON) -> None:
        """Describe ``value`` as ``description`` from now on."""
        ...

    def refuse(self, value: object, label: str) -> JSON:
        """Raise FingerprintError for a value without content, unless somebody vouches for it."""
        ...


@singledispatch
def content(value: object, inside: Describer, label: str) -> JSON:
    """
    Return what ``value`` is by content.

    Args:
        value: Anything; its kind decides which of the functions here is asked.
        inside: Describes what is inside of it.
        label: What messages call it.

    """
    wrapped = getattr(value, "__dict__", {}).get("__wrapped__")
    if wrapped is not None and not is_users(type(value)):
        return [path_of(type(value)), inside.describe(wrapped, label)]
    if get_origin(value) is not None:
        return str(value)
    if is_users(type(value)):
        memory = memory_of(type(value))
        own = {
            name: inside.describe(item, f"{label}.{name}")
            for name, item in sorted(state_of(value).items())
            if name not in memory
        }
        return {"class": path_of(type(value)), "state": own}

    def without_form(item: object) -> JSON:
        if item is value:
            return inside.refuse(item, label)
        return inside.describe(item, label)

    return plain(value, without_form)


@content.register(type(None))
@content.register(str)
@content.register(int)
@content.register(float)
@content.register(bytes)
def _of_scalar(value: object, inside: Describer, label: str) -> JSON:
    del inside, label
    return plain(value)


@content.register(dict)
def _of_dict(value: dict[Any, Any], inside: Describer, label: str) -> JSON:
    return sorted(_items(value, inside, label), key=canonical_json)


@content.register(PurePath)
def _of_path(value: PurePath, inside: Describer, label: str) -> JSON:
    return inside.describe(str(value), label)


@content.register(Fraction)
def _of_fraction(value: Fraction, inside: Describer, label: str) -> JSON:
    del inside, label
    return str(value)  # Pydantic 2.12 knows no fractions.


@content.register(SimpleNamespace)
def _of_namespace(value: SimpleNamespace, inside: Describer, label: str) -> JSON:
    return inside.describe(vars(value), label)


@content.register(OrderedDict)
def _of_ordered(value: OrderedDict[Any, Any], inside: Describer, label: str) -> JSON:
    # Two of these are equal only in the same order, unlike two dictionaries.
    return {"ordered": _items(value, inside, label)}


def _items(value: dict[Any, Any], inside: Describer, label: str) -> list[JSON]:
    return [
        [inside.describe(key, label), inside.describe(item, label)] for key, item in value.items()
    ]


@content.register(list)
@content.register(tuple)
def _of_sequence(value: list[Any], inside: Describer, label: str) -> JSON:
    return [inside.describe(item, label) for item in value]


@content.register(set)
@content.register(frozenset)
def _of_set(value: set[Any], inside: Describer, label: str) -> JSON:
    return sorted((inside.describe(item, label) for item in value), key=canonical_json)


@content.register(dspy.Example)
def _of_example(value: dspy.Example, inside: Describer, label: str) -> JSON:
    # Not toDict: it has no end where an example holds itself.
    return inside.describe(dict(value.items(include_dspy=True)), label)


@content.register(Enum)
def _of_enum(value: Enum, inside: Describer, label: str) -> JSON:
    return [path_of(type(value)), value.name, inside.describe(value.value, label)]


@content.register(FunctionType)
@content.register(type)
def _of_code(value: Code, inside: Describer, label: str) -> JSON:
    del label
    name = inside.follow(value)
    # A lambda's own source belongs to the value it is in: it has no name to be found by.
    own = source_of(value).content if is_lambda(value) and is_users(value) else None
    return {"code": name} if own is None else {"code": name, "content": own}


@content.register(MethodType)
def _of_method(value: MethodType, inside: Describer, label: str) -> JSON:
    owner = inside.describe(value.__self__, label)
    return [inside.describe(value.__func__, label), owner]


@content.register(functools.partial)
def _of_partial(value: functools.partial, inside: Describer, label: str) -> JSON:  # type: ignore[type-arg]  # registered by its class
    return [inside.describe(part, label) for part in (value.func, value.args, value.keywords)]


@content.register(BuiltinFunctionType)
def _of_builtin(value: BuiltinFunctionType, inside: Describer, label: str) -> JSON:
    return [value.__qualname__, inside.describe(value.__self__, label)]


@content.register(MethodDescriptorType)
@content.register(WrapperDescriptorType)
@content.register(ModuleType)
def _of_named(value: ModuleType, inside: Describer, label: str) -> JSON:
    del inside, label
    return getattr(value, "__qualname__", value.__name__)


@content.register(operator.itemgetter)
@content.register(operator.attrgetter)
@content.register(operator.methodcaller)
@content.register(UnionType)
@content.register(EllipsisType)
def _of_expression(value: object, inside: Describer, label: str) -> JSON:
    del inside, label
    return repr(value)


@content.register(re.Pattern)
def _of_pattern(value: re.Pattern, inside: Describer, label: str) -> JSON:  # type: ignore[type-arg]  # registered by its class
    return [inside.describe(value.pattern, label), value.flags]


@content.register(logging.Logger)
def _of_logger(value: logging.Logger, inside: Describer, label: str) -> JSON:
    del inside, label
    return value.name


def path_of(code: Code) -> str:
    """Return the dotted path of a class or function."""
    return f"{code.__module__}.{code.__qualname__}"


def state_of(value: object) -> dict[str, object]:
    """Return the attributes of an instance, without what it only caches."""
    state = dict(getattr(value, "__dict__", {}))
    state.update(getattr(value, "__pydantic_private__", None) or {})
    state.update(
        {name: getattr(value, name) for name in _slots(type(value)) if hasattr(value, name)}
    )
    members = {
        name: member for cls in type(value).__mro__[::-1] for name, member in vars(cls).items()
    }
    return {
        name: item
        for name, item in state.items()
        if not isinstance(members.get(name), functools.cached_property)
    }


def _slots(cls: type) -> Iterator[str]:
    for each in cls.__mro__:
        slots = vars(each).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__"):
                yield name
