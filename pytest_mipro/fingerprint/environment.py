"""The variables of the environment that a function reads by name."""

from __future__ import annotations

import ast
import os
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_mipro.fingerprint.credentials import is_credential
from pytest_mipro.fingerprint.source import source_of
from pytest_mipro.fingerprint.syntax import dotted_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FunctionType

_MAPPING, _FUNCTION = "environ", "getenv"
_READING = (_FUNCTION, *(f"{_MAPPING}.{method}" for method in ("get", "pop", "setdefault")))
"""Functions whose first argument is the name of a variable."""


def variables_read(function: FunctionType) -> frozenset[str]:
    """Return the variables that ``function`` reads by a literal name, without credentials."""
    node = source_of(function).node
    return frozenset() if node is None else _variables_in(node, _other_names(function))


def _other_names(function: FunctionType) -> frozenset[tuple[str, str]]:
    """Return the globals of ``function`` that are the environment under other names."""
    originals = ((_MAPPING, os.environ), (_FUNCTION, os.getenv))
    return frozenset(
        (name, original)
        for name, value in function.__globals__.items()
        for original, item in originals
        if value is item
    )


@lru_cache(maxsize=512)  # a session describes the same few functions many times
def _variables_in(tree: ast.AST, other_names: frozenset[tuple[str, str]]) -> frozenset[str]:
    reading = _Reading({**dict(other_names), **dict(_bound_in(tree))})
    names = (reading.name_in(node) for node in ast.walk(tree))
    values = (name.value for name in names if isinstance(name, ast.Constant))
    return frozenset(name for name in values if isinstance(name, str) and not is_credential(name))


def _bound_in(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the names that assignments and imports in ``tree`` give to the environment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from ((item.asname, item.name) for item in node.names if item.asname)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            original = dotted_name(node.value).rpartition(".")[2]
            if original in {_MAPPING, _FUNCTION}:
                yield from ((item.id, original) for item in targets if isinstance(item, ast.Name))


class _Reading:
    """Expressions that read the environment, which may have other names there."""

    def __init__(self, other_names: Mapping[str, str]) -> None:
        self._other_names = other_names

    def name_in(self, node: ast.AST) -> ast.expr | None:
        """Return the expression for the name of the variable that ``node`` reads, if it does."""
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            return node.slice if self._ends_in(node.value, _MAPPING) else None
        if isinstance(node, ast.Compare):
            is_membership = isinstance(node.ops[0], ast.In | ast.NotIn)
            is_read = is_membership and self._ends_in(node.comparators[0], _MAPPING)
            return node.left if is_read else None
        if isinstance(node, ast.Call) and any(self._ends_in(node.func, name) for name in _READING):
            keyword = next((item.value for item in node.keywords if item.arg == "key"), None)
            return node.args[0] if node.args else keyword
        return None

    def _ends_in(self, node: ast.expr, name: str) -> bool:
        first, dot, rest = dotted_name(node).partition(".")
        return f".{self._other_names.get(first, first)}{dot}{rest}".endswith(f".{name}")
