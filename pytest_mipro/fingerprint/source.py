"""The source of functions and classes, compared with the code that runs."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, replace
from functools import cached_property, partialmethod
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from pytest_mipro.canonical import digest
from pytest_mipro.fingerprint.bytecode import (
    bytecode,
    compiled_code_of,
    is_compiled_from_file,
    is_from_other_text,
    lambda_index,
)
from pytest_mipro.fingerprint.imported_files import text_at_import, text_of
from pytest_mipro.fingerprint.syntax import definitions_in, digests_in, first_line, tree_digest

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator, Mapping

    from pytest_mipro.canonical import JSON
    from pytest_mipro.fingerprint.syntax import Definition, Definitions

Code: TypeAlias = FunctionType | type


@dataclass(frozen=True)
class SourceCode:
    """The source of a function or class.

    Attributes:
        content: The digest of the tree; the bytecode if the source is missing, and both if
            the source is not known to be that of the code.
        node: The tree; None if the source is missing or not that of the code.
        qualname: The path of the definition in its file, as in ``__qualname__``;
            empty for a lambda and without source.
        file: The path of the file; empty if there is none.
        first_line: The number of the first line, decorators included.
        last_line: The number of the last line.
        is_outdated: Whether the file has other code than the code that runs.
    """

    content: JSON
    node: ast.AST | None = None
    qualname: str = ""
    file: str = ""
    first_line: int = 0
    last_line: int = 0
    is_outdated: bool = False

    @property
    def location(self) -> str:
        """The ``file:line`` of the first line, or an empty string."""
        return f"{Path(self.file).name}:{self.first_line}" if self.file else ""

    def contains(self, source: SourceCode) -> bool:
        """Whether the lines of ``source`` are among these lines."""
        same_file = bool(self.file) and self.file == source.file
        starts_inside = self.first_line <= source.first_line
        return same_file and starts_inside and source.last_line <= self.last_line


_SOURCES: WeakKeyDictionary[Code, SourceCode] = WeakKeyDictionary()


def source_of(code: Code) -> SourceCode:
    """Return the source of ``code`` as it was at the first call."""
    source = _SOURCES.get(code)
    if source is None:
        source = _SOURCES[code] = _read(code)
    return source


def location_of(value: object) -> str:
    """Return ``file:line`` of a function or class, or an empty string."""
    code = inspect.unwrap(value) if callable(value) else value
    return source_of(code).location if isinstance(code, FunctionType | type) else ""


def path_of(code: Code) -> str:
    """Return the dotted path of a class or function."""
    # Python 3.13 alone has the classes of paths in a module of their own.
    module = "pathlib" if code.__module__ == "pathlib._local" else code.__module__
    return f"{module}.{code.__qualname__}"


def is_lambda(code: Code) -> bool:
    """Whether ``code`` is a lambda."""
    return isinstance(code, FunctionType) and code.__code__.co_name == "<lambda>"


def functions_of(cls: type) -> Iterator[FunctionType]:
    """Yield the functions in the body of ``cls``, those inside descriptors too."""
    for attribute in vars(cls).copy().values():
        for function in unwrapped(attribute):
            if isinstance(function, FunctionType):
                yield function


def unwrapped(attribute: object) -> Iterator[object]:
    """Yield the functions inside a descriptor of a class, or the attribute itself."""
    if isinstance(attribute, property):
        yield from (attribute.fget, attribute.fset, attribute.fdel)
    elif isinstance(attribute, staticmethod | classmethod):
        yield attribute.__func__
    elif isinstance(attribute, cached_property | partialmethod):
        yield attribute.func
    else:
        yield attribute


def _read(code: Code) -> SourceCode:
    """Read ``code`` from its file."""
    # Not with inspect, which follows functools.wraps to another function.
    file, text = text_of(_namespace_of(code), _file_of(code))
    try:
        definitions = definitions_in(text)
        if isinstance(code, type):
            source = _class_source(code, definitions, file)
        else:
            source = _function_source(code, definitions, file, text)
        return _compared(source, _namespace_of(code), text) if source.qualname else source
    except (SyntaxError, ValueError):  # a cell of a notebook may hold lines that are no Python
        return SourceCode(_bytecode_of(code))


def _function_source(
    function: FunctionType, definitions: Definitions, file: str, text: str
) -> SourceCode:
    if not file:
        return SourceCode(bytecode(function.__code__))
    code = compiled_code_of(function, text)
    if code is None:
        return _changed_source(function, definitions, file)
    qualname, node = _definition_of(code, definitions, text)
    if node is None:
        line = code.co_firstlineno
        return SourceCode(bytecode(code), None, "", file, line, line)
    return _source(qualname, node, file)


def _changed_source(function: FunctionType, definitions: Definitions, file: str) -> SourceCode:
    """Return the source of a function whose file has other code for it."""
    code = function.__code__
    line = code.co_firstlineno
    qualname, node = definitions.functions.get((code.co_name, line), ("", None))
    content = [bytecode(code), None if node is None else tree_digest(node)]
    last_line = line if node is None else node.end_lineno or line
    is_outdated = is_compiled_from_file(function.__globals__)
    return SourceCode(content, None, qualname, file, line, last_line, is_outdated)


def _definition_of(
    code: CodeType, definitions: Definitions, text: str
) -> tuple[str, Definition | None]:
    """Return the path and the tree of a function of a file by its code."""
    line = code.co_firstlineno
    if code.co_name != "<lambda>":
        return definitions.functions.get((code.co_name, line), ("", None))
    nodes = definitions.lambdas.get(line, [])
    index = 0 if len(nodes) == 1 else lambda_index(code, text, line)
    return "", None if index is None else nodes[index]


def _class_source(cls: type, definitions: Definitions, file: str) -> SourceCode:
    qualname = cls.__qualname__
    sources = [_source(qualname, node, file) for node in definitions.classes.get(qualname, ())]
    last = sources[-1] if sources else SourceCode(_bytecode_of(cls))
    return next((source for source in sources if _is_body(source, cls)), last)


def _compared(source: SourceCode, namespace: Mapping[str, object], text: str) -> SourceCode:
    """Return ``source`` as outdated if Python imported another definition than the file has."""
    if source.is_outdated or not is_compiled_from_file(namespace):
        return source
    imported = text_at_import(namespace, text)
    is_edited = imported != text and source.content not in digests_in(imported)
    if not is_edited and not is_from_other_text(namespace, text):
        return source
    return replace(source, content=[source.content, digest(imported)], is_outdated=True)


def _namespace_of(code: Code) -> Mapping[str, object]:
    if isinstance(code, FunctionType):
        return code.__globals__
    return vars(sys.modules.get(code.__module__, sys))


def _file_of(code: Code) -> str:
    return code.__code__.co_filename if isinstance(code, FunctionType) else ""


def _source(qualname: str, node: Definition, file: str) -> SourceCode:
    line = first_line(node)
    return SourceCode(tree_digest(node), node, qualname, file, line, node.end_lineno or line)


def _is_body(source: SourceCode, cls: type) -> bool:
    """Whether functions of ``cls`` are in the lines of ``source``."""
    # A file may define several classes of one name.
    lines = [
        source_of(function).first_line
        for function in functions_of(cls)
        if function.__code__.co_filename == source.file
        and function.__qualname__.startswith(cls.__qualname__)
    ]
    return any(source.first_line <= line <= source.last_line for line in lines)


def _bytecode_of(code: Code) -> JSON:
    if isinstance(code, FunctionType):
        return bytecode(code.__code__)
    return [[function.__qualname__, bytecode(function.__code__)] for function in functions_of(code)]
