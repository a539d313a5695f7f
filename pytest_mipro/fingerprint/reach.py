"""What a function or class refers to: globals, imports, closures, members."""

from __future__ import annotations

import ast
import dis
import importlib
import os
import sys
from importlib.util import find_spec, resolve_name
from types import CellType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING

from pytest_mipro.fingerprint.source import is_users_module, is_users_path, source_of, unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_IMPORT = dis.opmap["IMPORT_NAME"]


def globals_of(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the globals that ``function`` names, also those of the user's modules it names."""
    names = frozenset(_names(function.__code__))
    scope = function.__globals__
    for name in sorted(names & scope.keys()):
        yield from _reached(name, scope[name], names, set())
    for name, value in _imports(function):
        yield from _reached(name, value, names, set())


def closure_of(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the variables of enclosing functions; a name that is bound later is None."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        yield name, _content_of(cell)


def members_of(cls: type) -> Iterator[tuple[str, object]]:
    """Yield what is in the body of ``cls``: functions, values and the defaults of fields."""
    for name, attribute in vars(cls).items():
        for part in unwrapped(attribute):
            internal = name.startswith("_") and name.endswith("_")
            if not internal or isinstance(part, FunctionType):
                yield name, part
    for fields in ("__dataclass_fields__", "__pydantic_fields__"):
        declared = vars(cls).get(fields)
        for name, field in (declared or {}).items():
            yield name, field.default_factory if callable(field.default_factory) else field.default


def is_generated(function: object, cls: type) -> bool:
    """Whether ``function`` was written by a library, as a dataclass's ``__init__`` is."""
    return (
        isinstance(function, FunctionType)
        and function.__code__.co_filename.startswith("<")
        and bool(source_of(cls).file)
    )


def _content_of(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in _inner(code):
        yield from _names(inner)


def _inner(code: CodeType) -> Iterable[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


def _reached(
    name: str, value: object, names: frozenset[str], seen: set[int]
) -> Iterator[tuple[str, object]]:
    if not isinstance(value, ModuleType):
        yield name, value
    elif is_users_module(value) and id(value) not in seen:
        seen.add(id(value))
        for attribute in sorted(names & vars(value).keys()):
            yield from _reached(f"{name}.{attribute}", vars(value)[attribute], names, seen)


def _imports(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield what import statements inside ``function`` bring in."""
    source = source_of(function).content if _has_import(function.__code__) else None
    if not isinstance(source, str):
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if _module(alias.name) is not None:
                    root = alias.name.partition(".")[0]
                    yield root, sys.modules[root]
        elif isinstance(node, ast.ImportFrom):
            yield from _imported_from(node, function.__globals__.get("__package__"))


def _has_import(code: CodeType) -> bool:
    return _IMPORT in code.co_code[::2] or any(map(_has_import, _inner(code)))


def _imported_from(node: ast.ImportFrom, package: str | None) -> Iterator[tuple[str, object]]:
    relative = "." * node.level + (node.module or "")
    name = resolve_name(relative, package) if node.level and package else relative
    module = _module(name)
    for alias in node.names if module is not None else ():
        value = getattr(module, alias.name, None)
        yield f"{name}.{alias.name}", _module(f"{name}.{alias.name}") if value is None else value


def _module(name: str) -> ModuleType | None:
    """Import a module of the user's, as the function will; None for any other."""
    try:
        spec = find_spec(name.partition(".")[0])
        places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
        if not any(is_users_path(place) for place in places if place and os.sep in place):
            return None
        return importlib.import_module(name)
    except Exception:  # ruff: ignore[blind-except]  # the function may never get there
        return None
