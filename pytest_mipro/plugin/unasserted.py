"""Find the verdicts that a test asks for and then drops, so that a FAIL would not fail it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERDICTS = frozenset({"beats_baseline", "no_regression", "costs_no_more"})
"""The methods of an outcome that return a verdict."""


def dropped_verdict_warning(function: object) -> str:
    """Return a warning about the first verdict that a test function drops; empty if there is none.

    A verdict that has a name is the test's own business, and so is a call that is to raise.
    """
    if not callable(function):  # a test of another kind
        return ""
    try:
        source, first_line = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(source)))
    except (OSError, SyntaxError, TypeError):  # a callable of another kind, or without a file
        return ""
    for statement in _statements(tree):
        call = statement.value
        method = call.func if isinstance(call, ast.Call) else None
        if isinstance(method, ast.Attribute) and method.attr in _VERDICTS:
            return (
                f"line {first_line + statement.lineno - 1} asks for {method.attr}() and asserts "
                f"nothing, so that a FAIL would not fail the test; write `assert "
                f"{ast.unparse(call)}`, or give the verdict a name if it is only to be shown"
            )
    return ""


def _statements(node: ast.AST) -> Iterator[ast.Expr]:
    """Yield the statements that are an expression, without those in ``with`` and ``try``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr):
            yield child
        elif not isinstance(child, ast.With | ast.AsyncWith | ast.Try):
            yield from _statements(child)
