"""The syntax trees of files: their digests, and the definitions in them.

A digest is the same for the same code on every Python. Comments, blank lines and formatting
change nothing; names and strings do.
"""

from __future__ import annotations

import ast
import hashlib
import json
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
Definition: TypeAlias = "Function | ast.ClassDef | ast.Lambda"

_OMITTED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Fields that say what other fields say, how a text is written, or a comment."""


@lru_cache(maxsize=512)  # a session digests the same few functions many times
def tree_digest(node: ast.AST) -> str:
    """Return the digest of the code that ``node`` is the tree of."""
    text = json.dumps(list(_tokens(node)), separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


@dataclass(frozen=True)
class Definitions:
    """The definitions in a file.

    Attributes:
        functions: The functions with their paths, by name and first line.
        classes: The classes by path; a file may define several of one path.
        lambdas: The lambdas by line.
    """

    functions: dict[tuple[str, int], tuple[str, Function]] = field(default_factory=dict)
    classes: dict[str, list[ast.ClassDef]] = field(default_factory=dict)
    lambdas: dict[int, list[ast.Lambda]] = field(default_factory=dict)


@contextmanager
def without_warnings() -> Generator[None]:
    """Hide the warnings about a file's code, which Python gave when it imported the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parsed(text: str) -> ast.Module:
    """Return the tree of a file with this text.

    Raises:
        SyntaxError: The text is no Python.
    """
    with without_warnings():
        return ast.parse(text)


@lru_cache(maxsize=64)
def definitions_in(text: str) -> Definitions:
    """Return the definitions in a file with this text.

    Raises:
        SyntaxError: The text is no Python.
    """
    definitions = Definitions()
    for qualname, node in _definitions(parsed(text)):
        if isinstance(node, ast.ClassDef):
            definitions.classes.setdefault(qualname, []).append(node)
        elif isinstance(node, ast.Lambda):
            definitions.lambdas.setdefault(node.lineno, []).append(node)
        else:
            definitions.functions[node.name, first_line(node)] = qualname, node
    return definitions


@lru_cache(maxsize=64)
def digests_in(text: str) -> frozenset[str]:
    """Return the digests of the functions and classes in a file; none if it is no Python."""
    try:
        definitions = definitions_in(text)
    except (SyntaxError, ValueError):
        return frozenset()
    functions = (node for _, node in definitions.functions.values())
    classes = (node for nodes in definitions.classes.values() for node in nodes)
    return frozenset(map(tree_digest, (*functions, *classes)))


def lambdas_on(line: int, tree: ast.Module) -> list[ast.Lambda]:
    """Return the lambdas that begin on a line, in the order of ``Definitions.lambdas``."""
    nodes = (node for _, node in _definitions(tree))
    return [node for node in nodes if isinstance(node, ast.Lambda) and node.lineno == line]


def first_line(node: Definition) -> int:
    """Return the number of the first line of a definition, its decorators included."""
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min(part.lineno for part in (node, *decorators))


def dotted_name(node: ast.AST) -> str:
    """Return the text of a name or of an attribute of one, such as ``self.words``, or nothing."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


def constant(value: object) -> list[str]:
    """Return the type and the text of a constant that is no container."""
    kind = type(value).__name__
    if isinstance(value, str):
        return [kind, value]  # not repr, which escapes what a Python cannot show
    if isinstance(value, bytes):
        return [kind, value.hex()]
    if isinstance(value, int):
        return [kind, hex(value)]  # Python limits the decimal digits of a text
    return [kind, repr(value)]


def _definitions(tree: ast.AST) -> Iterator[tuple[str, Definition]]:
    """Yield the definitions with their paths, from the top of the file to its end."""
    # Not recursive: an expression may be nested deeper than Python's limit of frames.
    pending = [(tree, "")]
    while pending:
        node, scope = pending.pop()
        if isinstance(node, ast.Lambda):
            yield scope, node
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield scope + node.name, node
            locals_ = "" if isinstance(node, ast.ClassDef) else "<locals>."
            scope = f"{scope}{node.name}.{locals_}"
        children = [(child, scope) for child in ast.iter_child_nodes(node)]
        pending += reversed(children)


def _tokens(tree: ast.AST) -> Iterator[object]:
    """Yield the nodes, the names and the constants in order, each with its number of parts."""
    pending: list[object] = [tree]
    while pending:
        value = pending.pop()
        if isinstance(value, ast.Constant):
            yield constant(value.value)
        elif isinstance(value, ast.AST):
            fields = list(_fields(value))
            yield [type(value).__name__, [name for name, _ in fields]]
            pending += [part for _, part in reversed(fields)]
        elif isinstance(value, list):
            yield len(value)
            pending += reversed(value)
        else:  # a name, or one of the values below
            yield value if isinstance(value, str) else repr(value)


def _fields(node: ast.AST) -> Iterator[tuple[str, object]]:
    """Yield the fields of ``node`` that hold something; a later Python may have further ones."""
    for name, value in ast.iter_fields(node):
        part = list(_merged(node.values)) if isinstance(node, ast.JoinedStr) else value
        if name not in _OMITTED_FIELDS and part is not None and part != []:
            yield name, part


def _merged(parts: Iterable[ast.expr]) -> Iterator[ast.expr]:
    """Yield the parts of an f-string; Python versions split and end its texts differently."""
    text = ""
    for part in parts:
        if isinstance(part, ast.Constant):
            text += str(part.value)
            continue
        if text:
            yield ast.Constant(text)
        text = ""
        yield part
    if text:
        yield ast.Constant(text)
