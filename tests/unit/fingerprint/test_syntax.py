from __future__ import annotations

import ast
import json
import warnings
from typing import TYPE_CHECKING

import pytest
from recorded_keys import CODE, RECORDED, code_of, recorded_names

from pytest_mipro.fingerprint import metric_key
from pytest_mipro.fingerprint.syntax import definitions_in, dotted_name, tree_digest

if TYPE_CHECKING:
    from fingerprints import Load

KEYS = json.loads(RECORDED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", recorded_names())
def test_key_is_the_same_on_every_python(load: Load, name: str) -> None:
    """A metric has the key that was recorded, on whichever Python."""
    assert metric_key(load(code_of(name)).metric) == KEYS[name]


def test_no_key_is_recorded_in_vain() -> None:
    """All code has a recorded key, and all recorded keys have code."""
    assert KEYS.keys() == set(recorded_names())


@pytest.mark.parametrize("name", CODE)
def test_formatting_changes_no_digest(name: str) -> None:
    """Comments, blank lines and the spaces between tokens are no part of a digest."""
    tree = ast.parse(CODE[name])
    spaced = CODE[name].replace("\n    return ", "\n\n    # A comment.\n    return  ")

    assert tree_digest(ast.parse(spaced)) == tree_digest(tree)


@pytest.mark.parametrize(
    "first, second",
    [
        ("f'{a}b'", "f'{a}' 'b'"),
        ("f'{a:{b}}'", 'f"{a:{b}}"'),
        ("u'a'", "'a'"),
        ("'a' 'b'", "'ab'"),
        ("(1, 2)", "1, 2"),
        ("0x10", "16"),
        ("a if (b) else c", "a if b else c"),
    ],
)
def test_spellings_of_an_expression_have_one_digest(first: str, second: str) -> None:
    """Expressions that Python reads alike have the same digest."""
    assert tree_digest(ast.parse(first)) == tree_digest(ast.parse(second))


@pytest.mark.parametrize(
    "first, second",
    [
        ("f'{a}'", "f'{a!s}'"),
        ("f'{a}'", "f'{a:}'"),
        ("'1'", "1"),
        ("1", "1.0"),
        ("1", "True"),
        ("b'a'", "'a'"),
        ("0.0", "-0.0"),
        ("lambda a, b=1: a", "lambda a=1, *, b: a"),
        ("a[b, c]", "a[b][c]"),
        ("[a, [b]]", "[[a], b]"),
        ("a < b < c", "(a < b) < c"),
        ("a.b", "b.a"),
        ("f(a, b=c)", "f(a, c)"),
        ("'\\ud800'", "'\\udfff'"),
    ],
)
def test_different_expressions_have_different_digests(first: str, second: str) -> None:
    """Expressions that may have different values have different digests."""
    assert tree_digest(ast.parse(first)) != tree_digest(ast.parse(second))


@pytest.mark.parametrize(
    "text, name",
    [("a", "a"), ("a.b.c", "a.b.c"), ("a().b", ""), ("a[0].b", ""), ("'a'", "")],
)
def test_dotted_name(text: str, name: str) -> None:
    """Only names and their attributes have a dotted name."""
    assert dotted_name(ast.parse(text, mode="eval").body) == name


def test_definitions_have_paths() -> None:
    """Functions and classes have the path that Python gives them."""
    text = "class A:\n    @dec\n    def f(self):\n        class B: ...\n        return lambda: 1\n"

    definitions = definitions_in(text)

    assert definitions.functions["f", 2][0] == "A.f"
    assert [*definitions.classes] == ["A", "A.f.<locals>.B"]
    assert [*definitions.lambdas] == [5]


def test_warnings_about_code_are_hidden() -> None:
    """Python warned when it imported the file, and a filter may make a warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        definitions = definitions_in("def f(a):\n    return a is 1, '\\d'\n")

    assert ("f", 1) in definitions.functions
