from __future__ import annotations

import importlib
import textwrap
from typing import TYPE_CHECKING, Any, ClassVar

import dspy
import pytest
from fingerprints import simple_task
from growth import growing

from pytest_mipro.fingerprint import metric_key, task_fingerprint
from pytest_mipro.fingerprint.dependencies import replacements_in
from pytest_mipro.fingerprint.parts import Kind

if TYPE_CHECKING:
    from fingerprints import Load

pytestmark = pytest.mark.uses("dspy", "pydantic")


def test_inner_variable_hides_no_closure_value(load: Load) -> None:
    """An inner function's variable of the same name makes no memory of a closure value."""
    code = (
        "def make(word):\n    def metric(e, p, trace=None):\n        def inner():\n"
        "            def innermost():\n                return other\n"
        "            other = 1\n            return innermost\n"
        "        return other, inner\n    other = word\n    return metric\n"
    )
    make = load({"user_code.py": code}).make

    assert (
        task_fingerprint(simple_task(make("a"))).key != task_fingerprint(simple_task(make("b"))).key
    )


REPLACEMENT = "def replacement(*args, **kwargs):\n    return 'before'\n"
METRIC = (
    "import dspy, textwrap\ndef metric(e, p, trace=None):\n"
    "    return textwrap.dedent(''), dspy.Embedder(len)\n"
)


@pytest.mark.parametrize(
    "owner, name",
    [
        (textwrap, "dedent"),
        (dspy.Embedder, "__init__"),
        (dspy.Predict, "forward"),
        (dspy.Module, "__call__"),
        (dspy.ChatAdapter, "parse"),
        (dspy.Adapter, "__call__"),
        (dspy.BaseLM, "__call__"),
        (dspy.Example, "__getattr__"),
    ],
)
def test_function_in_the_place_of_an_installed_one_is_followed(
    load: Load, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    """A ``conftest.py`` may replace what the program uses, also without naming it."""

    def key(code: str) -> str:
        modules = load({"patches.py": code, "user_code.py": METRIC})
        replacement = importlib.import_module("patches").replacement
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, replacement)
            return task_fingerprint(simple_task(modules.metric)).key

    keys = [key(REPLACEMENT), key(REPLACEMENT), key(REPLACEMENT.replace("before", "after"))]
    own = task_fingerprint(simple_task(load({"user_code.py": METRIC}).metric)).key
    assert keys[0] == keys[1] != keys[2]
    assert own not in keys


def test_object_with_an_answer_to_any_name_has_a_key(load: Load) -> None:
    """Its class decides the answer."""
    code = (
        "class Any:\n    def __getattr__(self, name):\n        return 'before'\nANY = Any()\n"
        "def metric(e, p, trace=None):\n    return ANY.word\n"
    )
    key = metric_key(load({"user_code.py": code}).metric)

    assert key != metric_key(load({"user_code.py": code.replace("before", "after")}).metric)


def test_class_of_the_standard_library_that_generates_methods_adds_none(load: Load) -> None:
    """The methods of a dataclass are made of its source, and differ between Pythons."""
    code = (
        "import dataclasses\n@dataclasses.dataclass\nclass Judge:\n    word: str = 'a'\n"
        "def metric(e, p, trace=None):\n    return Judge()\n"
    )

    parts = task_fingerprint(simple_task(load({"user_code.py": code}).metric)).parts

    assert [part.name for part in parts if part.kind is Kind.CODE] == ["user_code.Judge"]


def test_long_number_has_a_key(load: Load) -> None:
    """Python limits the digits of a number's text, and not those of a number."""
    code = f"def metric(e, p, trace=None):\n    return 0x{'f' * 5000}\n"

    assert metric_key(load({"user_code.py": code}).metric)


class Comparable(type):
    """A metaclass whose classes have no hash."""

    __hash__: ClassVar[None]  # type: ignore[assignment]  # as of a class that is compared

    def __eq__(cls, other: object) -> bool:
        return cls is other


class Value(metaclass=Comparable):
    """A value of such a class."""


def test_value_of_a_class_without_a_hash_replaces_no_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A class may have any value in the place of a function."""
    monkeypatch.setattr(dspy.Predict, "value", Value(), raising=False)

    assert [name for name, _ in replacements_in(dspy.Predict)] == []


def test_module_that_other_threads_change_is_looked_through() -> None:
    """They may import its parts meanwhile."""
    with growing(vars(dspy)):
        assert [*replacements_in(dspy)] == []
