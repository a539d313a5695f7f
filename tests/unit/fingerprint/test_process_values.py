from __future__ import annotations

import datetime as dt
import os
import tempfile
import time
import uuid
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from fingerprints import holding, length, simple_task

from pytest_mipro.fingerprint import task_fingerprint
from pytest_mipro.fingerprint.process_values import process_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from fingerprints import Load

pytestmark = pytest.mark.uses("dspy", "pydantic")

NEW: dict[str, tuple[str, Callable[[], Any]]] = {
    "a UUID": ("a UUID", uuid.uuid4),
    "a UUID as text": ("a UUID", lambda: str(uuid.uuid4())),
    "a UUID's digits": ("a UUID", lambda: uuid.uuid4().hex),
    "the process": ("the number of the process", os.getpid),
    "seconds": ("the time", time.time),
    "whole seconds": ("the time", lambda: int(time.time())),
    "nanoseconds": ("the time", time.time_ns),
    "a date and time": ("the time", dt.datetime.now),
    "a date and time as text": ("the time", lambda: dt.datetime.now(dt.timezone.utc).isoformat()),
    "an address": ("an address in memory", lambda: repr(object())),
    "a temporary folder": ("a temporary path", lambda: f"{tempfile.gettempdir()}{os.sep}x7f3"),
}


@pytest.mark.parametrize("words, make", NEW.values(), ids=NEW)
def test_value_of_a_process_is_recognized(words: str, make: Callable[[], object]) -> None:
    """A value that is probably new in each process has words for what it is."""
    assert process_value(make()) == words


@pytest.mark.parametrize(
    "value",
    [
        *(0, 1, True, 3.5, 10**30, float("nan"), None, [], b"x" * 32),
        *("", "text", "2001-02-03T04:05:06", "z" * 32, "2" * 31),
        dt.datetime(2001, 2, 3, tzinfo=dt.timezone.utc),
    ],
)
def test_value_of_every_process_is_not_recognized(value: object) -> None:
    """Numbers, texts and old times have no words."""
    assert not process_value(value)


class Session(dspy.Module):
    def __init__(self, session: object) -> None:
        super().__init__()
        self.say = dspy.Predict("question -> answer")
        self.session = session


class Holder:  # ruff: ignore[class-as-data-structure]  # as users write them
    def __init__(self, value: object) -> None:
        self.value = value


@pytest.mark.parametrize(
    "wrap, label",
    [
        (lambda value: value, "self.session"),
        (lambda value: {"id": [value]}, "self.session"),
        (Holder, "self.session.value"),
    ],
)
@pytest.mark.parametrize("name", ["a UUID as text", "the process", "seconds"])
def test_attribute_that_is_new_in_each_process_is_named(
    name: str, wrap: Callable[[object], object], label: str
) -> None:
    """The words for the change name the attribute, what it is, and the way out."""
    words, make = NEW[name]
    earlier = task_fingerprint(simple_task(length, Session(wrap("of an earlier process"))))

    current = task_fingerprint(simple_task(length, Session(wrap(make()))))

    (change,) = current.changes_since(earlier.parts)
    assert change.startswith(
        f"attribute self.session changed: {label} is {words}, which may be new"
    )
    assert "functools.cached_property" in change


def test_value_of_a_metric_that_is_new_in_each_process_is_named() -> None:
    """A value in a closure is named, too."""
    earlier = task_fingerprint(simple_task(holding("of an earlier process")))

    (change,) = task_fingerprint(simple_task(holding(uuid.uuid4()))).changes_since(earlier.parts)

    assert change.startswith("value of value in metric changed: value in metric is a UUID, which")


def test_way_out_changes_no_key(load: Load) -> None:
    """A cached property is no part of the key, before and after its use."""
    code = (
        "import functools, uuid\nimport dspy\nclass Program(dspy.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.say = dspy.Predict('question -> answer')\n"
        "    @functools.cached_property\n    def session(self):\n        return uuid.uuid4()\n"
        "    def forward(self, question):\n        return self.session\n"
    )
    program = load({"user_code.py": code}).Program()
    key = task_fingerprint(simple_task(length, program)).key
    assert program.session

    assert task_fingerprint(simple_task(length, program)).key == key
