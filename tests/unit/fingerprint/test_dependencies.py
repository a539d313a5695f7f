from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fingerprints import simple_task

from pytest_mipro.fingerprint import metric_key, task_fingerprint
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
