"""Alterations of the task in ``ticket_project``, with the words for the changes of its key."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.task import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import TypeAlias

    from pytest_mipro.task import Task

    Alter: TypeAlias = Callable[[Task, ModuleType], Task]
    """Returns another task; takes the task and the module that declares it."""


def of_program(change: Callable[[Any], object]) -> Alter:
    """Return an alteration that calls ``change`` with the program."""

    def alter(task: Task, _declared: ModuleType) -> Task:
        change(task.program)
        return task

    return alter


def of_lm(**changes: Any) -> Alter:
    """Return an alteration of the model's parameters."""
    return lambda task, declared: replace(task, lm=declared.lm(**changes))


def of_rows(change: Callable[[Task, Any], dict[str, list[dspy.Example]]]) -> Alter:
    """Return an alteration that replaces splits; ``change`` returns them by name."""

    def alter(task: Task, declared: ModuleType) -> Task:
        rows = {**vars(task.dataset), **change(task, declared.rows)}
        train, val, test = (tuple(rows[split]) for split in ("train", "val", "test"))
        return replace(task, dataset=Dataset(train, val, test))

    return alter


def relabelled(rows: tuple[dspy.Example, ...]) -> list[dspy.Example]:
    """Return ``rows`` with another label for the first."""
    return [rows[0].copy(queue="legal"), *rows[1:]]


def of_task(**changes: Any) -> Alter:
    """Return an alteration of the task's own fields."""
    return lambda task, _: replace(task, **changes)


ALTERATIONS: dict[str, tuple[tuple[str, ...], Alter]] = {
    "nothing": ((), of_task()),
    "name": ((), of_task(name="other")),
    "test": ((), of_task(test="test_other.py::test_other")),
    "threads": ((), of_task(threads=1)),
    "demo": (
        ("demos of classify changed",),
        of_program(lambda program: setattr(program.classify.demos[0], "queue", "sales")),
    ),
    "demo added": (
        ("demos of classify changed",),
        of_program(lambda program: program.classify.demos.append(dspy.Example(ticket="Hi"))),
    ),
    "demo as a dictionary": (
        (),
        of_program(
            lambda program: setattr(
                program.classify, "demos", [{"ticket": "Invoice?", "queue": "billing"}]
            )
        ),
    ),
    "traces": ((), of_program(lambda program: program.classify.traces.append({"seen": 1}))),
    "instruction": (
        ("instruction of classify changed",),
        of_program(
            lambda program: setattr(
                program.classify,
                "signature",
                program.classify.signature.with_instructions("Route it well."),
            )
        ),
    ),
    "attribute of the program": (
        ("attribute self.attempts changed",),
        of_program(lambda program: setattr(program, "attempts", 2)),
    ),
    "attribute of the program without content of its own": (
        ("attribute self.limit added",),
        of_program(lambda program: setattr(program, "limit", float("inf"))),
    ),
    "history of the program": (
        (),
        of_program(lambda program: program.history.append({"prompt": "asked before"})),
    ),
    "model of a predictor": (
        ("model of classify changed",),
        of_program(lambda program: setattr(program.classify, "lm", dspy.LM("openai/own"))),
    ),
    "train row added": (
        ("1 train row added",),
        of_rows(lambda task, rows: {"train": [*task.dataset.train, *rows(20, 21)]}),
    ),
    "train rows added": (
        ("3 train rows added",),
        of_rows(lambda task, rows: {"train": [*task.dataset.train, *rows(20, 23)]}),
    ),
    "train row removed": (
        ("1 train row removed",),
        of_rows(lambda task, _: {"train": list(task.dataset.train[:-1])}),
    ),
    "train label corrected": (
        ("1 train row added", "1 train row removed"),
        of_rows(lambda task, _: {"train": relabelled(task.dataset.train)}),
    ),
    "train rows reordered": (
        ("4 train rows moved",),
        of_rows(lambda task, _: {"train": list(task.dataset.train[::-1])}),
    ),
    "val row added": (
        ("1 val row added",),
        of_rows(lambda task, rows: {"val": [*task.dataset.val, *rows(20, 21)]}),
    ),
    "val rows removed": (
        ("2 val rows removed",),
        of_rows(lambda task, _: {"val": list(task.dataset.val[:1])}),
    ),
    "val rows reordered": (
        ("2 val rows moved",),
        of_rows(lambda task, _: {"val": list(task.dataset.val[::-1])}),
    ),
    "test row added": (
        (),
        of_rows(lambda task, rows: {"test": [*task.dataset.test, *rows(20, 21)]}),
    ),
    "test row removed": ((), of_rows(lambda task, _: {"test": list(task.dataset.test[1:])})),
    "test rows reordered": ((), of_rows(lambda task, _: {"test": list(task.dataset.test[::-1])})),
    "test label corrected": ((), of_rows(lambda task, _: {"test": relabelled(task.dataset.test)})),
    "model": (("model changed",), of_lm(model="openai/gpt-other")),
    "model type": (("model changed",), of_lm(model_type="responses")),
    "temperature": (("model changed",), of_lm(temperature=0.3)),
    "max_tokens": (("model changed",), of_lm(max_tokens=200)),
    "top_p": (("model changed",), of_lm(top_p=0.9)),
    "stop": (("model changed",), of_lm(stop=["\n"])),
    "nested sampling parameter": (("model changed",), of_lm(extra_body={"min_p": 0.1})),
    "endpoint": (("model changed",), of_lm(api_base="https://two.example/v1")),
    "endpoint's path": (("model changed",), of_lm(api_base="https://one.example/v2")),
    "endpoint's port": (("model changed",), of_lm(api_base="https://one.example:8000/v1")),
    "provider": (("model changed",), of_lm(custom_llm_provider="groq")),
    "api key": ((), of_lm(api_key="two")),
    "key in the endpoint": ((), of_lm(api_base="https://me:two@one.example/v1?key=two")),
    "headers": ((), of_lm(headers={"Authorization": "Bearer two"})),
    "timeout": ((), of_lm(timeout=3)),
    "retries": ((), of_lm(num_retries=0)),
    "response cache": ((), of_lm(cache=False)),
    "prompt model": (
        ("prompt model changed",),
        lambda task, declared: replace(task, prompt_lm=declared.lm(temperature=1.0)),
    ),
    "teacher model": (
        ("teacher model changed",),
        lambda task, declared: replace(task, teacher_lm=declared.lm()),
    ),
    "adapter": (("adapter changed",), of_task(adapter=dspy.JSONAdapter())),
    "adapter left out": (("adapter changed",), of_task(adapter=None)),
    "adapter attribute": (
        ("adapter changed",),
        of_task(adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)),
    ),
    "version": (("declared version changed",), of_task(version="2")),
}
"""The words for the changes of the key, and the alteration, by name."""
