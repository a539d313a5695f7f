"""The values that a function or class depends on: globals, imports, closures, members."""

from __future__ import annotations

import ast
import dis
import importlib
import inspect
import os
import sys
from importlib.util import find_spec, resolve_name
from types import (
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING

from pytest_mipro.fingerprint.memory import (
    SET_ATTRIBUTE,
    SET_CLOSURE,
    SET_GLOBAL,
    is_mutable,
    mutated_by,
    names_in,
    nested_in,
    set_in,
)
from pytest_mipro.fingerprint.ownership import is_users, is_users_module, is_users_path
from pytest_mipro.fingerprint.source import source_of, unwrapped

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_IMPORT = dis.opmap["IMPORT_NAME"]
_ANNOTATIONS = {"__annotate__", "__annotate_func__"}
"""Functions that Python 3.14 makes of a class's annotations, which the source has."""
_WITHOUT_CODE = frozenset(
    id(kind)  # Not every class has a hash.
    for kind in (
        *(str, int, bool, type(None), tuple, dict, frozenset),
        *(WrapperDescriptorType, MethodDescriptorType, GetSetDescriptorType, MemberDescriptorType),
    )
)
"""The types of most members of classes, which hold no function of the user, by identity."""


def globals_of(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the globals that ``function`` uses, those of the user's modules included.

    Globals that the function assigns or mutates are left out, here and in the
    functions below: they are its memory, such as a counter, a cache or a model
    that it loads on first use, and differ after every call.
    """
    names = frozenset(names_in(function.__code__))
    namespace = function.__globals__
    assigned, mutated = set_in(function.__code__, SET_GLOBAL), mutated_by(function)
    used = [(name, namespace[name]) for name in sorted(names & namespace.keys())]
    for root_name, root in (*used, *_imports(function)):
        for name, value in _attributes_used(root_name, root, names, set()):
            if name not in assigned and not (name in mutated and is_mutable(value)):
                yield name, value


def closure_of(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the variables of enclosing functions; None for one that is bound later."""
    assigned, mutated = set_in(function.__code__, SET_CLOSURE), mutated_by(function)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        value = _value_of(cell)
        if name not in assigned and not (name in mutated and is_mutable(value)):
            yield name, value


def defaults_of(function: FunctionType) -> dict[str, object]:
    """Return the defaults of parameters by name, without those that ``function`` mutates."""
    code, positional = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(positional) : code.co_argcount]
    defaults = {**dict(zip(names, positional, strict=True)), **(function.__kwdefaults__ or {})}
    mutated = mutated_by(function)
    return {
        name: value
        for name, value in defaults.items()
        if not (name in mutated and is_mutable(value))
    }


def attributes_of(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the attributes of ``function`` that it does not set itself."""
    assigned = set_in(function.__code__, SET_ATTRIBUTE)
    mutated = mutated_by(function)
    for name, value in sorted(vars(function).copy().items()):
        label = f"{function.__name__}.{name}"
        is_memory = name in assigned or (label in mutated and is_mutable(value))
        if not is_memory and not name.startswith("__"):
            yield label, value


def members_of(cls: type) -> Iterator[tuple[str, object]]:
    """Yield the functions and values in the body of ``cls``, and the defaults of its fields."""
    for name, attribute in vars(cls).copy().items():
        for member in unwrapped(attribute):
            internal = name.startswith("_") and name.endswith("_")
            if name in _ANNOTATIONS:
                continue
            if not internal or isinstance(member, FunctionType):
                yield name, member
    for attribute_name in ("__dataclass_fields__", "__pydantic_fields__"):
        fields = vars(cls).get(attribute_name) or {}
        for name, field in fields.items():
            yield name, field.default_factory if callable(field.default_factory) else field.default


def is_generated(function: object, cls: type) -> bool:
    """Whether a library generated ``function``, as ``dataclass`` generates ``__init__``."""
    # The standard library wraps the __repr__ of a dataclass.
    innermost = inspect.unwrap(function) if isinstance(function, FunctionType) else None
    return (
        isinstance(innermost, FunctionType)
        and innermost.__code__.co_filename.startswith("<")
        and bool(source_of(cls).file)
    )


def replacements_in(
    owner: ModuleType | type, names: Collection[str] | None = None
) -> Iterator[tuple[str, FunctionType]]:
    """Yield the functions of the user that are in the place of those of an installed module.

    Args:
        owner: The module, or a class in it.
        names: The names in it that are looked up; None for all.
    """
    is_module = isinstance(owner, ModuleType)
    # A copy, as other threads import modules and set attributes meanwhile.
    for name, member in vars(owner).copy().items():
        if (names is not None and name not in names) or id(type(member)) in _WITHOUT_CODE:
            continue
        if is_module and isinstance(member, type) and not is_users(member):
            yield from ((f"{name}.{inner}", item) for inner, item in replacements_in(member))
        for function in (member,) if type(member) is FunctionType else unwrapped(member):
            if not isinstance(function, FunctionType):
                continue
            if is_users_path(function.__code__.co_filename):
                yield name, function


def _value_of(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _attributes_used(
    name: str, value: object, names: frozenset[str], visited: set[int]
) -> Iterator[tuple[str, object]]:
    """Yield ``value``; for a module of the user, its attributes that ``names`` has instead.

    For an installed module these are the user's functions that replace its own.
    """
    if not isinstance(value, ModuleType):
        yield name, value
    elif not is_users_module(value):
        yield name, value
        for attribute, function in replacements_in(value, names):
            yield f"{name}.{attribute}", function
    elif id(value) not in visited:
        visited.add(id(value))
        # A module's __getattr__ makes what is not there.
        for attribute in sorted((names | {"__getattr__"}) & vars(value).keys()):
            yield from _attributes_used(
                f"{name}.{attribute}", vars(value)[attribute], names, visited
            )


def _imports(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the modules and values that import statements inside ``function`` bind."""
    tree = source_of(function).node if _has_import(function.__code__) else None
    for node in () if tree is None else ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if _module(alias.name) is not None:
                    root = alias.name.partition(".")[0]
                    yield root, sys.modules[root]
        elif isinstance(node, ast.ImportFrom):
            yield from _imported_from(node, function.__globals__.get("__package__"))


def modules_imported(function: FunctionType) -> Iterator[str]:
    """Yield the modules that absolute import statements inside ``function`` name."""
    tree = source_of(function).node if _has_import(function.__code__) else None
    for node in () if tree is None else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


def _has_import(code: CodeType) -> bool:
    return _IMPORT in code.co_code[::2] or any(map(_has_import, nested_in(code)))


def _imported_from(node: ast.ImportFrom, package: str | None) -> Iterator[tuple[str, object]]:
    relative = "." * node.level + (node.module or "")
    name = resolve_name(relative, package) if node.level and package else relative
    module = _module(name)
    for alias in node.names if module is not None else ():
        value = getattr(module, alias.name, None)
        yield f"{name}.{alias.name}", _module(f"{name}.{alias.name}") if value is None else value


def _module(name: str) -> ModuleType | None:
    """Import and return a module of the user; None for any other module."""
    try:
        spec = find_spec(name.partition(".")[0])
        paths = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
        if not any(is_users_path(path) for path in paths if path and os.sep in path):
            return None
        return importlib.import_module(name)
    # The function may never reach that import; if it does, it raises the same error itself.
    except Exception:  # ruff: ignore[blind-except] - a module of the user may raise anything
        return None
