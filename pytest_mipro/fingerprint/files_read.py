"""The files of the project that a function reads under a path that its code says."""

from __future__ import annotations

import ast
import hashlib
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePath
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from pytest_mipro.fingerprint.dependencies import closure_of
from pytest_mipro.fingerprint.ownership import is_users, project_of
from pytest_mipro.fingerprint.source import functions_of, source_of
from pytest_mipro.fingerprint.syntax import dotted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_READING_METHODS = frozenset({"read_text", "read_bytes"})
_WRITING_MODES = frozenset("wax+")
_PATH_FUNCTIONS: tuple[Callable[..., object], ...] = (
    os.path.join,
    os.path.dirname,
    os.path.abspath,
    os.fspath,
    str,
)
_PATH_METHODS = frozenset({"absolute", "joinpath", "resolve", "with_name", "with_suffix"})
_LARGE = 2**24
"""Bytes of a file from which on its size alone counts, as reading it would take too long."""
_DEEPEST = 20
"""Steps to a path, which a variable could otherwise lead to by itself."""


def files_of(instance: object) -> Iterator[tuple[str, str | int]]:
    """Yield what ``files_read`` does of the methods of an instance, which may have the paths."""
    for cls in filter(is_users, type(instance).__mro__):
        for method in functions_of(cls):
            yield from files_read(method, instance)


def files_read(function: FunctionType, instance: object = None) -> Iterator[tuple[str, str | int]]:
    """Yield the paths of such files in the project, and what tells their contents apart.

    A hidden file, or one in a hidden folder, is most likely a cache, which code fills as it runs.

    Args:
        function: A function of the user.
        instance: What it is a method of, whose attributes may be paths.
    """
    source = source_of(function)
    if source.node is None or not source.file:
        return
    expressions = _paths_read(source.node)
    if not expressions:  # as of most functions
        return
    project = project_of(source.file)
    folders = dict.fromkeys([project, os.path.realpath(project)])
    paths = _Paths(function, source.node, instance)
    for expression in expressions:
        file = paths.value_of(expression)
        if not isinstance(file, str | PurePath):
            continue
        # ruff: ignore[os-path-abspath] - the links in it stay links, as in the project's folder
        path = Path(os.path.abspath(file))
        relative = next((path.relative_to(to) for to in folders if path.is_relative_to(to)), path)
        if relative is path or any(part.startswith(".") for part in relative.parts):
            continue
        with suppress(OSError, ValueError):  # it is no file, or not even a name of one
            yield relative.as_posix(), _content(path)


def _content(file: Path) -> str | int:
    """Return the digest of a file, with the line endings of any checkout; a large one's size."""
    if not file.is_file():
        raise FileNotFoundError(file)
    size = file.stat().st_size
    if size >= _LARGE:
        return size
    return hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


@lru_cache(maxsize=512)  # a session describes the same few functions many times
def _paths_read(tree: ast.AST) -> tuple[ast.expr, ...]:
    """Return the expressions in ``tree`` for the paths of files that are opened for reading."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return tuple(path for call in calls if (path := _path_read(call)) is not None)


def _path_read(call: ast.Call) -> ast.expr | None:
    function, arguments = call.func, call.args
    if isinstance(function, ast.Attribute) and function.attr in _READING_METHODS:
        return function.value
    path: ast.expr | None = None
    if dotted_name(function) in {"open", "io.open"} and arguments:
        path, *arguments = arguments
    elif isinstance(function, ast.Attribute) and function.attr == "open":
        path = function.value
    modes = [*arguments[:1], *(item.value for item in call.keywords if item.arg == "mode")]
    is_read = all(isinstance(mode, ast.Constant) and _is_reading(mode.value) for mode in modes)
    return path if is_read else None


def _is_reading(mode: object) -> bool:
    return isinstance(mode, str) and _WRITING_MODES.isdisjoint(mode)


class _Paths:
    """Finds the paths that expressions in a function stand for, and runs none of its code."""

    def __init__(self, function: FunctionType, tree: ast.AST, instance: object) -> None:
        self._variables = {**function.__globals__, **dict(closure_of(function))}
        self._instance = instance
        if instance is not None:  # mostly "self"
            self._variables[next(iter(function.__code__.co_varnames), "")] = instance
        self._assigned: dict[str, ast.expr] = {
            target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def value_of(self, node: ast.expr, depth: int = _DEEPEST) -> object:
        """Return the value of an expression; None if it is not known."""
        if depth == 0:
            return None
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            assigned = self._assigned.get(node.id)
            return (
                self._variables.get(node.id)
                if assigned is None
                else self.value_of(assigned, depth - 1)
            )
        if isinstance(node, ast.Attribute):
            return self._attribute(self.value_of(node.value, depth - 1), node.attr)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            left, right = (self.value_of(side, depth - 1) for side in (node.left, node.right))
            if isinstance(left, PurePath) and isinstance(right, str | PurePath):
                return left / right
            return None
        return self._called(node, depth - 1) if isinstance(node, ast.Call) else None

    def _called(self, call: ast.Call, depth: int) -> object:
        arguments = [self.value_of(argument, depth) for argument in call.args]
        if not all(isinstance(argument, str | PurePath) for argument in arguments):
            return None
        texts = [str(argument) for argument in arguments]
        if isinstance(call.func, ast.Attribute) and call.func.attr in _PATH_METHODS:
            path = self.value_of(call.func.value, depth)
            return getattr(path, call.func.attr)(*texts) if isinstance(path, Path) else None
        function = self.value_of(call.func, depth)
        if isinstance(function, type) and issubclass(function, PurePath):
            return Path(*texts)
        for path_function in _PATH_FUNCTIONS:
            if function is path_function and texts:
                return path_function(*texts)
        return None

    def _attribute(self, value: object, name: str) -> object:
        """Return an attribute of a path or of what has attributes, without running its code."""
        if isinstance(value, PurePath):
            return value.parent if name == "parent" else None
        if isinstance(value, ModuleType | type):
            return vars(value).get(name)
        is_instance = value is self._instance
        return getattr(value, "__dict__", {}).get(name) if is_instance else None
