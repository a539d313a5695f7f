"""The walker that describes values by content and follows the user's code from them.

It follows functions, classes and constants of the user's own files. Installed
packages are not followed; those that the user's code uses count by their versions.
"""

from __future__ import annotations

import argparse
import configparser
import copy
import datetime as dt
import decimal
import functools
import hashlib
import inspect
import ipaddress
import json
import operator
import os
import re
import string
import struct
from array import array
from collections import ChainMap, Counter, UserDict, UserList, UserString, deque
from collections.abc import ItemsView, KeysView, ValuesView
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import TYPE_CHECKING, cast, get_origin
from uuid import UUID
from zoneinfo import ZoneInfo

import dspy

from pytest_mipro.canonical import digest, plain
from pytest_mipro.errors import FingerprintError
from pytest_mipro.fingerprint.annotations import classes_in, fields_of, metadata_in
from pytest_mipro.fingerprint.dependencies import (
    attributes_of,
    closure_of,
    defaults_of,
    globals_of,
    is_generated,
    members_of,
    modules_imported,
    replacements_in,
)
from pytest_mipro.fingerprint.environment import variables_read
from pytest_mipro.fingerprint.files_read import files_of, files_read
from pytest_mipro.fingerprint.memory import is_mutation
from pytest_mipro.fingerprint.ownership import is_users, project_of
from pytest_mipro.fingerprint.parts import METRIC, METRIC_NAME, PACKAGE, Kind, Part, code_part
from pytest_mipro.fingerprint.plain_values import CONTAINERS, plain_text, values_in
from pytest_mipro.fingerprint.process_values import process_value
from pytest_mipro.fingerprint.releases import release_of
from pytest_mipro.fingerprint.source import is_lambda, location_of, path_of, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import Any, TypeAlias, TypeGuard

    from pytest_mipro.canonical import JSON
    from pytest_mipro.fingerprint.source import Code, SourceCode

    Describe: TypeAlias = "Callable[[Any, CodeWalker, str], JSON]"

_SCALARS = (str, int, float, bool, type(None))
_FOLLOWED = (
    *(*_SCALARS, tuple, list, dict, set, frozenset, re.Pattern, Enum),
    *(decimal.Decimal, dt.date, dt.time, dt.timedelta, functools.partial, MethodType),
    *(dspy.Module, dspy.BaseLM, dspy.Adapter, dspy.Tool, dspy.Example),
    *(bytes, bytearray, complex, range, array, deque, ChainMap, MappingProxyType, Fraction, UUID),
    *(operator.itemgetter, operator.attrgetter, operator.methodcaller, SimpleNamespace),
    *(PurePath, ZoneInfo, slice, string.Template, UserDict, UserList, UserString),
    *(KeysView, ValuesView, ItemsView, memoryview, struct.Struct, dt.timezone),
    *(configparser.RawConfigParser, decimal.Context, argparse.Namespace, ContextVar),
    *(ipaddress.IPv4Address, ipaddress.IPv6Address),
    *(ipaddress.IPv4Network, ipaddress.IPv6Network),
)
"""Types of globals whose values count; of other globals only their names in the source count."""


_SHORT = 1000
"""Characters of a text in which values that may be new in each process are looked for."""
_WAY_OUT = "make it where it is used, or a functools.cached_property, which is no part of the key"


class CodeWalker:
    """Describes values by content, and follows the user's code from them.

    Args:
        describe_content: Describes a value by its type; calls ``describe`` for
            the values inside.
        lenient: Describe a value without content by its type, because the user
            declares a ``version`` for it.

    Attributes:
        parts: The parts collected so far.
        locations: ``file:line`` of the parts that have one.
    """

    def __init__(self, describe_content: Describe, *, lenient: bool) -> None:
        self.parts: dict[Part, JSON] = {}
        self.locations: dict[Part, str] = {}
        self._describe_content = describe_content
        self._lenient = lenient
        self._metric: object = None
        self._names: dict[int, str] = {}
        self._name_counts: Counter[str] = Counter()
        self._sources: list[SourceCode] = []
        self._projects: dict[str, None] = {}
        self._descriptions: dict[tuple[int, bool], JSON] = {}
        # Keeps described objects alive, so that no new object gets the id of one of them.
        self._references: list[object] = []
        self._process_values: dict[str, str] = {}

    def copy(self) -> CodeWalker:
        """Return a walker that goes on from here, and leaves this one as it is."""
        walker = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict | list):
                setattr(walker, name, value.copy())
        return walker

    def add_metric(self, metric: object) -> None:
        """Add the metric's part: its description and, if it is a function, its source."""
        function = inspect.unwrap(metric) if callable(metric) else metric
        self._metric = function if isinstance(function, FunctionType) else None
        description = self.describe(metric, METRIC_NAME)
        self.parts[METRIC] = [description, self.parts.get(METRIC)]
        if metric_location := location_of(metric):
            self.locations[METRIC] = metric_location

    def describe(self, value: object, label: str) -> JSON:
        """Describe a value by its content, and follow the code that it holds.

        Args:
            value: Any value.
            label: The name of the value in messages.

        Raises:
            FingerprintError: The value has no content, and no ``version`` is
                declared.
        """
        self._note(value, label)
        if type(value) in _SCALARS:
            return plain(self._relocated(value) if isinstance(value, str) else value)
        if type(value) in CONTAINERS and (text := self._text_of(value, label)) is not None:
            return {"json": hashlib.sha256(text.encode("ascii")).hexdigest()[:32]}
        key = (id(value), self._lenient)
        if key not in self._descriptions:
            # For a value that contains itself, while its description is not finished.
            self.set_description(value, {"again": path_of(type(value))})
            if not isinstance(value, type):
                self.follow(type(value))
                self.add_files_of(value)
            self._descriptions[key] = self._describe_content(value, self, label)
        return self._descriptions[key]

    def set_description(self, value: object, description: JSON) -> None:
        """Make ``describe`` return ``description`` for ``value``."""
        self._references.append(value)
        self._descriptions[id(value), self._lenient] = description

    def describe_opaque(self, value: object, label: str) -> JSON:
        """Describe a value without content by its type.

        Raises:
            FingerprintError: No ``version`` is declared.
        """
        if self._lenient:
            return {"class": path_of(type(value))}
        message = (
            f"{label} is {value!r:.80}, of type {path_of(type(value))}, which cannot be hashed "
            "by content, so a change in it would go unnoticed; declare version='...' on the test "
            "and change it whenever that value changes"
        )
        raise FingerprintError(message)

    @contextmanager
    def leniently(self) -> Generator[None, None, None]:
        """Describe values without content by their type inside the block."""
        lenient, self._lenient = self._lenient, True
        try:
            yield
        finally:
            self._lenient = lenient

    def follow(self, code: Code) -> str:
        """Add the parts of a function or class and of the code that it uses; return its name."""
        if id(code) in self._names:
            return self._names[id(code)]
        self._references.append(code)
        name = self._names[id(code)] = self._name(code)
        self._add_release(_module_of(code))
        if is_users(code):
            self._follow_users(code, name)
        elif isinstance(code, FunctionType):
            self._follow_wrapped(code)
        else:
            self._follow_replaced(code)
        return name

    def add_files_of(self, instance: object) -> None:
        """Add the files that the methods of an instance of the user read."""
        if is_users(type(instance)):
            self._add_files(files_of(instance))

    @property
    def hints(self) -> dict[Part, str]:
        """What to do about the values that may be new in each process, by part."""
        return {
            part: f"{label} is {words}, which may be new in each process; {_WAY_OUT}"
            for label, words in reversed(self._process_values.items())
            for part in _parts_with(label)
        }

    @property
    def unversioned(self) -> tuple[str, ...]:
        """The installed packages in use that belong to no distribution; none if lenient."""
        packages = (part for part in self.parts if part.owner == PACKAGE)
        return tuple(part.name for part in packages if not (self._lenient or self.parts[part]))

    def _note(self, value: object, label: str) -> None:
        if label not in self._process_values and (words := process_value(value)):
            self._process_values[label] = words

    def _text_of(self, container: object, label: str) -> str | None:
        """Return the text of a container of plain values, if it has one."""
        text = plain_text(container)
        if text is None or any(json.dumps(folder)[1:-1] in text for folder in self._projects):
            return None
        if len(text) <= _SHORT:
            for value in values_in(container):
                self._note(value, label)
        return text

    def _relocated(self, text: str) -> str:
        """Return ``text`` without the project's folder if it is a path in a project of the user."""
        path = f"{text}{os.sep}"
        project = next((folder for folder in self._projects if path.startswith(folder)), None)
        return text if project is None else f"<project>/{text[len(project) :]}".replace(os.sep, "/")

    def _follow_users(self, code: Code, name: str) -> None:
        source = source_of(code)
        if source.is_outdated and not self._lenient:
            raise _outdated(source, name)
        if source.file:
            self._projects[f"{project_of(source.file)}{os.sep}"] = None
        if isinstance(code, type) and issubclass(code, dspy.Signature):
            self._add_signature(code, name)
            return
        self._add_source(code, name)
        if isinstance(code, type):
            self._follow_class(code, name)
        else:
            self._follow_function(code, name)

    def _name(self, code: Code) -> str:
        """Return a name for ``code`` that no other code has."""
        if not is_users(code):
            return path_of(code)
        if code is self._metric:
            return METRIC_NAME
        # Not __qualname__ alone: functools.wraps copies the name of another function.
        name = f"{_module_of(code)}.{source_of(code).qualname or code.__qualname__}"
        # Closures from one factory share their path.
        self._name_counts[name] += 1
        count = self._name_counts[name]
        return name if count == 1 else f"{name} ({count})"

    def _add_source(self, code: Code, name: str) -> None:
        source = source_of(code)
        # The content of a value has its lambdas, and the source of a class has its methods.
        is_elsewhere = is_lambda(code) or any(outer.contains(source) for outer in self._sources)
        if is_elsewhere and source.node is not None and code is not self._metric:
            return
        self._sources.append(source)
        self._add_code_part(code_part(name), source.content, source.location)

    def _add_signature(self, signature: type[dspy.Signature], name: str) -> None:
        for base in signature.__mro__[1:]:
            self.follow(base)
        content = self._describe_content(signature, self, name)
        self._add_code_part(Part(Kind.SIGNATURE, name), content, source_of(signature).location)

    def _add_code_part(self, part: Part, content: JSON, code_location: str) -> None:
        self.parts[part] = content
        if code_location:
            self.locations[part] = code_location

    def _follow_class(self, cls: type, name: str) -> None:
        for base in (*cls.__mro__[1:], type(cls)):
            self.follow(base)
        for field, annotation in fields_of(cls).items():
            self._follow_annotation(field, annotation, name)
        for member, value in members_of(cls):
            if not is_generated(value, cls):
                self._follow_dependency(member, value, name)

    def _follow_annotation(self, field: str, annotation: object, name: str) -> None:
        for cls in filter(is_users, classes_in(annotation)):
            self.follow(cls)
        if metadata := list(metadata_in(annotation)):
            with self.leniently():  # a library may leave a mark of its own there
                self._add_value(f"{field}'s annotation", metadata, name)

    def _follow_function(self, function: FunctionType, name: str) -> None:
        if defaults := defaults_of(function):
            self.parts[Part(Kind.DEFAULTS, name)] = self.describe(defaults, name)
        for variable, value in closure_of(function):
            if variable == "__class__":  # the cell that super() reads
                self.describe(value, name)
            else:
                self._add_value(variable, value, name)
        if isinstance(wrapped := vars(function).get("__wrapped__"), FunctionType | type):
            self.follow(wrapped)
        for variable, value in globals_of(function):
            self._follow_dependency(variable, value, name)
        for module in modules_imported(function):
            self._add_release(module)
        self._add_surroundings(function)
        with self.leniently():  # A library may set any attribute, used or not.
            for variable, value in attributes_of(function):
                self._follow_dependency(variable, value, name)

    def _add_surroundings(self, function: FunctionType) -> None:
        """Add what a function reads of the environment and of files, as digests."""
        for variable in variables_read(function):
            text = os.environ.get(variable)
            self.parts[Part(Kind.ENVIRONMENT, variable)] = None if text is None else digest(text)
        self._add_files(files_read(function))

    def _add_files(self, files: Iterable[tuple[str, JSON]]) -> None:
        if not self._lenient:  # Otherwise the declared version says when they changed.
            self.parts.update((Part(Kind.FILE, file), content) for file, content in files)

    def _follow_wrapped(self, function: FunctionType) -> None:
        """Follow the functions of the user that an installed decorator wraps."""
        values = [vars(function).get("__wrapped__"), *dict(closure_of(function)).values()]
        for value in values:
            # functools.singledispatch keeps its functions in a dictionary.
            for wrapped in value.values() if isinstance(value, dict) else (value,):
                if isinstance(wrapped, FunctionType | type):
                    self.follow(wrapped)

    def _follow_replaced(self, cls: type) -> None:
        """Follow the functions of the user that are in the place of those of an installed class."""
        changeable = (owner for owner in cls.__mro__ if owner is not object)
        for owner in changeable:
            for _, function in replacements_in(owner):
                self.follow(function)

    def _follow_dependency(self, variable: str, value: object, name: str) -> None:
        self._add_release(_module_with(value))
        if _is_code(value) and not is_lambda(value):
            self.follow(value)
        elif _has_content(value):
            self._add_value(variable, value, name)
        elif is_users(type(value)) or _is_builtin(value):
            with self.leniently():
                self._add_value(variable, value, name)

    def _add_release(self, module: str) -> None:
        if release := release_of(module):
            name, number = release
            self.parts[Part(Kind.VERSION, name, PACKAGE)] = number

    def _add_value(self, variable: str, value: object, name: str) -> None:
        self.parts[Part(Kind.VALUE, variable, name)] = self.describe(value, f"{variable} in {name}")


def _parts_with(label: str) -> Iterator[Part]:
    """Yield the parts whose content may have the value of that label."""
    name, _, owner = label.partition(" in ")
    if owner:
        yield Part(Kind.VALUE, name, owner)
        return
    steps = label.split(".")
    yield from (Part(Kind.STATE, ".".join(steps[:count])) for count in range(2, len(steps) + 1))


def _outdated(source: SourceCode, name: str) -> FingerprintError:
    message = (
        f"{name}: Python does not run the code that is in {source.location}; the file was edited "
        "after Python imported it, or a file in __pycache__ is out of date: run again, and delete "
        "__pycache__ if this remains. If a decorator replaces the code, declare version='...' on "
        "the test and change it whenever that decorator changes"
    )
    return FingerprintError(message)


def _module_of(code: Code) -> str:
    if isinstance(code, FunctionType):
        return str(code.__globals__.get("__name__", code.__module__))
    return code.__module__


def _module_with(value: object) -> str:
    """Return the name of the module that is ``value``, or that defines it."""
    if isinstance(value, ModuleType):
        return value.__name__
    try:
        return str(getattr(value, "__module__", ""))
    except Exception:  # ruff: ignore[blind-except] - an object of the user may raise anything
        return ""


def _is_code(value: object) -> TypeGuard[Code]:
    # Not isinstance, here and below: it reads __class__, which fails for some proxies.
    is_signature = issubclass(type(value), type(dspy.Signature))
    is_code = issubclass(type(value), (FunctionType, type))
    return is_code and (is_users(cast("Code", value)) or not is_signature)


def _is_builtin(value: object) -> bool:
    """Whether ``value`` is a function of a C module."""
    is_function = type(value) is BuiltinFunctionType
    return is_function and isinstance(cast("BuiltinFunctionType", value).__self__, ModuleType)


def _is_lookup(value: object) -> bool:
    """Whether ``value`` is a method of a text, a pattern or a container that it only reads."""
    if not issubclass(type(value), BuiltinFunctionType):
        return False
    method = cast("BuiltinFunctionType", value)
    return isinstance(method.__self__, _FOLLOWED) and not is_mutation(method.__name__)


def _has_content(value: object) -> bool:
    kind = type(value)
    return (
        issubclass(kind, (*_FOLLOWED, FunctionType, type(dspy.Signature)))
        or get_origin(value) is not None
        or _is_lookup(value)
        or hasattr(kind, "__array_interface__")
        or (callable(value) and inspect.getattr_static(value, "__wrapped__", None) is not None)
    )
