from __future__ import annotations

import json
from collections import OrderedDict
from enum import Enum
from typing import Any

import dspy
import pytest
from fingerprints import Library, assert_changes, holding, length, simple_task
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.fingerprint import task_fingerprint
from pytest_mipro.fingerprint.plain_values import plain_text, values_in

pytestmark = pytest.mark.uses("dspy", "pydantic")

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
PLAIN = st.recursive(
    SCALARS, lambda items: st.lists(items) | st.dictionaries(st.text(), items), max_leaves=20
)


@given(st.lists(PLAIN) | st.dictionaries(st.text(), PLAIN))
def test_text_is_read_back(value: object) -> None:
    """A text has all of a container of plain values."""
    text = plain_text(value)

    assert text is not None
    assert json.loads(text) == value


class Word(str):  # ruff: ignore[subclass-builtin]  # as users do
    __slots__ = ()


class Label(str, Enum):
    GOOD = "good"


def containing_itself() -> list[Any]:
    """Return a list that is its own item."""
    value: list[Any] = []
    value.append([value])
    return value


@pytest.mark.parametrize(
    "value",
    [
        "text", 1, {1: "a"}, {None: 1}, [{1}], [b""], [object()], [Word("a")], [Label.GOOD],
        OrderedDict(a=1), {"a": OrderedDict(b=1)}, {Word("a"): 1}, [dspy.Example(a=1)],
        containing_itself(), [10**5000],
    ],
)  # fmt: skip
def test_other_values_have_no_text(value: object) -> None:
    """A text would not tell them from plain values, or does not exist."""
    assert plain_text(value) is None


def test_values_in_a_container() -> None:
    """Values at any depth are found, and names are not."""
    assert [*values_in({"a": [1, {"b": ("c", None)}], "d": []})] == [1, "c", None]


@given(first=PLAIN, second=PLAIN)
def test_plain_values_have_one_key_if_they_are_equal(first: object, second: object) -> None:
    """The keys of metrics with plain values differ if and only if the values' texts do."""
    keys = [task_fingerprint(simple_task(holding(value))).key for value in (first, second)]
    texts = [json.dumps(value, sort_keys=True) for value in (first, second)]

    assert (keys[0] == keys[1]) == (texts[0] == texts[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda pages: pages[77].update(text="another"),
        lambda pages: pages.pop(),
        lambda pages: pages.reverse(),
        lambda pages: pages.append({"id": 1.0}),
    ],
)
def test_each_document_counts(change: Any) -> None:
    """A change of one document among many is a change of the attribute."""
    pages = [{"id": number, "text": f"page {number}"} for number in range(100)]
    original = task_fingerprint(simple_task(length, Library(pages)))
    change(pages)

    current = task_fingerprint(simple_task(length, Library(pages)))

    assert_changes(original, current, "attribute self.pages changed")
