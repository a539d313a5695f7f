from __future__ import annotations

import ast
import functools
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest
from fingerprints import length

from pytest_mipro.fingerprint import location_of
from pytest_mipro.fingerprint.source import path_of, source_of
from pytest_mipro.fingerprint.syntax import tree_digest

if TYPE_CHECKING:
    from fingerprints import Load

pytestmark = pytest.mark.uses("dspy", "pydantic")


def test_source_of_a_lambda_is_its_tree(load: Load) -> None:
    """The content of a lambda is that of its tree, not its bytecode, which Pythons change."""
    code = "metric = lambda e, p, trace=None: (  # a comment\n    e.answer == p.answer\n)\n"
    tree = ast.parse("lambda e, p, trace=None: e.answer == p.answer", mode="eval").body

    source = source_of(load({"user_code.py": code}).metric)

    assert source.content == tree_digest(tree)
    assert source.location == "user_code.py:1"


def test_path_is_the_same_on_every_python() -> None:
    """A class of paths has one path, wherever a Python defines it."""
    assert path_of(PurePosixPath) == "pathlib.PurePosixPath"


@pytest.mark.parametrize("value", [None, 3, "text", len, object()])
def test_location_of_a_value_without_source_is_empty(value: object) -> None:
    """Plain values, builtin functions and instances have no location."""
    assert not location_of(value)


def test_location_of_a_decorated_function_is_the_function() -> None:
    """The location is the line of the function, not of its decorator's wrapper."""
    line = length.__code__.co_firstlineno

    assert location_of(length) == f"fingerprints.py:{line}"
    assert location_of(functools.cache(length)) == location_of(length)
