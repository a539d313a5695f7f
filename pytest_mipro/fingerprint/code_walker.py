"""
The walk from what was declared through the user's code.

It goes through functions, classes and constants of the user's own files;
of installed packages, DSPy and Optuna are covered by their versions, and
others are taken not to change.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import inspect
import operator
import os
import pathlib
import re
from array import array
from collections import ChainMap, Counter, deque
from contextlib import contextmanager
from enum import Enum
from fractions import Fraction
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import TYPE_CHECKING, cast
from uuid import UUID

import dspy

from pytest_mipro.canonical import plain
from pytest_mipro.errors import FingerprintError
from pytest_mipro.fingerprint.changes import SIGNATURE
from pytest_mipro.fingerprint.dependencies import (
    attributes_of,
    closure_of,
    defaults_of,
    globals_of,
    is_generated,
    members_of,
)
from pytest_mipro.fingerprint.source import is_lambda, is_users, location, project_of, source_of
from pytest_mipro.fingerprint.values import content, path_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import TypeGuard

    from pytest_mipro.canonical import JSON
    from pytest_mipro.fingerprint.source import Code, SourceCode

_SCALARS = (str, int, float, bool, type(None))
_FOLLOWED = (
    *(*_SCALARS, tuple, list, dict, set, frozenset, re.Pattern, Enum),
    *(decimal.Decimal, dt.date, dt.time, dt.timedelta, functools.partial, MethodType),
    *(dspy.Module, dspy.BaseLM, dspy.Adapter, dspy.Tool, dspy.Example),
    *(bytes, bytearray, complex, range, array, deque, ChainMap, MappingProxyType, Fraction, UUID),
    *(operator.itemgetter, operator.attrgetter, operator.methodcaller, SimpleNamespace),
)
"""Global values worth following; of others only their use in the source counts."""


class CodeWalker:
    """
    Describes values by content, and follows the user's code from them.

    Args:
        lenient: Take a value without content for nothing, because the user
            vouches for it with ``version=``.

    Attributes:
        parts: What was met on the way, by name.
        where: ``file:line`` of the parts that have one.

    """

    def __init__(self, *, lenient: bool) -> None:
        self.parts: dict[str, JSON] = {}
        self.where: dict[str, str] = {}
        self._lenient = lenient
        self._names: dict[int, str] = {}
        self._taken: Counter[str] = Counter()
        self._own_part: dict[int, str] = {}
        self._sources: list[SourceCode] = []
        self._projects: dict[str, None] = {}
        self._known: dict[tuple[int, bool], JSON] = {}
        # Keeps what is known alive, so that no other object gets its id.
        self._kept: list[object] = []

    def declare(self, value: object, part: str) -> None:
        """Add ``value`` as the part of that name; its own source is said under it, too."""
        function = inspect.unwrap(value) if callable(value) else value
        if isinstance(function, FunctionType):
            self._own_part[id(function)] = part
        described = self.describe(value, part)
        self.parts[part] = [described, self.parts.get(part)]
        if place := location(value):
            self.where[part] = place

    def describe(self, value: object, label: str) -> JSON:
        """
        Describe a value by its content, following code it holds.

        Raises:
            FingerprintError: The value has none, and nobody vouches for it.

        """
        if type(value) in _SCALARS:
            return plain(self._moved(value) if isinstance(value, str) else value)
        known = (id(value), self._lenient)
        if known not in self._known:
            # Stands for the value as long as it is not described: it may hold itself.
            self.refer(value, {"again": path_of(type(value))})
            if not isinstance(value, type):
                self.follow(type(value))
            self._known[known] = content(value, self, label)
        return self._known[known]

    def refer(self, value: object, description: JSON) -> None:
        """Describe ``value`` as ``description`` from now on."""
        self._kept.append(value)
        self._known[id(value), self._lenient] = description

    def refuse(self, value: object, label: str) -> JSON:
        """Raise FingerprintError for a value without content, unless somebody vouches for it."""
        is_dspys = type(value).__module__.partition(".")[0] == "dspy"
        if self._lenient or is_dspys:  # DSPy's version says what its own helpers do
            return {"class": path_of(type(value))}
        message = (
            f"{label} is {value!r:.80}, of type {path_of(type(value))}, which cannot be hashed "
            "by content, so a change in it would go unnoticed; declare version='...' on the test "
            "and change it whenever that value changes"
        )
        raise FingerprintError(message)

    def follow(self, code: Code) -> str:
        """Add a function or class of the user's, and all it reaches; return its name."""
        if id(code) in self._names:
            return self._names[id(code)]
        self._kept.append(code)
        name = self._names[id(code)] = self._name(code)
        if is_users(code):
            self._follow_users(code, name)
        elif isinstance(code, FunctionType):
            self._follow_inside(code)
        return name

    def _moved(self, text: str) -> str:
        """Return a path in a project of the user's as it is wherever the project is."""
        inside = (each for each in self._projects if f"{text}{os.sep}".startswith(each))
        project = next(inside, None) if pathlib.Path(text).is_absolute() else None
        return text if project is None else f"<project>/{text[len(project) :]}".replace(os.sep, "/")

    def _follow_users(self, code: Code, name: str) -> None:
        if file := source_of(code).file:
            self._projects[f"{project_of(file)}{os.sep}"] = None
        if isinstance(code, type) and issubclass(code, dspy.Signature):
            self._add_signature(code, f"{SIGNATURE}{name}")
            return
        self._add_source(code, name)
        if isinstance(code, type):
            self._follow_class(code, name)
        else:
            self._follow_function(code, name)

    def _name(self, code: Code) -> str:
        """Name ``code`` like no other: closures from one factory share their path."""
        if not is_users(code):
            return path_of(code)
        if id(code) in self._own_part:
            return self._own_part[id(code)]
        # Not __qualname__ alone: functools.wraps gives a function the name of another one.
        name = f"{_module_of(code)}.{source_of(code).path or code.__qualname__}"
        self._taken[name] += 1
        return name if self._taken[name] == 1 else f"{name} ({self._taken[name]})"

    def _add_source(self, code: Code, name: str) -> None:
        source = source_of(code)
        own = self._own_part.get(id(code))
        if own is None and (is_lambda(code) or any(each.holds(source) for each in self._sources)):
            return
        self._sources.append(source)
        part = own or f"code of {name}"
        self.parts[part] = source.content
        if source.place:
            self.where[part] = source.place

    def _add_signature(self, signature: type[dspy.Signature], part: str) -> None:
        for base in signature.__mro__[1:]:
            self.follow(base)
        self.parts[part] = content(signature, self, part)
        if place := source_of(signature).place:
            self.where[part] = place

    def _follow_class(self, cls: type, name: str) -> None:
        for base in cls.__mro__[1:]:
            self.follow(base)
        for member, value in members_of(cls):
            if not is_generated(value, cls):
                self._follow_reached(member, value, name)

    def _follow_function(self, function: FunctionType, name: str) -> None:
        if defaults := defaults_of(function):
            self.parts[f"defaults of {name}"] = self.describe(defaults, name)
        for variable, value in closure_of(function):
            if variable == "__class__":  # what super() needs
                self.describe(value, name)
            else:
                self._add_value(variable, value, name)
        if isinstance(wrapped := vars(function).get("__wrapped__"), FunctionType | type):
            self.follow(wrapped)
        for variable, value in globals_of(function):
            self._follow_reached(variable, value, name)
        with self._vouched_for():  # Anything may be pinned to a function, used or not.
            for variable, value in attributes_of(function):
                self._follow_reached(variable, value, name)

    def _follow_inside(self, function: FunctionType) -> None:
        """Follow what an installed decorator wraps."""
        held = [vars(function).get("__wrapped__"), *dict(closure_of(function)).values()]
        for value in held:
            # A dictionary, because functools.singledispatch has one.
            for each in value.values() if isinstance(value, dict) else (value,):
                if isinstance(each, FunctionType | type):
                    self.follow(each)

    def _follow_reached(self, variable: str, value: object, name: str) -> None:
        if _is_code(value) and not is_lambda(value):
            self.follow(value)
        elif _is_worth_following(value):
            self._add_value(variable, value, name)
        elif is_users(type(value)) or _is_builtin(value):
            with self._vouched_for():
                self._add_value(variable, value, name)

    def _add_value(self, variable: str, value: object, name: str) -> None:
        label = f"{variable} in {name}"
        self.parts[f"value of {label}"] = self.describe(value, label)

    @contextmanager
    def _vouched_for(self) -> Generator[None, None, None]:
        lenient, self._lenient = self._lenient, True
        try:
            yield
        finally:
            self._lenient = lenient


def _module_of(code: Code) -> str:
    if isinstance(code, FunctionType):
        return str(code.__globals__.get("__name__", code.__module__))
    return code.__module__


def _is_code(value: object) -> TypeGuard[Code]:
    # Not isinstance, here and below: a proxy may fail when it is asked for its class.
    is_signature = issubclass(type(value), type(dspy.Signature))
    is_code = issubclass(type(value), (FunctionType, type))
    return is_code and (is_users(cast("Code", value)) or not is_signature)


def _is_builtin(value: object) -> bool:
    """Whether ``value`` is a function of a module in C; a method may be a list's that is filled."""
    is_function = type(value) is BuiltinFunctionType
    return is_function and isinstance(cast("BuiltinFunctionType", value).__self__, ModuleType)


def _is_worth_following(value: object) -> bool:
    kind = type(value)
    return (
        issubclass(kind, (*_FOLLOWED, FunctionType, type(dspy.Signature)))
        or hasattr(kind, "__array_interface__")
        or (callable(value) and inspect.getattr_static(value, "__wrapped__", None) is not None)
    )
