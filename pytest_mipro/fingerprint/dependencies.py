"""The values that a function or class depends on: globals, imports, closures, members."""

from __future__ import annotations

import ast
import dis
import importlib
import inspect
import os
import sys
from collections.abc import MutableMapping, MutableSequence, MutableSet
from functools import lru_cache
from importlib.util import find_spec, resolve_name
from types import CellType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, cast

from pytest_mipro.fingerprint.ownership import is_users_module, is_users_path
from pytest_mipro.fingerprint.source import source_of, unwrapped
from pytest_mipro.fingerprint.syntax import dotted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    Select: TypeAlias = Callable[[ast.AST], ast.expr | None]

_IMPORT = dis.opmap["IMPORT_NAME"]
_SET_GLOBAL, _SET_CLOSURE, _SET_ATTRIBUTE = "STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR"
_ANNOTATIONS = {"__annotate__", "__annotate_func__"}
"""Functions that Python 3.14 makes of a class's annotations, which the source has."""
_MUTATORS = {
    *("add", "append", "appendleft", "clear", "discard", "extend", "insert", "move_to_end"),
    *("pop", "popitem", "popleft", "remove", "setdefault", "update"),
}
"""Methods that change the items of a list, a set or a dictionary."""


def globals_of(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the globals that ``function`` uses, those of the user's modules included.

    Globals that the function assigns or mutates are left out, here and in the
    functions below: they are its memory, such as a counter, a cache or a model
    that it loads on first use, and differ after every call.
    """
    names = frozenset(_names(function.__code__))
    namespace = function.__globals__
    assigned, mutated = _set_in(function.__code__, _SET_GLOBAL), _mutated_by(function)
    used = [(name, namespace[name]) for name in sorted(names & namespace.keys())]
    for root_name, root in (*used, *_imports(function)):
        for name, value in _attributes_used(root_name, root, names, set()):
            if name not in assigned and not (name in mutated and _is_mutable(value)):
                yield name, value


def closure_of(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the variables of enclosing functions; None for one that is bound later."""
    assigned, mutated = _set_in(function.__code__, _SET_CLOSURE), _mutated_by(function)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        value = _value_of(cell)
        if name not in assigned and not (name in mutated and _is_mutable(value)):
            yield name, value


def defaults_of(function: FunctionType) -> dict[str, object]:
    """Return the defaults of parameters by name, without those that ``function`` mutates."""
    code, positional = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(positional) : code.co_argcount]
    defaults = {**dict(zip(names, positional, strict=True)), **(function.__kwdefaults__ or {})}
    mutated = _mutated_by(function)
    return {
        name: value
        for name, value in defaults.items()
        if not (name in mutated and _is_mutable(value))
    }


def attributes_of(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the attributes of ``function`` that it does not set itself."""
    assigned = _set_in(function.__code__, _SET_ATTRIBUTE)
    mutated = _mutated_by(function)
    for name, value in sorted(vars(function).items()):
        label = f"{function.__name__}.{name}"
        is_memory = name in assigned or (label in mutated and _is_mutable(value))
        if not is_memory and not name.startswith("__"):
            yield label, value


def members_of(cls: type) -> Iterator[tuple[str, object]]:
    """Yield the functions and values in the body of ``cls``, and the defaults of its fields."""
    for name, attribute in vars(cls).items():
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


def memory_of(cls: type) -> set[str]:
    """Return the attributes that an instance of ``cls`` sets or mutates when it is called."""
    attributes: set[str] = set()
    visited: set[str] = set()
    pending = ["__call__"]
    while pending:
        method = inspect.getattr_static(cls, pending.pop(), None)
        if not isinstance(method, FunctionType) or method.__name__ in visited:
            continue
        visited.add(method.__name__)
        instance = f"{next(iter(method.__code__.co_varnames), '')}."  # mostly "self."
        targets = {*_assigned_by(method), *_mutated_by(method)}
        attributes.update(
            target.removeprefix(instance) for target in targets if target.startswith(instance)
        )
        pending += sorted(_names(method.__code__))
    return attributes


def is_generated(function: object, cls: type) -> bool:
    """Whether a library generated ``function``, as ``dataclass`` generates ``__init__``."""
    # The standard library wraps the __repr__ of a dataclass.
    innermost = inspect.unwrap(function) if isinstance(function, FunctionType) else None
    return (
        isinstance(innermost, FunctionType)
        and innermost.__code__.co_filename.startswith("<")
        and bool(source_of(cls).file)
    )


def _value_of(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for nested in _nested(code):
        yield from _names(nested)


@lru_cache(maxsize=2048)  # disassembling is slow, and a compile describes its LMs at every call
def _set_in(code: CodeType, operation: str) -> frozenset[str]:
    """Return the names that ``code`` sets by ``operation``."""
    # Without the constants, whose texts a disassembly makes: Python limits those of numbers.
    constants = (None,) * len(code.co_consts)
    names = {
        str(instruction.argval)
        for instruction in dis.get_instructions(code.replace(co_consts=constants))
        if instruction.opname == operation
    }
    if operation == _SET_CLOSURE:
        # STORE_DEREF also sets the function's own variables that an inner function uses.
        names &= set(code.co_freevars)
    return frozenset(names).union(*(_set_in(nested, operation) for nested in _nested(code)))


def _is_mutable(value: object) -> bool:
    """Whether ``value`` is a container; other objects have methods of the same names."""
    return isinstance(value, MutableSequence | MutableSet | MutableMapping)


def _mutated_by(function: FunctionType) -> frozenset[str]:
    """Return the expressions whose items ``function`` adds, replaces or removes."""
    return _selected(function, _mutated_container)


def _assigned_by(function: FunctionType) -> frozenset[str]:
    """Return the attributes that ``function`` sets."""
    return _selected(function, _assigned_attribute)


def _selected(function: FunctionType, select: Select) -> frozenset[str]:
    node = source_of(function).node
    return frozenset() if node is None else _selected_in(node, select)


@lru_cache(maxsize=512)  # a session describes the same few functions many times
def _selected_in(tree: ast.AST, select: Select) -> frozenset[str]:
    expressions = map(select, ast.walk(tree))
    return frozenset(map(dotted_name, filter(None, expressions))) - {""}


def _assigned_attribute(node: ast.AST) -> ast.expr | None:
    """Return ``node`` if it sets an attribute."""
    is_set = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    return cast("ast.Attribute", node) if is_set else None


def _mutated_container(node: ast.AST) -> ast.expr | None:
    """Return the list, set or dictionary that ``node`` mutates, if it does."""
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return _outermost(node.value)
    method = node.func if isinstance(node, ast.Call) else None
    is_mutation = isinstance(method, ast.Attribute) and method.attr in _MUTATORS
    return _outermost(cast("ast.Attribute", method).value) if is_mutation else None


def _outermost(container: ast.expr) -> ast.expr:
    """Return the container that ``container`` is an item of, at any depth, or itself."""
    while isinstance(container, ast.Subscript):
        container = container.value
    return container


def _nested(code: CodeType) -> Iterable[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


def _attributes_used(
    name: str, value: object, names: frozenset[str], visited: set[int]
) -> Iterator[tuple[str, object]]:
    """Yield ``value``; for a module of the user, its attributes that ``names`` has instead."""
    if not isinstance(value, ModuleType):
        yield name, value
    elif is_users_module(value) and id(value) not in visited:
        visited.add(id(value))
        for attribute in sorted(names & vars(value).keys()):
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


def _has_import(code: CodeType) -> bool:
    return _IMPORT in code.co_code[::2] or any(map(_has_import, _nested(code)))


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
    # ruff: ignore[blind-except]: the import runs the user's module, which may raise anything. The
    # function may never reach that import; if it does, it raises the same error itself.
    except Exception:
        return None
