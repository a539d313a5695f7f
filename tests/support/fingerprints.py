"""Small tasks, their keys, and the check of the words for a change."""

from __future__ import annotations

import importlib
import re
import sys
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.signatures import make_signature

from pytest_mipro import fingerprint
from pytest_mipro.fingerprint import described_once, prompts_key, task_fingerprint
from pytest_mipro.task import Dataset, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path
    from types import ModuleType
    from typing import TypeAlias

    from pytest_mipro.fingerprint import Fingerprint

    Load: TypeAlias = Callable[[Mapping[str, str]], ModuleType]


QUESTION_ANSWERED = make_signature("question -> answer")
"""A signature that is made once, as that takes longer than the key of a task."""


class Question(dspy.Signature):
    """Answer the question."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


class Library(dspy.Module):
    """Holds documents."""

    def __init__(self, pages: list[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.say = dspy.Predict(QUESTION_ANSWERED)
        self.pages = pages


def changes_between(original: Fingerprint, current: Fingerprint) -> list[str]:
    """Return in words what changed, without locations in files."""
    return [
        re.sub(r" \(\w+\.py:\d+\)$", "", change) for change in current.changes_since(original.parts)
    ]


def assert_changes(original: Fingerprint, current: Fingerprint, *expected: str) -> None:
    """Check the words for the changes, and that the key changed if and only if there are any."""
    assert sorted(changes_between(original, current)) == sorted(expected)
    assert (original.key == current.key) == (not expected)


def evaluation_key(task: Task) -> str:
    """Return the key that all rows of ``task`` share."""
    return fingerprint.evaluation_key(
        task.program, task.metric, task.lm, task.adapter, task.version
    )


def predictions_key(task: Task) -> str:
    """Return the key that all predictions of ``task`` share."""
    return fingerprint.predictions_key(task.program, task.lm, task.adapter, task.version)


def keys_of_task_and_rows(task: Task) -> tuple[str, str]:
    """Return the key of ``task`` and that of its rows, from one walk through the program."""
    with described_once():
        return task_fingerprint(task).key, evaluation_key(task)


@contextmanager
def loading(folder: Path) -> Generator[Load]:
    """Give a function that writes files to a new folder and imports the last of them."""
    imported: set[str] = set()
    versions = count(1)

    def forget() -> None:
        for name in imported:
            sys.modules.pop(name, None)
            sys.modules.pop(name.partition(".")[0], None)  # a namespace package has no file

    with pytest.MonkeyPatch.context() as monkeypatch:

        def write_and_import(files: Mapping[str, str]) -> ModuleType:
            version = folder / f"version {next(versions)}"
            for name, text in files.items():
                path = version / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            forget()
            # Not syspath_prepend, which makes Python look into all folders again.
            monkeypatch.setattr(sys, "path", [str(version), *sys.path])
            imported.update(_module_name(name) for name in files)
            return importlib.import_module(_module_name(list(files)[-1]))

        try:
            yield write_and_import
        finally:
            forget()


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def all_keys(task: Task) -> list[str]:
    """Return the keys of ``task``, of its rows, of its predictions and of its prompts."""
    return [
        task_fingerprint(task).key,
        evaluation_key(task),
        predictions_key(task),
        prompts_key(task.program),
    ]


def simple_task(metric: Any, program: dspy.Module | None = None, **changes: Any) -> Task:
    """Return a small task with ``metric``."""
    rows = [dspy.Example(question=f"{n}", answer="yes").with_inputs("question") for n in range(3)]
    lm = dspy.LM("openai/gpt-test")
    return Task(
        name="small",
        test="test_small.py::test_small",
        program=program or dspy.Predict(QUESTION_ANSWERED),
        metric=metric,
        dataset=Dataset((rows[0],), (rows[1],), (rows[2],)),
        lm=lm,
        prompt_lm=lm,
        **changes,
    )


def holding(value: object) -> Any:
    """Return a metric with ``value`` in its closure."""

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        return bool(prediction.answer == value)

    return metric


def length(example: dspy.Example, prediction: Any, trace: object = None) -> int:
    """Return the number of characters of an answer."""
    return len(prediction.answer)
