"""Descriptions of plain values by content: one function per type."""

from __future__ import annotations

import argparse
import configparser
import datetime as dt
import decimal
import functools
import inspect
import ipaddress
import logging
import operator
import re
import string
import struct
import threading
from collections import OrderedDict, UserDict, UserList, UserString, defaultdict
from collections.abc import ItemsView, KeysView, ValuesView
from contextvars import Context, ContextVar
from enum import Enum
from fractions import Fraction
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
from typing import TYPE_CHECKING, Any, get_origin
from zoneinfo import ZoneInfo

import dspy

from pytest_mipro.canonical import JSON, canonical_json, plain
from pytest_mipro.dspy_internals import OBJECT_STATE, RETRIEVER_STATE
from pytest_mipro.fingerprint.annotations import annotation_text, classes_in, metadata_in
from pytest_mipro.fingerprint.memory import memory_of
from pytest_mipro.fingerprint.ownership import is_users
from pytest_mipro.fingerprint.source import is_lambda, path_of, source_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_mipro.fingerprint.code_walker import CodeWalker, Describe
    from pytest_mipro.fingerprint.source import Code


def describe_object(value: object, walker: CodeWalker, label: str) -> JSON:
    """Describe a value of a type that has no function of its own.

    Args:
        value: Any value.
        walker: Describes the values inside.
        label: The name of the value in messages.
    """
    wrapped = getattr(value, "__dict__", {}).get("__wrapped__")
    if wrapped is not None and not is_users(type(value)):
        return [path_of(type(value)), walker.describe(wrapped, label)]
    if get_origin(value) is not None:
        return _describe_annotation(value, walker, label)
    if is_users(type(value)):
        return _describe_instance(value, walker, label)
    if type(value).__module__.partition(".")[0] == "dspy":
        with walker.leniently():  # the key has DSPy's version, with what an object does
            return _describe_instance(value, walker, label, OBJECT_STATE)

    def describe_item(item: object) -> JSON:
        if item is value:
            return walker.describe_opaque(item, label)
        return walker.describe(item, label)

    return plain(value, describe_item)


def _describe_instance(
    value: object, walker: CodeWalker, label: str, ignored: frozenset[str] = frozenset()
) -> dict[str, JSON]:
    memory = memory_of(type(value)) | ignored
    state = {
        name: walker.describe(item, f"{label}.{name}")
        for name, item in sorted(state_of(value).items())
        if name not in memory
    }
    return {"class": path_of(type(value)), "state": state}


def _with_attributes(describe: Describe) -> Describe:
    """Return ``describe`` for types of the user, too, whose instances may have attributes."""

    def described(value: object, walker: CodeWalker, label: str) -> JSON:
        content = describe(value, walker, label)
        if not is_users(type(value)) or isinstance(value, Enum):  # whose class has its attributes
            return content
        instance = _describe_instance(value, walker, label)
        return [content, instance] if instance["state"] else content

    return described


def _describe_scalar(value: object, walker: CodeWalker, label: str) -> JSON:
    del walker, label
    return plain(value)


def _describe_dict(value: dict[Any, Any], walker: CodeWalker, label: str) -> JSON:
    return sorted(_items(value, walker, label), key=canonical_json)


def _describe_path(value: PurePath, walker: CodeWalker, label: str) -> JSON:
    return walker.describe(str(value), label)


def _describe_by_text(value: object, walker: CodeWalker, label: str) -> JSON:
    del walker, label
    return str(value)  # Pydantic 2.12 cannot serialize values of these types.


def _describe_view(value: Iterable[object], walker: CodeWalker, label: str) -> JSON:
    return walker.describe([*value], label)


def _describe_bytes(value: memoryview, walker: CodeWalker, label: str) -> JSON:
    return walker.describe(value.tobytes(), label)


def _describe_struct(value: struct.Struct, walker: CodeWalker, label: str) -> JSON:
    return walker.describe(value.format, label)


def _describe_arithmetic(value: decimal.Context, walker: CodeWalker, label: str) -> JSON:
    # Its flags say what was calculated so far.
    traps = [signal.__name__ for signal, is_trapped in value.traps.items() if is_trapped]
    limits = [value.prec, value.Emin, value.Emax, value.capitals, value.clamp]
    return walker.describe([value.rounding, *limits, *sorted(traps)], label)


def _describe_variable(value: ContextVar[object], walker: CodeWalker, label: str) -> JSON:
    try:
        default = Context().run(value.get)  # An empty context has no other value of it.
    except LookupError:
        return value.name
    return [value.name, walker.describe(default, label)]


def _describe_settings(value: configparser.RawConfigParser, walker: CodeWalker, label: str) -> JSON:
    sections = {name: dict(value.items(name, raw=True)) for name in value.sections()}
    return walker.describe([value.defaults(), sections], label)


def _describe_namespace(value: SimpleNamespace, walker: CodeWalker, label: str) -> JSON:
    return walker.describe(vars(value), label)


def _describe_template(value: string.Template, walker: CodeWalker, label: str) -> JSON:
    return [path_of(type(value)), walker.describe(value.template, label)]


def _describe_ordered(value: OrderedDict[Any, Any], walker: CodeWalker, label: str) -> JSON:
    # Unlike plain dictionaries, two ordered ones are equal only in the same order.
    return {"ordered": _items(value, walker, label)}


def _describe_defaults(value: defaultdict[Any, Any], walker: CodeWalker, label: str) -> JSON:
    factory = walker.describe(value.default_factory, label)
    return {"default": factory, "items": _describe_dict(value, walker, label)}


def _items(value: dict[Any, Any], walker: CodeWalker, label: str) -> list[JSON]:
    return [
        [walker.describe(key, label), walker.describe(item, label)] for key, item in value.items()
    ]


def _describe_sequence(value: list[Any], walker: CodeWalker, label: str) -> JSON:
    return [walker.describe(item, label) for item in value]


def _describe_set(value: set[Any], walker: CodeWalker, label: str) -> JSON:
    return sorted((walker.describe(item, label) for item in value), key=canonical_json)


def _describe_example(value: dspy.Example, walker: CodeWalker, label: str) -> JSON:
    # Not toDict: it never ends if an example holds itself.
    return walker.describe(dict(value.items(include_dspy=True)), label)


def _describe_enum(value: Enum, walker: CodeWalker, label: str) -> JSON:
    return [path_of(type(value)), value.name, walker.describe(value.value, label)]


def _describe_code(value: Code, walker: CodeWalker, label: str) -> JSON:
    del label
    name = walker.follow(value)
    if not (is_lambda(value) and is_users(value)):
        return {"code": name}
    # A lambda has no part of its own, because its name is not unique.
    return {"code": name, "content": source_of(value).content}


def _describe_method(value: MethodType, walker: CodeWalker, label: str) -> JSON:
    instance = walker.describe(value.__self__, label)
    return [walker.describe(value.__func__, label), instance]


def _describe_partial(value: functools.partial[object], walker: CodeWalker, label: str) -> JSON:
    return [walker.describe(item, label) for item in (value.func, value.args, value.keywords)]


def _describe_builtin(value: BuiltinFunctionType, walker: CodeWalker, label: str) -> JSON:
    return [value.__qualname__, walker.describe(value.__self__, label)]


def _describe_retriever(value: dspy.Retrieve, walker: CodeWalker, label: str) -> JSON:
    if is_users(type(value)):
        return _describe_instance(value, walker, label, RETRIEVER_STATE)
    with walker.leniently():
        return _describe_instance(value, walker, label, RETRIEVER_STATE)


def _describe_named(value: ModuleType, walker: CodeWalker, label: str) -> JSON:
    del walker, label
    return getattr(value, "__qualname__", value.__name__)


def _describe_expression(value: object, walker: CodeWalker, label: str) -> JSON:
    del walker, label
    return repr(value)


def _describe_annotation(value: object, walker: CodeWalker, label: str) -> JSON:
    for cls in classes_in(value):
        walker.follow(cls)
    text, metadata = annotation_text(value), describe_metadata(value, walker, label)
    return [text, metadata] if metadata else text


def describe_metadata(annotation: object, walker: CodeWalker, label: str) -> list[JSON]:
    """Describe what ``Annotated`` adds to the types in an annotation, such as validators."""
    with walker.leniently():  # a library may leave a mark of its own there
        return [
            [path_of(type(item)), walker.describe(item, label)] for item in metadata_in(annotation)
        ]


def _describe_pattern(value: re.Pattern[str], walker: CodeWalker, label: str) -> JSON:
    return [walker.describe(value.pattern, label), value.flags]


def _describe_interpreter(value: dspy.PythonInterpreter, walker: CodeWalker, label: str) -> JSON:
    # Its other attributes are about the process that it starts.
    names = [name for name in inspect.signature(type(value)).parameters if hasattr(value, name)]
    settings = {name: getattr(value, name) for name in names if name != "callbacks"}
    return {"class": path_of(type(value)), "settings": walker.describe(settings, label)}


def _describe_lock(value: object, walker: CodeWalker, label: str) -> JSON:
    del walker, label
    return {"class": path_of(type(value))}  # it decides when, and not what


def _describe_logger(value: logging.Logger, walker: CodeWalker, label: str) -> JSON:
    del walker, label
    return value.name


def state_of(value: object) -> dict[str, object]:
    """Return the attributes of an instance, without its cached properties."""
    state = dict(getattr(value, "__dict__", {}))
    private = getattr(value, "__pydantic_private__", None)
    state.update(private if isinstance(private, dict) else {})  # Some have an answer to any name.
    state.update(
        {name: getattr(value, name) for name in _slots(type(value)) if hasattr(value, name)}
    )
    members = {
        name: member
        for cls in type(value).__mro__[::-1]
        for name, member in vars(cls).copy().items()
    }
    return {
        name: item
        for name, item in state.items()
        if not isinstance(members.get(name), functools.cached_property)
    }


def _slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__"):
                yield name


DESCRIBERS: Mapping[type, Describe] = {
    type(None): _describe_scalar,
    str: _with_attributes(_describe_scalar),
    int: _with_attributes(_describe_scalar),
    float: _with_attributes(_describe_scalar),
    bytes: _with_attributes(_describe_scalar),
    dict: _with_attributes(_describe_dict),
    PurePath: _describe_path,
    Fraction: _describe_by_text,
    ipaddress.IPv4Address: _describe_by_text,
    ipaddress.IPv6Address: _describe_by_text,
    ipaddress.IPv4Network: _describe_by_text,
    ipaddress.IPv6Network: _describe_by_text,
    SimpleNamespace: _describe_namespace,
    argparse.Namespace: _describe_instance,
    UserDict: _describe_instance,
    UserList: _describe_instance,
    UserString: _describe_instance,
    KeysView: _describe_view,
    ValuesView: _describe_view,
    ItemsView: _describe_view,
    memoryview: _describe_bytes,
    struct.Struct: _describe_struct,
    decimal.Context: _describe_arithmetic,
    configparser.RawConfigParser: _describe_settings,
    dt.timezone: _describe_expression,
    ContextVar: _describe_variable,
    string.Template: _describe_template,
    OrderedDict: _with_attributes(_describe_ordered),
    defaultdict: _with_attributes(_describe_defaults),
    list: _with_attributes(_describe_sequence),
    tuple: _with_attributes(_describe_sequence),
    set: _with_attributes(_describe_set),
    frozenset: _with_attributes(_describe_set),
    dspy.Example: _describe_example,
    dspy.Retrieve: _describe_retriever,
    Enum: _describe_enum,
    FunctionType: _describe_code,
    type: _describe_code,
    MethodType: _describe_method,
    functools.partial: _describe_partial,
    BuiltinFunctionType: _describe_builtin,
    MethodDescriptorType: _describe_named,
    WrapperDescriptorType: _describe_named,
    ModuleType: _describe_named,
    slice: _describe_expression,
    ZoneInfo: _describe_expression,
    operator.itemgetter: _describe_expression,
    operator.attrgetter: _describe_expression,
    operator.methodcaller: _describe_expression,
    UnionType: _describe_annotation,
    EllipsisType: _describe_expression,
    re.Pattern: _describe_pattern,
    logging.Logger: _describe_logger,
    dspy.PythonInterpreter: _describe_interpreter,
    type(threading.Lock()): _describe_lock,
    type(threading.RLock()): _describe_lock,
}
"""The function that describes values of a type."""
