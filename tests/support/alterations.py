"""Alterations of the task in ``ticket_project``, with the words for the changes of its key."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dspy
from dspy import lm15

from pytest_mipro.task import Budget, Dataset, ExecutorSource, Options

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


def _make_metric(weight: int) -> Any:
    return sys.modules["user_code"].make_metric(weight)


ALTERATIONS: dict[str, tuple[tuple[str, ...], Alter]] = {
    "nothing": ((), of_task()),
    "name": ((), of_task(name="other")),
    "test": ((), of_task(test="test_other.py::test_other")),
    "threads": ((), of_task(threads=1)),
    "executor": ((), of_task(executor=ExecutorSource.of(ThreadPoolExecutor))),
    "repeat": ((), of_task(repeat=3)),
    "cluster": ((), of_task(cluster="queue")),
    "alpha spending": ((), of_task(alpha_spending=True)),
    "sequential": ((), of_task(sequential=True)),
    "budget": ((), of_task(budget=Budget(lm_calls=3))),
    "option": (("option seed changed",), of_task(options=Options(seed=3))),
    "metric": (
        ("value of weight in metric changed",),
        lambda task, _: replace(task, metric=_make_metric(2)),
    ),
    "metric made again": (
        (),
        lambda task, _: replace(task, metric=_make_metric(1)),
    ),
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
        of_rows(lambda task, rows: {"val": [*task.dataset.val, *rows(30, 31)]}),
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
        of_rows(lambda task, rows: {"test": [*task.dataset.test, *rows(40, 41)]}),
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
    "header of a gateway": (("model changed",), of_lm(headers={"X-Config": "two"})),
    "query": (("model changed",), of_lm(extra_query={"deployment": "two"})),
    "credential in the query": ((), of_lm(extra_query={"api-key": "two"})),
    "query of the endpoint": (
        ("model changed",),
        of_lm(api_base="https://one.example/v1?deployment=two"),
    ),
    "organization": ((), of_lm(organization="two")),
    "role of instructions": (("model changed",), of_lm(use_developer_role=True)),
    "finetuning": ((), of_lm(train_kwargs={"epochs": 1})),
    "callbacks of the model": ((), of_lm(callbacks=[print])),
    "cache of the provider": ((), of_lm(prompt_cache=lm15.CacheConfig())),
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

FIELDS: dict[str, tuple[str, ...]] = {
    "name": ("name",),
    "test": ("test",),
    "program": ("attribute of the program", "instruction", "demo", "model of a predictor"),
    "metric": ("metric", "metric made again"),
    "dataset": ("train row added", "val row added", "test row added"),
    "lm": ("model", "temperature", "api key"),
    "prompt_lm": ("prompt model",),
    "teacher": (),  # in a test of its own
    "teacher_lm": ("teacher model",),
    "adapter": ("adapter", "adapter attribute"),
    "options": ("option",),
    "optimizer": (),  # the same
    "alpha_spending": ("alpha spending",),
    "sequential": ("sequential",),
    "threads": ("threads",),
    "executor": ("executor",),
    "version": ("version",),
    "repeat": ("repeat",),
    "first_rollout": (),  # in the tests of rollouts
    "cluster": ("cluster",),
    "budget": ("budget",),
    "metric_name": (),  # in the tests of several metrics
    "further_metrics": (),  # the same
}
"""Alterations of each field of a task."""

INDEPENDENT: tuple[tuple[str, ...], ...] = (
    ("name", "test", "threads", "repeat", "cluster", "budget", "alpha spending", "sequential"),
    ("executor",),
    ("version",),
    ("option",),
    ("metric", "metric made again"),
    ("demo", "demo added", "demo as a dictionary"),
    ("traces", "history of the program"),
    ("instruction",),
    ("attribute of the program",),
    ("attribute of the program without content of its own",),
    ("model of a predictor",),
    ("train row added", "train rows added", "train row removed", "train rows reordered"),
    ("val row added", "val rows removed", "val rows reordered"),
    ("test row added", "test row removed", "test rows reordered", "test label corrected"),
    ("model", "temperature", "nested sampling parameter", "endpoint", "api key", "headers"),
    ("prompt model",),
    ("teacher model",),
    ("adapter", "adapter left out", "adapter attribute"),
)
"""Alterations of which one of each line can be made together."""
