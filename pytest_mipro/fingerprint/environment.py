"""The variables of the environment that a function reads by name."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_mipro.fingerprint.credentials import is_credential
from pytest_mipro.fingerprint.source import source_of
from pytest_mipro.fingerprint.syntax import dotted_name

if TYPE_CHECKING:
    from types import FunctionType

_MAPPING = "environ"
_READING = ("getenv", *(f"{_MAPPING}.{method}" for method in ("get", "pop", "setdefault")))
"""Functions whose first argument is the name of a variable."""


def variables_read(function: FunctionType) -> frozenset[str]:
    """Return the variables that ``function`` reads by a literal name, without credentials."""
    node = source_of(function).node
    return frozenset() if node is None else _variables_in(node)


@lru_cache(maxsize=512)  # a session describes the same few functions many times
def _variables_in(tree: ast.AST) -> frozenset[str]:
    names = (_name_of(node) for node in ast.walk(tree))
    values = (name.value for name in names if isinstance(name, ast.Constant))
    return frozenset(name for name in values if isinstance(name, str) and not is_credential(name))


def _name_of(node: ast.AST) -> ast.expr | None:
    """Return the expression for the name of the variable that ``node`` reads, if it does."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return node.slice if _ends_in(node.value, _MAPPING) else None
    if isinstance(node, ast.Compare):
        is_membership = isinstance(node.ops[0], ast.In | ast.NotIn)
        return node.left if is_membership and _ends_in(node.comparators[0], _MAPPING) else None
    if isinstance(node, ast.Call) and any(_ends_in(node.func, name) for name in _READING):
        keyword = next((item.value for item in node.keywords if item.arg == "key"), None)
        return node.args[0] if node.args else keyword
    return None


def _ends_in(node: ast.expr, name: str) -> bool:
    return f".{dotted_name(node)}".endswith(f".{name}")
