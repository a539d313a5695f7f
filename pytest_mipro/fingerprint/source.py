"""
What a function or class is by content: its syntax tree, and whose it is.

Comments, blank lines and formatting change nothing, names and strings do.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import os
import site
import sys
import sysconfig
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partialmethod
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from pytest_mipro.canonical import JSON, canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

Code: TypeAlias = FunctionType | type

_FOLDERS = (
    *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    site.getusersitepackages(),
    str(Path(__file__).parents[1]),
)
_INSTALLED = tuple(
    {f"{path}{os.sep}" for each in _FOLDERS for path in (each, os.path.realpath(each))}
)
"""Not followed: the standard library, installed packages, this package."""
_MARKS = ("pyproject.toml", "pytest.ini", "tox.ini", "setup.cfg", "setup.py", ".git")
"""What the folder of a project has."""


@dataclass(frozen=True)
class SourceCode:
    """
    The source of a function or class.

    Attributes:
        content: The normalized source; bytecode where there is none.
        path: The names it is defined under, as in ``__qualname__``; empty if
            there is no source.
        file: The path of the file; empty if there is none.
        first: The first line.
        last: The last line.

    """

    content: JSON
    path: str = ""
    file: str = ""
    first: int = 0
    last: int = 0

    @property
    def place(self) -> str:
        """The ``file:line`` it starts at, or an empty string."""
        return f"{Path(self.file).name}:{self.first}" if self.file else ""

    def holds(self, other: SourceCode) -> bool:
        """Whether ``other`` is in these lines."""
        same = bool(self.file) and self.file == other.file
        return same and self.first <= other.first and other.last <= self.last


_KNOWN: WeakKeyDictionary[Code, SourceCode] = WeakKeyDictionary()


def source_of(code: Code) -> SourceCode:
    """Return the source of ``code``; what it was when first asked for."""
    known = _KNOWN.get(code)
    if known is None:
        known = _KNOWN[code] = _read(code)
    return known


def location(value: object) -> str:
    """Return ``file:line`` of a function or class, or an empty string."""
    target = inspect.unwrap(value) if callable(value) else value
    return source_of(target).place if isinstance(target, FunctionType | type) else ""


@lru_cache(maxsize=512)
def project_of(file: str) -> str:
    """Return the folder of the project that a file is in, or else its own."""
    folder = Path(file).parent
    around = (each for each in (folder, *folder.parents) if _is_project(each))
    return str(next(around, folder))


def _is_project(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in _MARKS)


def is_lambda(code: Code) -> bool:
    """Whether ``code`` has no name to be called by."""
    return isinstance(code, FunctionType) and code.__code__.co_name == "<lambda>"


def is_users(code: Code) -> bool:
    """Whether ``code`` is in a file of the user's, rather than installed."""
    if isinstance(code, FunctionType) and not code.__code__.co_filename.startswith("<"):
        return is_users_path(code.__code__.co_filename)
    if code.__module__ == "__main__":
        return True
    module = sys.modules.get(code.__module__ or "")
    if module is None:
        return isinstance(code, FunctionType)
    return is_users_module(module)


def is_users_module(module: ModuleType) -> bool:
    """Whether ``module`` is the user's; a namespace package has folders instead of a file."""
    file = getattr(module, "__file__", None)
    paths = [file] if isinstance(file, str) else getattr(module, "__path__", [])
    return any(map(is_users_path, paths))


def is_users_path(path: str) -> bool:
    """Whether a file or folder is outside of all that is installed."""
    return not path.startswith((*_INSTALLED, "<frozen"))


def functions_of(cls: type) -> Iterator[FunctionType]:
    """Yield the functions in the body of ``cls``, out of what wraps them."""
    for attribute in vars(cls).values():
        for function in unwrapped(attribute):
            if isinstance(function, FunctionType):
                yield function


def unwrapped(attribute: object) -> Iterator[object]:
    """Yield what a descriptor in a class is made of, or the attribute itself."""
    if isinstance(attribute, property):
        yield from (attribute.fget, attribute.fset, attribute.fdel)
    elif isinstance(attribute, staticmethod | classmethod):
        yield attribute.__func__
    elif isinstance(attribute, cached_property | partialmethod):
        yield attribute.func
    else:
        yield attribute


def _read(code: Code) -> SourceCode:
    """Read ``code`` from its file; not by inspect, which looks through functools.wraps."""
    file, lines = _file_of(code)
    try:
        definitions = _definitions("".join(lines))
    except SyntaxError:  # a notebook's own language
        return SourceCode(_bytecode_of(code))
    if isinstance(code, type):
        path = code.__qualname__
        found = [_source(path, node, file) for node in definitions.classes.get(path, ())]
        last = found[-1] if found else SourceCode(_bytecode_of(code))
        return next((each for each in found if _is_body(each, code)), last)
    first = code.__code__.co_firstlineno
    if (found_at := definitions.functions.get((code.__code__.co_name, first))) is not None:
        return _source(*found_at, file)
    one = _lambda_of(code.__code__, definitions.lambdas.get(first, ())) if is_lambda(code) else None
    if one is not None:
        return SourceCode(ast.unparse(one), "", file, first, one.end_lineno or first)
    return SourceCode(_bytecode_of(code), "", file if lines else "", first, first)


def _file_of(code: Code) -> tuple[str, list[str]]:
    if isinstance(code, FunctionType):
        file, scope = code.__code__.co_filename, code.__globals__
    else:
        scope = vars(sys.modules.get(code.__module__, sys))
        file = scope.get("__file__") or ""
    linecache.checkcache(file)
    return file, linecache.getlines(file, scope)


_Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"


@dataclass
class _Definitions:
    """The functions in a file by name and line, its classes by path, its lambdas by line."""

    functions: dict[tuple[str, int], tuple[str, _Function]] = field(default_factory=dict)
    classes: dict[str, list[ast.ClassDef]] = field(default_factory=dict)
    lambdas: dict[int, list[ast.Lambda]] = field(default_factory=dict)


@lru_cache(maxsize=64)
def _definitions(text: str) -> _Definitions:
    found = _Definitions()
    for path, node in _definitions_in(ast.parse(text), ""):
        if isinstance(node, ast.ClassDef):
            found.classes.setdefault(path, []).append(node)
        elif isinstance(node, ast.Lambda):
            found.lambdas.setdefault(node.lineno, []).append(node)
        else:
            found.functions[node.name, _first_line(node)] = path, node
    return found


def _definitions_in(
    parent: ast.AST, path: str
) -> Iterator[tuple[str, _Function | ast.ClassDef | ast.Lambda]]:
    for node in ast.iter_child_nodes(parent):
        inner = path
        if isinstance(node, ast.Lambda):
            yield path, node
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield path + node.name, node
            inner = f"{path}{node.name}." + ("" if isinstance(node, ast.ClassDef) else "<locals>.")
        yield from _definitions_in(node, inner)


def _lambda_of(code: CodeType, nodes: Sequence[ast.Lambda]) -> ast.Lambda | None:
    """Return which of the lambdas that begin on its line ``code`` is, where that can be told."""
    if len(nodes) == 1:
        return nodes[0]
    spans = list(_spans(code))
    holding = [
        node
        for node in nodes
        if spans
        and all(
            (node.body.lineno, node.body.col_offset) <= start
            and end <= (node.body.end_lineno, node.body.end_col_offset)
            for start, end in spans
        )
    ]
    # The innermost: a lambda's own body is also in the body of the one around it.
    return max(holding, key=lambda node: (node.body.lineno, node.body.col_offset), default=None)


def _spans(code: CodeType) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield where each instruction of ``code`` comes from."""
    if sys.version_info < (3, 11):  # It kept the lines alone.
        return
    for first, last, start, end in code.co_positions():
        if first is None or last is None or start is None or end is None:
            continue
        if (first, start) != (last, end):  # What the compiler added is nowhere.
            yield (first, start), (last, end)


def _source(path: str, node: _Function | ast.ClassDef, file: str) -> SourceCode:
    first = _first_line(node)
    return SourceCode(ast.unparse(node), path, file, first, node.end_lineno or first)


def _first_line(node: _Function | ast.ClassDef) -> int:
    return min(line.lineno for line in (node, *node.decorator_list))


def _is_body(source: SourceCode, cls: type) -> bool:
    """Whether functions of ``cls`` are in these lines; a file may define a name twice."""
    lines = [
        function.__code__.co_firstlineno
        for function in functions_of(cls)
        if function.__code__.co_filename == source.file
        and function.__qualname__.startswith(cls.__qualname__)
    ]
    return any(source.first <= line <= source.last for line in lines)


def _bytecode_of(code: Code) -> JSON:
    if isinstance(code, FunctionType):
        return _bytecode(code.__code__)
    return [
        [function.__qualname__, _bytecode(function.__code__)] for function in functions_of(code)
    ]


def _bytecode(code: CodeType) -> JSON:
    names: list[JSON] = [*code.co_names, *code.co_varnames, *code.co_freevars]
    constants = [_constant(value) for value in code.co_consts]
    return [code.co_code.hex(), constants, names, sys.version_info.minor]


def _constant(value: object) -> JSON:
    if isinstance(value, CodeType):
        return _bytecode(value)
    if isinstance(value, tuple):
        return ["tuple", *map(_constant, value)]
    if isinstance(value, frozenset):
        return ["frozenset", *sorted(map(_constant, value), key=canonical_json)]
    return [type(value).__name__, repr(value)]
