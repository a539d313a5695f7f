"""The code speaks plain English: names say what they hold, sentences what the code does."""

from __future__ import annotations

import ast
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("pytest_mipro", "tests", "benchmarks", "examples", "docs", ".ci")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

PRONOUNS = frozenset(
    {
        # They say that there is something, not what it is.
        "after", "all_of_it", "anything", "asked", "before", "both", "each", "else_", "ever",
        "everything", "found", "gave", "given", "got", "had", "kept", "known", "made", "meant",
        "one", "ones", "other", "others", "said", "seen", "some", "something", "such", "taken",
        "them", "these", "those", "told", "wanted", "was", "what", "whatever", "which", "who",
        "whoever",
    }
)  # fmt: skip
ALLOWED = {
    "other": {"__add__", "__sub__", "__eq__", "__lt__"},  # the name in Python's data model
}
"""A pronoun, and the functions whose parameter it may be."""
DIALECT = re.compile(
    r"\b(whoever|whatever it|lest|presumably|take(?:s|n)? note of|is at it|doorbells?|"
    r"once and for all|what there is of|for ever)\b",
    re.IGNORECASE,
)
THIS = Path(__file__)


def shown(path: Path) -> str:
    """Return a path as a test's name has it."""
    return path.relative_to(ROOT).as_posix()


def identifiers(tree: ast.Module) -> list[tuple[int, str, str]]:
    """Return each name that a module gives to something: its line, itself, its function."""
    names: list[tuple[int, str, str]] = []

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append((node.lineno, node.name, function))
            function = node.name
        elif isinstance(node, ast.arg):
            names.append((node.lineno, node.arg, function))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append((node.lineno, node.id, function))
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(tree, "")
    return names


def texts(path: Path) -> list[tuple[int, str]]:
    """Return the comments and the texts of a module, with their lines."""
    with path.open("rb") as file:
        return [
            (token.start[0], token.string)
            for token in tokenize.tokenize(file.readline)
            if token.type in {tokenize.COMMENT, tokenize.STRING}
        ]


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_names_say_what_they_hold(path: Path) -> None:
    """No variable, parameter, function or class is called by a pronoun."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    pronouns = [
        f"{line}: {name}"
        for line, name, function in identifiers(tree)
        if name.strip("_") in PRONOUNS and function not in ALLOWED.get(name, set())
    ]
    assert pronouns == []


@pytest.mark.parametrize("path", [path for path in FILES if path != THIS], ids=shown)
def test_sentences_are_plain(path: Path) -> None:
    """No comment, docstring or message speaks a dialect of its own."""
    matches = [
        f"{line}: {match[0]}" for line, text in texts(path) if (match := DIALECT.search(text))
    ]
    assert matches == []
