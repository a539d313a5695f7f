"""The source of functions and classes, normalized, and whether it belongs to the user.

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
    {f"{path}{os.sep}" for folder in _FOLDERS for path in (folder, os.path.realpath(folder))}
)
"""Folders of the standard library, of installed packages and of this package."""
_PROJECT_FILES = ("pyproject.toml", "pytest.ini", "tox.ini", "setup.cfg", "setup.py", ".git")
"""Names of files and folders of which a project's folder has at least one."""


@dataclass(frozen=True)
class SourceCode:
    """The source of a function or class.

    Attributes:
        content: The normalized source; the bytecode if the source is missing.
        qualname: The path of the definition in its file, as in ``__qualname__``;
            empty for a lambda and without source.
        file: The path of the file; empty if there is none.
        first_line: The number of the first line, decorators included.
        last_line: The number of the last line.
    """

    content: JSON
    qualname: str = ""
    file: str = ""
    first_line: int = 0
    last_line: int = 0

    @property
    def location(self) -> str:
        """The ``file:line`` of the first line, or an empty string."""
        return f"{Path(self.file).name}:{self.first_line}" if self.file else ""

    def contains(self, source: SourceCode) -> bool:
        """Whether the lines of ``source`` are among these lines."""
        same_file = bool(self.file) and self.file == source.file
        starts_inside = self.first_line <= source.first_line
        return same_file and starts_inside and source.last_line <= self.last_line


_SOURCES: WeakKeyDictionary[Code, SourceCode] = WeakKeyDictionary()


def source_of(code: Code) -> SourceCode:
    """Return the source of ``code`` as it was at the first call."""
    source = _SOURCES.get(code)
    if source is None:
        source = _SOURCES[code] = _read(code)
    return source


def location_of(value: object) -> str:
    """Return ``file:line`` of a function or class, or an empty string."""
    code = inspect.unwrap(value) if callable(value) else value
    return source_of(code).location if isinstance(code, FunctionType | type) else ""


@lru_cache(maxsize=512)
def project_of(file: str) -> str:
    """Return the folder of the project that has a file; the file's folder if there is none."""
    folder = Path(file).parent
    projects = (path for path in (folder, *folder.parents) if _is_project(path))
    return str(next(projects, folder))


def _is_project(folder: Path) -> bool:
    return any((folder / name).exists() for name in _PROJECT_FILES)


def path_of(code: Code) -> str:
    """Return the dotted path of a class or function."""
    return f"{code.__module__}.{code.__qualname__}"


def is_lambda(code: Code) -> bool:
    """Whether ``code`` is a lambda."""
    return isinstance(code, FunctionType) and code.__code__.co_name == "<lambda>"


def is_users(code: Code) -> bool:
    """Whether ``code`` is in a file of the user, rather than in an installed one."""
    if isinstance(code, FunctionType) and not code.__code__.co_filename.startswith("<"):
        return is_users_path(code.__code__.co_filename)
    if code.__module__ == "__main__":
        return True
    module = sys.modules.get(code.__module__ or "")
    if module is None:
        return isinstance(code, FunctionType)
    return is_users_module(module)


def is_users_module(module: ModuleType) -> bool:
    """Whether ``module`` belongs to the user."""
    # A namespace package has folders instead of a file.
    file = getattr(module, "__file__", None)
    paths = [file] if isinstance(file, str) else getattr(module, "__path__", [])
    return any(map(is_users_path, paths))


def is_users_path(path: str) -> bool:
    """Whether a file or folder is outside the folders of installed code."""
    return not path.startswith((*_INSTALLED, "<frozen"))


def functions_of(cls: type) -> Iterator[FunctionType]:
    """Yield the functions in the body of ``cls``, those inside descriptors too."""
    for attribute in vars(cls).values():
        for function in unwrapped(attribute):
            if isinstance(function, FunctionType):
                yield function


def unwrapped(attribute: object) -> Iterator[object]:
    """Yield the functions inside a descriptor of a class, or the attribute itself."""
    if isinstance(attribute, property):
        yield from (attribute.fget, attribute.fset, attribute.fdel)
    elif isinstance(attribute, staticmethod | classmethod):
        yield attribute.__func__
    elif isinstance(attribute, cached_property | partialmethod):
        yield attribute.func
    else:
        yield attribute


def _read(code: Code) -> SourceCode:
    """Read ``code`` from its file."""
    # Not with inspect, which follows functools.wraps to another function.
    file, lines = _file_of(code)
    try:
        definitions = _definitions("".join(lines))
    except SyntaxError:  # a cell of a notebook may hold lines that are no Python
        return SourceCode(_bytecode_of(code))
    if isinstance(code, type):
        return _class_source(code, definitions, file)
    return _function_source(code, definitions, file)


def _function_source(function: FunctionType, definitions: _Definitions, file: str) -> SourceCode:
    code = function.__code__
    first_line = code.co_firstlineno
    definition = definitions.functions.get((code.co_name, first_line))
    if definition is not None:
        return _source(*definition, file)
    if is_lambda(function):
        node = _lambda_of(code, definitions.lambdas.get(first_line, ()))
        if node is not None:
            last_line = node.end_lineno or first_line
            return SourceCode(ast.unparse(node), "", file, first_line, last_line)
    return SourceCode(_bytecode_of(function), "", file, first_line, first_line)


def _class_source(cls: type, definitions: _Definitions, file: str) -> SourceCode:
    qualname = cls.__qualname__
    sources = [_source(qualname, node, file) for node in definitions.classes.get(qualname, ())]
    last = sources[-1] if sources else SourceCode(_bytecode_of(cls))
    return next((source for source in sources if _is_body(source, cls)), last)


def _file_of(code: Code) -> tuple[str, list[str]]:
    """Return the path and the lines of the file of ``code``; nothing if it cannot be read."""
    if isinstance(code, FunctionType):
        file, namespace = code.__code__.co_filename, code.__globals__
    else:
        namespace = vars(sys.modules.get(code.__module__, sys))
        file = namespace.get("__file__") or ""
    linecache.checkcache(file)
    lines = linecache.getlines(file, namespace)
    return file if lines else "", lines


_Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"


@dataclass
class _Definitions:
    """The functions of a file by name and line, its classes by path, its lambdas by line."""

    functions: dict[tuple[str, int], tuple[str, _Function]] = field(default_factory=dict)
    classes: dict[str, list[ast.ClassDef]] = field(default_factory=dict)
    lambdas: dict[int, list[ast.Lambda]] = field(default_factory=dict)


@lru_cache(maxsize=64)
def _definitions(text: str) -> _Definitions:
    definitions = _Definitions()
    for qualname, node in _definitions_in(ast.parse(text), ""):
        if isinstance(node, ast.ClassDef):
            definitions.classes.setdefault(qualname, []).append(node)
        elif isinstance(node, ast.Lambda):
            definitions.lambdas.setdefault(node.lineno, []).append(node)
        else:
            definitions.functions[node.name, _first_line(node)] = qualname, node
    return definitions


def _definitions_in(
    parent: ast.AST, prefix: str
) -> Iterator[tuple[str, _Function | ast.ClassDef | ast.Lambda]]:
    for node in ast.iter_child_nodes(parent):
        scope = prefix
        if isinstance(node, ast.Lambda):
            yield prefix, node
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
            locals_ = "" if isinstance(node, ast.ClassDef) else "<locals>."
            scope = f"{prefix}{node.name}.{locals_}"
        yield from _definitions_in(node, scope)


def _lambda_of(code: CodeType, nodes: Sequence[ast.Lambda]) -> ast.Lambda | None:
    """Return the lambda of ``code`` among those that begin on its line; None if unclear."""
    if len(nodes) == 1:
        return nodes[0]
    spans = list(_spans(code))
    candidates = [
        node
        for node in nodes
        if spans
        and all(
            (node.body.lineno, node.body.col_offset) <= start
            and end <= (node.body.end_lineno, node.body.end_col_offset)
            for start, end in spans
        )
    ]
    # The innermost: the body of a lambda is also inside the body of the enclosing lambda.
    return max(candidates, key=lambda node: (node.body.lineno, node.body.col_offset), default=None)


def _spans(code: CodeType) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield the start and the end of each instruction's source: lines and columns."""
    if sys.version_info < (3, 11):  # Python 3.10 stores lines without columns.
        return
    for first, last, start, end in code.co_positions():
        if first is None or last is None or start is None or end is None:
            continue
        if (first, start) != (last, end):  # Instructions without source have an empty span.
            yield (first, start), (last, end)


def _source(qualname: str, node: _Function | ast.ClassDef, file: str) -> SourceCode:
    first_line = _first_line(node)
    last_line = node.end_lineno or first_line
    return SourceCode(ast.unparse(node), qualname, file, first_line, last_line)


def _first_line(node: _Function | ast.ClassDef) -> int:
    return min(part.lineno for part in (node, *node.decorator_list))


def _is_body(source: SourceCode, cls: type) -> bool:
    """Whether functions of ``cls`` are in the lines of ``source``."""
    # A file may define several classes of one name.
    lines = [
        function.__code__.co_firstlineno
        for function in functions_of(cls)
        if function.__code__.co_filename == source.file
        and function.__qualname__.startswith(cls.__qualname__)
    ]
    return any(source.first_line <= line <= source.last_line for line in lines)


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
