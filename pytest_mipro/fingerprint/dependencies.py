"""What a function or class refers to: globals, imports, closures, members."""

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

from pytest_mipro.fingerprint.source import is_users_module, is_users_path, source_of, unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    Choice: TypeAlias = Callable[[ast.AST], ast.expr | None]

_IMPORT = dis.opmap["IMPORT_NAME"]
_SET_GLOBAL, _SET_OUTER, _SET_ATTRIBUTE = "STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR"
_FILLS = {
    *("add", "append", "appendleft", "clear", "discard", "extend", "insert", "move_to_end"),
    *("pop", "popitem", "popleft", "remove", "setdefault", "update"),
}
"""Methods that change what a list, a set or a dictionary holds."""


def globals_of(function: FunctionType) -> Iterator[tuple[str, object]]:
    """
    Yield the globals that ``function`` names, also those of the user's modules it names.

    What it sets or fills itself, here and below, is left out: that is its
    memory, such as a count, answers it keeps or a model it loads on first use,
    and differs after every use.
    """
    names = frozenset(_names(function.__code__))
    scope = function.__globals__
    own, filled = _set_in(function.__code__, _SET_GLOBAL), _filled_by(function)
    found = [*((name, scope[name]) for name in sorted(names & scope.keys())), *_imports(function)]
    for root, value in found:
        for name, each in _reached(root, value, names, set()):
            if name not in own and not (name in filled and _holds(each)):
                yield name, each


def closure_of(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the variables of enclosing functions; a name that is bound later is None."""
    own, filled = _set_in(function.__code__, _SET_OUTER), _filled_by(function)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        value = _content_of(cell)
        if name not in own and not (name in filled and _holds(value)):
            yield name, value


def defaults_of(function: FunctionType) -> dict[str, object]:
    """Return the defaults of parameters by name; one that ``function`` fills is its memory."""
    code, given = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
    defaults = {**dict(zip(names, given, strict=True)), **(function.__kwdefaults__ or {})}
    filled = _filled_by(function)
    return {
        name: value for name, value in defaults.items() if not (name in filled and _holds(value))
    }


def attributes_of(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield what was set on ``function`` from outside."""
    own = _set_in(function.__code__, _SET_ATTRIBUTE)
    filled = _filled_by(function)
    for name, value in sorted(vars(function).items()):
        label = f"{function.__name__}.{name}"
        is_memory = name in own or (label in filled and _holds(value))
        if not is_memory and not name.startswith("__"):
            yield label, value


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


def memory_of(cls: type) -> set[str]:
    """Return the attributes that an instance of ``cls`` sets or fills itself when it is called."""
    found: set[str] = set()
    seen: set[str] = set()
    ahead = ["__call__"]
    while ahead:
        method = inspect.getattr_static(cls, ahead.pop(), None)
        if not isinstance(method, FunctionType) or method.__name__ in seen:
            continue
        seen.add(method.__name__)
        owner = f"{next(iter(method.__code__.co_varnames), '')}."
        kept = {*_assigned_by(method), *_filled_by(method)}
        found.update(name.removeprefix(owner) for name in kept if name.startswith(owner))
        ahead += sorted(_names(method.__code__))
    return found


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


@lru_cache(maxsize=2048)  # disassembling is slow, and every call of a prompt model is described
def _set_in(code: CodeType, operation: str) -> frozenset[str]:
    """Return the names that ``code`` sets by ``operation``."""
    names = {
        str(instruction.argval)
        for instruction in dis.get_instructions(code)
        if instruction.opname == operation
    }
    if operation == _SET_OUTER:
        names &= set(code.co_freevars)  # the others are its own
    return frozenset(names).union(*(_set_in(inner, operation) for inner in _inner(code)))


def _holds(value: object) -> bool:
    """Whether ``value`` can be filled; other things have methods of the same names."""
    return isinstance(value, MutableSequence | MutableSet | MutableMapping)


def _filled_by(function: FunctionType) -> frozenset[str]:
    """Return what ``function`` puts something into, or takes something out of."""
    return _chosen(function, _holder)


def _assigned_by(function: FunctionType) -> frozenset[str]:
    """Return the attributes that ``function`` sets."""
    return _chosen(function, _attribute)


def _chosen(function: FunctionType, choose: Choice) -> frozenset[str]:
    source = source_of(function).content
    return _chosen_in(source, choose) if isinstance(source, str) else frozenset()


@lru_cache(maxsize=512)  # a session describes the same few functions again and again
def _chosen_in(source: str, choose: Choice) -> frozenset[str]:
    chosen = map(choose, ast.walk(ast.parse(source)))
    return frozenset(ast.unparse(each) for each in chosen if each is not None)


def _attribute(node: ast.AST) -> ast.expr | None:
    """Return ``node`` if it sets an attribute."""
    is_set = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    return cast("ast.Attribute", node) if is_set else None


def _holder(node: ast.AST) -> ast.expr | None:
    """Return the list, set or dictionary that ``node`` changes, if it does."""
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return node.value
    method = node.func if isinstance(node, ast.Call) else None
    return method.value if isinstance(method, ast.Attribute) and method.attr in _FILLS else None


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
    # ruff: ignore[blind-except]: importing runs the user's module, which may raise anything; the
    # function may never get to that import, and raises the same itself where it does.
    except Exception:
        return None
