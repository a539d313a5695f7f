"""The memory of functions and instances: what they set and fill themselves as they run.

It is a counter, a cache or a model that is loaded on first use, and differs after every call.
"""

from __future__ import annotations

import ast
import dis
import inspect
from collections.abc import MutableMapping, MutableSequence, MutableSet
from functools import lru_cache
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, cast

from pytest_mipro.fingerprint.ownership import is_users
from pytest_mipro.fingerprint.source import source_of
from pytest_mipro.fingerprint.syntax import dotted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from typing import TypeAlias

    Select: TypeAlias = Callable[[ast.AST], ast.expr | None]

SET_GLOBAL, SET_CLOSURE, SET_ATTRIBUTE = "STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR"
"""Operations of bytecode that set a variable."""
_FILLING = {
    *("add", "append", "appendleft", "extend", "insert", "setdefault", "update"),
    *("__setitem__", "move_to_end"),
}
_EMPTYING = {"clear", "discard", "pop", "popitem", "popleft", "remove"}
"""Methods that add items to a list, a set or a dictionary, and that take items from it."""


def memory_of(cls: type, calls: Collection[str] = ("__call__",)) -> set[str]:
    """Return the attributes that an instance of ``cls`` sets or fills when it is called.

    What it only takes items from, such as a list of answers, decides what it does.

    Args:
        cls: A class.
        calls: The methods that are called from outside.
    """
    attributes: set[str] = set()
    for method in _methods_reached(cls, calls):
        instance = f"{next(iter(method.__code__.co_varnames), '')}."  # mostly "self."
        targets = {*_selected(method, _assigned_attribute), *_selected(method, _filled_container)}
        attributes.update(
            target.removeprefix(instance) for target in targets if target.startswith(instance)
        )
    return attributes


def names_in(code: CodeType) -> Iterator[str]:
    """Yield the names of globals and attributes in ``code``."""
    yield from code.co_names
    for nested in nested_in(code):
        yield from names_in(nested)


@lru_cache(maxsize=2048)  # disassembling is slow, and a compile describes its LMs at every call
def set_in(code: CodeType, operation: str) -> frozenset[str]:
    """Return the names that ``code`` sets by ``operation``."""
    # Without the constants, whose texts a disassembly makes: Python limits those of numbers.
    constants = (None,) * len(code.co_consts)
    names = {
        str(instruction.argval)
        for instruction in dis.get_instructions(code.replace(co_consts=constants))
        if instruction.opname == operation
    }
    if operation == SET_CLOSURE:
        # STORE_DEREF also sets the function's own variables that an inner function uses.
        names &= set(code.co_freevars)
    return frozenset(names).union(*(set_in(nested, operation) for nested in nested_in(code)))


def is_mutable(value: object) -> bool:
    """Whether ``value`` is a container; other objects have methods of the same names."""
    return isinstance(value, MutableSequence | MutableSet | MutableMapping)


def is_mutation(method: str) -> bool:
    """Whether a method of this name adds, replaces or removes items of a container."""
    return method in _FILLING | _EMPTYING


def mutated_by(function: FunctionType) -> frozenset[str]:
    """Return the expressions whose items ``function`` adds, replaces or removes."""
    return _selected(function, _mutated_container)


def nested_in(code: CodeType) -> Iterable[CodeType]:
    """Return the code of the functions that ``code`` defines."""
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


def _methods_reached(cls: type, calls: Collection[str]) -> Iterator[FunctionType]:
    """Yield the methods of the user that ``calls`` lead to."""
    visited: set[str] = set()
    pending = sorted(calls)
    while pending:
        name = pending.pop()
        method = inspect.getattr_static(cls, name, None)
        if name in visited or not isinstance(method, FunctionType) or not is_users(method):
            continue
        visited.add(name)
        yield method
        pending += sorted(names_in(method.__code__))


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
    return _container(node, (ast.Store, ast.Del), _FILLING | _EMPTYING)


def _filled_container(node: ast.AST) -> ast.expr | None:
    """Return the list, set or dictionary that ``node`` adds to, if it does."""
    return _container(node, (ast.Store,), _FILLING)


def _container(
    node: ast.AST, contexts: tuple[type, ...], methods: Collection[str]
) -> ast.expr | None:
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, contexts):
        return _outermost(node.value)
    method = node.func if isinstance(node, ast.Call) else None
    is_mutation = isinstance(method, ast.Attribute) and method.attr in methods
    return _outermost(cast("ast.Attribute", method).value) if is_mutation else None


def _outermost(container: ast.expr) -> ast.expr:
    """Return the container that ``container`` is an item of, at any depth, or itself."""
    while isinstance(container, ast.Subscript):
        container = container.value
    return container
