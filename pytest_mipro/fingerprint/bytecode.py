"""The code that Python runs: its bytecode, and the code that a file's text compiles to."""

from __future__ import annotations

import ast
import sys
from functools import lru_cache
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import TYPE_CHECKING, TypeAlias

from pytest_mipro.canonical import JSON, canonical_json
from pytest_mipro.fingerprint.syntax import constant, lambdas_on, parsed, without_warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FunctionType

    Rewrite: TypeAlias = Callable[[ast.Module, bytes, str], None]
    """Changes the tree of a file as an import does; takes the file's text and path, too."""

_SHIFT = 100_000
"""More lines than a file has."""
_rewrites: dict[type, Rewrite | None] = {SourceFileLoader: None}


def add_loader(loader: type, rewrite: Rewrite) -> None:
    """Let modules of ``loader`` count as those of a file whose tree ``rewrite`` changes."""
    _rewrites[loader] = rewrite


def is_compiled_from_file(namespace: Mapping[str, object]) -> bool:
    """Whether the code of a module is known to be what its file compiles to."""
    return type(namespace.get("__loader__")) in _rewrites


def is_from_other_text(namespace: Mapping[str, object], text: str) -> bool:
    """Whether Python takes the code of a module from a compiled file that is not of its text.

    Of a test file it does not: pytest compares the texts themselves.
    """
    loader = namespace.get("__loader__")
    return type(loader) is SourceFileLoader and _is_from_other_text(loader, text)


@lru_cache(maxsize=512)
def _is_from_other_text(loader: SourceFileLoader, text: str) -> bool:
    try:
        code = loader.get_code(loader.name)
    except (ImportError, OSError, SyntaxError):
        return False
    return code is not None and bytecode(code) != bytecode(_compiled(text, loader.path))


def compiled_code_of(function: FunctionType, text: str) -> CodeType | None:
    """Return the code in ``text``, the function's file, that equals the function's code.

    Raises:
        SyntaxError: The text is no Python.
    """
    code = function.__code__
    rewrite = _rewrites.get(type(function.__globals__.get("__loader__")))
    codes = _codes_in(text, code.co_filename, rewrite).get(code.co_name, ())
    # The nearest: the lines above may have changed, and a file may have equal functions.
    nearest = sorted(codes, key=lambda item: abs(item.co_firstlineno - code.co_firstlineno))
    return next((item for item in nearest if bytecode(item) == bytecode(code)), None)


def lambda_index(code: CodeType, text: str, line: int) -> int | None:
    """Return the place of a lambda's code among the lambdas that begin on ``line``."""
    tree = parsed(text)
    # Code has its first line only: give each lambda a line of its own.
    for index, node in enumerate(lambdas_on(line, tree), start=1):
        _move(node, index * _SHIFT - node.lineno)
    candidates = _nested(_compiled(tree, code.co_filename))
    matches = (item for item in candidates if bytecode(item) == bytecode(code))
    lines = (divmod(item.co_firstlineno, _SHIFT) for item in matches)
    return next((index - 1 for index, rest in lines if index and not rest), None)


def _move(node: ast.AST, lines: int) -> None:
    for part in ast.walk(node):
        if isinstance(part, ast.expr | ast.arg | ast.keyword):
            part.lineno = part.end_lineno = part.lineno + lines


def bytecode(code: CodeType) -> JSON:
    """Return everything in ``code`` that decides what it does, without lines and paths."""
    names: list[JSON] = [
        *(code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        *(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
    ]
    constants = [_constant(value) for value in code.co_consts]
    handlers = getattr(code, "co_exceptiontable", b"").hex()  # since Python 3.11
    return [code.co_code.hex(), constants, names, handlers, sys.version_info.minor]


@lru_cache(maxsize=64)
def _codes_in(text: str, path: str, rewrite: Rewrite | None) -> dict[str, list[CodeType]]:
    source: str | ast.Module = text
    if rewrite is not None:
        source = parsed(text)
        rewrite(source, text.encode("utf-8", "surrogatepass"), path)
    codes: dict[str, list[CodeType]] = {}
    for code in _nested(_compiled(source, path)):
        codes.setdefault(code.co_name, []).append(code)
    return codes


def _compiled(source: str | ast.Module, path: str) -> CodeType:
    with without_warnings():
        return compile(source, path, "exec", dont_inherit=True)


def _nested(code: CodeType) -> Iterator[CodeType]:
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield value
            yield from _nested(value)


def _constant(value: object) -> JSON:
    if isinstance(value, CodeType):
        return bytecode(value)
    if isinstance(value, tuple):
        return ["tuple", *map(_constant, value)]
    if isinstance(value, frozenset):
        return ["frozenset", *sorted(map(_constant, value), key=canonical_json)]
    return constant(value)
