from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.dsp.utils.settings import DEFAULT_CONFIG
from fingerprints import (
    assert_changes,
    changes_between,
    evaluation_key,
    length,
    predictions_key,
    simple_task,
)

from pytest_mipro.fingerprint import task_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.uses("dspy", "pydantic")


class Shelf:
    """A retriever of the user."""

    def __init__(self, *pages: str) -> None:
        self.pages = pages

    def __call__(self, query: str, k: int = 1) -> list[str]:
        return list(self.pages[:k])


def code_runner() -> dspy.PythonInterpreter:
    """Return an interpreter."""
    return dspy.PythonInterpreter()


DECISIVE: dict[str, Any] = {
    "rm": Shelf("a"),
    "branch_idx": 1,
    "max_errors": 3,
    "allow_tool_async_sync_conversion": True,
    "interpreter_factory": code_runner,
    "threshold of the user": 0.5,
}
WITHOUT_EFFECT: dict[str, Any] = {
    "async_max_workers": 2,
    "callbacks": [object()],
    "caller_modules": [object()],
    "caller_predict": object(),
    "disable_history": True,
    "lm": dspy.LM("openai/unused"),
    "max_history_size": 5,
    "max_trace_size": 5,
    "num_threads": 2,
    "provide_traceback": True,
    "send_stream": object(),
    "stream_listeners": [object()],
    "trace": [1],
    "track_usage": True,
    "usage_tracker": object(),
    "warn_on_type_mismatch": False,
}


def test_all_settings_are_in_the_tables() -> None:
    """A setting of a new DSPy decides results until a table says that it does not."""
    assert DEFAULT_CONFIG.keys() <= {"adapter", *DECISIVE, *WITHOUT_EFFECT}


@pytest.mark.parametrize("name", DECISIVE)
def test_decisive_setting_is_part_of_the_keys(name: str) -> None:
    """A setting that a program can read and act on changes all keys of results."""
    task = simple_task(length)
    original = task_fingerprint(task)
    row_key, answer_key = evaluation_key(task), predictions_key(task)

    with dspy.context(**{name: DECISIVE[name]}):
        changes = changes_between(original, task_fingerprint(task))
        assert f"DSPy setting {name} added" in changes
        assert evaluation_key(task) != row_key
        assert predictions_key(task) != answer_key


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_other_setting_changes_no_key(name: str) -> None:
    """What DSPy keeps, shows or does at once decides no result; the model is the task's."""
    task = simple_task(length)
    original, row_key = task_fingerprint(task), evaluation_key(task)

    with dspy.context(**{name: WITHOUT_EFFECT[name]}):
        assert task_fingerprint(task).key == original.key
        assert evaluation_key(task) == row_key


@pytest.mark.parametrize("make", [Shelf, dspy.ColBERTv2], ids=["of the user", "of DSPy"])
def test_content_of_a_setting_is_part_of_the_key(make: Callable[[str], object]) -> None:
    """A retriever counts by what it holds."""
    fingerprints = []
    for text in ("a", "a", "b"):
        with dspy.context(rm=make(text)):
            fingerprints.append(task_fingerprint(simple_task(length)))

    assert_changes(fingerprints[0], fingerprints[1])
    assert_changes(fingerprints[0], fingerprints[2], "DSPy setting rm changed")


def test_adapter_of_the_settings_is_the_one_of_a_task_without() -> None:
    """Rows are asked through DSPy's adapter, unless the task has one."""
    task = simple_task(length)
    own = simple_task(length, adapter=dspy.ChatAdapter())
    original = task_fingerprint(task)

    with dspy.context(adapter=dspy.JSONAdapter()):
        assert_changes(original, task_fingerprint(task), "adapter changed")
        assert_changes(
            task_fingerprint(simple_task(length, adapter=dspy.JSONAdapter())),
            task_fingerprint(task),
        )
        in_context = task_fingerprint(own)
    assert_changes(task_fingerprint(own), in_context)
