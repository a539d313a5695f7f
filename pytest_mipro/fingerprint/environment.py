"""The variables of the environment that a function reads by name, or by a text that it has."""

from __future__ import annotations

import ast
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_mipro.fingerprint.credentials import is_credential
from pytest_mipro.fingerprint.dependencies import closure_of, globals_of
from pytest_mipro.fingerprint.source import source_of
from pytest_mipro.fingerprint.syntax import dotted_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import FunctionType

_ORIGINALS = {
    name: item
    for module in (os, os.path)
    for name in ("environ", "environb", "getenv", "getenvb", "expandvars")
    if (item := getattr(module, name, None)) is not None  # Windows has no bytes there
}
_MAPPINGS = frozenset({"environ", "environb"})
_FUNCTIONS = frozenset({"getenv", "getenvb"})
_METHODS = frozenset({"get", "pop", "setdefault", "__getitem__", "__contains__"})
"""Methods of a mapping whose first argument is the name of a variable."""
_WHOLE = frozenset({"copy", "items", "keys", "values", "__iter__"})
"""Methods of a mapping that give more than one variable."""
_USED_BY_PARENT = (ast.Attribute, ast.Subscript, ast.Compare)
_CONTAINERS = (list, tuple, set, frozenset)
_LONGEST = 1000
"""Characters of the longest text that may be a name, or a template with some."""
_NAMES_IN_TEXT = re.compile(
    r"\$(\w+)|\$\{(\w+)|%\((\w+)\)|%(\w+)%|\{(\w+)|\A(\w+)\Z",
)
"""Names that a text stands for, or has for a template or for ``expandvars``."""


def variables_read(function: FunctionType) -> frozenset[str]:
    """Return the variables that ``function`` reads, without credentials.

    They are those that it reads by a literal name. If it takes the environment as a whole, or
    computes a name, they are also those that its texts and those of its variables name.
    """
    node = source_of(function).node
    if node is None:
        return frozenset()
    names, takes_more = _variables_in(node, _other_names(function))
    if takes_more:
        texts = [*_texts_in(node), *_texts_of(function)]
        names |= {name for name in _named_in(texts) if name in os.environ}
    return frozenset(name for name in names if not is_credential(name))


def _other_names(function: FunctionType) -> frozenset[tuple[str, str]]:
    """Return the globals of ``function`` that are the environment under other names."""
    return frozenset(
        (name, original)
        for name, value in function.__globals__.items()
        for original, item in _ORIGINALS.items()
        if value is item
    )


@lru_cache(maxsize=512)  # a session describes the same few functions many times
def _variables_in(
    tree: ast.AST, other_names: frozenset[tuple[str, str]]
) -> tuple[frozenset[str], bool]:
    """Return the variables read by a literal name, and whether others may be read, too."""
    reading = _Reading({**dict(other_names), **dict(_bound_in(tree))})
    names, takes_more = set(), False
    for parent in ast.walk(tree):
        name = reading.name_in(parent)
        if isinstance(name, ast.Constant) and isinstance(name.value, str | bytes):
            names.add(os.fsdecode(name.value))
        else:
            takes_more |= name is not None
        children = ast.iter_child_nodes(parent)
        takes_more |= any(reading.takes_more(child, parent) for child in children)
    return frozenset(names), takes_more


def _bound_in(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the names that assignments and imports in ``tree`` give to the environment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in {"os", "os.path"}:
            yield from ((item.asname, item.name) for item in node.names if item.asname)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value:
            original = dotted_name(node.value).rpartition(".")[2]
            if original in _ORIGINALS:
                yield from ((name, original) for name in _names_assigned(node))


def _names_assigned(node: ast.AST) -> list[str]:
    """Return the names that an assignment gives to its value; none if it gives another."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@lru_cache(maxsize=512)
def _texts_in(tree: ast.AST) -> frozenset[str]:
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return frozenset(_texts_among(constants))


def _texts_of(function: FunctionType) -> Iterator[str]:
    """Yield the texts of the variables that ``function`` uses, also those in a container."""
    for _, value in (*globals_of(function), *closure_of(function)):
        if isinstance(value, dict):
            yield from _texts_among((*value, *value.values()))
        yield from _texts_among(value if isinstance(value, _CONTAINERS) else [value])


def _texts_among(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str | bytes) and len(value) <= _LONGEST:
            yield os.fsdecode(value)


def _named_in(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for names in _NAMES_IN_TEXT.findall(text):
            yield from filter(None, names)


class _Reading:
    """Expressions that read the environment, which may have other names there."""

    def __init__(self, other_names: Mapping[str, str]) -> None:
        self._other_names = other_names

    def name_in(self, node: ast.AST) -> ast.expr | None:
        """Return the expression for the name of the variable that ``node`` reads, if it does."""
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            return node.slice if self._original(node.value) in _MAPPINGS else None
        if isinstance(node, ast.Compare):
            is_membership = isinstance(node.ops[0], ast.In | ast.NotIn)
            is_read = is_membership and self._original(node.comparators[0]) in _MAPPINGS
            return node.left if is_read else None
        if isinstance(node, ast.Call) and self._is_reader(node.func):
            keyword = next((item.value for item in node.keywords if item.arg == "key"), None)
            return node.args[0] if node.args else keyword
        return None

    def takes_more(self, node: ast.AST, parent: ast.AST) -> bool:
        """Whether ``node`` is the environment or a function of it that is used as a whole."""
        original = self._original(node)
        if original == "expandvars":
            return True
        if original in _MAPPINGS:
            is_renamed = bool(_names_assigned(parent))
            return not isinstance(parent, _USED_BY_PARENT) and not is_renamed
        is_called = isinstance(parent, ast.Call) and parent.func is node
        if original in _FUNCTIONS:
            return not is_called and not _names_assigned(parent)
        method = self._method(node)
        return method in _WHOLE or (method in _METHODS and not is_called)

    def _is_reader(self, node: ast.expr) -> bool:
        return self._original(node) in _FUNCTIONS or self._method(node) in _METHODS

    def _method(self, node: ast.AST) -> str:
        """Return the name of the method of the environment that ``node`` is; empty if none."""
        if not isinstance(node, ast.Attribute):
            return ""
        return node.attr if self._original(node.value) in _MAPPINGS else ""

    def _original(self, node: ast.AST) -> str:
        """Return which of the originals ``node`` is; another text if it is none."""
        name = dotted_name(node)
        return self._other_names.get(name, name.rpartition(".")[2])
