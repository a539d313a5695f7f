from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import scripted_lm

from pytest_mipro import fingerprint
from pytest_mipro.errors import DeclarationError, FingerprintError
from pytest_mipro.fingerprint import (
    Fingerprint,
    adapter,
    demo_fields,
    location,
    model,
    of_evaluation,
    of_prompts,
    of_task,
    prompts,
)
from pytest_mipro.fingerprint.parts import Kind, Part
from pytest_mipro.fingerprint.source import source_of
from pytest_mipro.task import OPTION_NAMES, Dataset, Options, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import ModuleType

    Load = Callable[[Mapping[str, str]], ModuleType]

pytestmark = pytest.mark.uses("dspy", "pydantic")

SECRET = "sk-do-not-show-5f1d"

# What a user has in their repository: the program and metric of their test, a
# module of helpers, and the declaration.
PROGRAM = '''\
"""Routes tickets."""

import re
from typing import Literal

import dspy

import wording
from wording import squash

LIMIT = 200
"""Longest ticket."""
KNOWN = frozenset({"billing", "sales", "support", "legal"})
WORD = re.compile("[a-z]+")
CHECKS = {"same": lambda a, b: a == b}


class Routing(dspy.Signature):
    """Route the ticket."""

    ticket: str = dspy.InputField(desc="what the customer wrote")
    language: str = dspy.InputField(default="en")
    queue: Literal["billing", "sales"] = dspy.OutputField(desc="who answers")
    certainty: float = dspy.OutputField(ge=0)


class Base(dspy.Module):
    def prepare(self, text):
        return text.strip()


class Router(Base):
    def __init__(self):
        super().__init__()
        self.attempts = 1
        self.classify = dspy.Predict(Routing, temperature=0.5)
        self.explain = dspy.ChainOfThought("queue -> reason")

    def forward(self, ticket, language="en"):
        # Long tickets say little in the end.
        ticket = clean(self.prepare(ticket))
        return self.classify(ticket=ticket, language=language)


def clean(text):
    """Shorten."""
    return text[:LIMIT]


def make_metric(weight):
    def graded(example, prediction, trace=None, slack=0.1, *, power=2):
        if prediction.queue not in KNOWN or not WORD.match(prediction.queue):
            return 0
        same = similar(example.queue, prediction.queue) or CHECKS["same"](1, 2)
        return weight * (same + slack) ** power

    return graded


def similar(left, right):
    return squash(left) == wording.fold(right)


def unused(text):
    return text.upper()


metric = make_metric(1)
'''
WORDING = """\
def squash(text):
    return "".join(text.split())


def fold(text):
    return text.casefold()
"""
DECLARED = """\
import dspy

from pytest_mipro.task import Dataset
from pytest_mipro.task import Task
from user_code import Router, metric


def rows(start, stop):
    return [
        dspy.Example(ticket=f"ticket {n}", queue="sales").with_inputs("ticket")
        for n in range(start, stop)
    ]


def lm(**changes):
    wanted = {
        "model": "openai/gpt-test",
        "temperature": 0.2,
        "max_tokens": 100,
        "api_base": "https://one.example/v1",
        "api_key": "one",
        **changes,
    }
    return dspy.LM(**wanted)


def task():
    program = Router()
    program.classify.demos = [dspy.Example(ticket="Invoice?", queue="billing")]
    return Task(
        name="router",
        test="test_router.py::test_router",
        program=program,
        metric=metric,
        dataset=Dataset(tuple(rows(0, 4)), tuple(rows(4, 7)), tuple(rows(7, 9))),
        lm=lm(),
        prompt_lm=lm(),
        adapter=dspy.ChatAdapter(),
    )
"""
FILES = {"user_code.py": PROGRAM, "wording.py": WORDING, "declared.py": DECLARED}


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Give a function that writes a user's files and imports the last of them."""
    imported: set[str] = set()
    count = 0

    def write(files: Mapping[str, str]) -> ModuleType:
        nonlocal count
        count += 1
        folder = tmp_path / f"version {count}"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        forget()
        monkeypatch.syspath_prepend(folder)
        imported.update(_module_name(name) for name in files)
        return importlib.import_module(_module_name(list(files)[-1]))

    def forget() -> None:
        for name in imported:
            sys.modules.pop(name, None)
            sys.modules.pop(name.partition(".")[0], None)  # a namespace package has no file

    yield write
    forget()


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def edited(file: str, old: str, new: str, files: Mapping[str, str] = FILES) -> dict[str, str]:
    """Return the user's files after one edit."""
    assert files[file].count(old) == 1, f"{old!r} is not in {file} exactly once"
    return {**files, file: files[file].replace(old, new)}


def words(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Return what changed, without the places in files."""
    return [re.sub(r" \(\w+\.py:\d+\)$", "", word) for word in after.changes_since(before.parts)]


def assert_says(before: Fingerprint, after: Fingerprint, *said: str) -> None:
    """Check the key and the words."""
    assert sorted(words(before, after)) == sorted(said)
    assert (before.key == after.key) == (not said)


# --- One input at a time -------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """One edit of the user's files and the words for it; no words if the key stays."""

    says: tuple[str, ...]
    old: str
    new: str
    file: str = "user_code.py"


EDITS = {
    "instruction": Edit(
        ("instruction of classify changed",), '"""Route the ticket."""', '"""Route it."""'
    ),
    "field type": Edit(
        ("fields of classify changed",), '["billing", "sales"]', '["billing", "sales", "legal"]'
    ),
    "field description": Edit(("fields of classify changed",), "who answers", "who replies"),
    "field constraint": Edit(
        ("fields of classify changed",), "dspy.OutputField(ge=0)", "dspy.OutputField(ge=0.5)"
    ),
    "field default": Edit(("fields of classify changed",), 'default="en"', 'default="de"'),
    "field renamed": Edit(("fields of classify changed",), "certainty:", "confidence:"),
    "fields reordered": Edit(
        ("fields of classify changed",),
        '    queue: Literal["billing", "sales"] = dspy.OutputField(desc="who answers")\n'
        "    certainty: float = dspy.OutputField(ge=0)\n",
        "    certainty: float = dspy.OutputField(ge=0)\n"
        '    queue: Literal["billing", "sales"] = dspy.OutputField(desc="who answers")\n',
    ),
    "Predict.config": Edit(
        ("code of user_code.Router changed", "config of classify changed"),
        "temperature=0.5",
        "temperature=0.7",
    ),
    "string signature": Edit(
        (
            "code of user_code.Router changed",
            "fields of explain.predict changed",
            "instruction of explain.predict changed",
        ),
        "queue -> reason",
        "queue -> cause",
    ),
    "module source": Edit(
        ("code of user_code.Router changed",), "prepare(ticket))", 'prepare(ticket) + "?")'
    ),
    "base class": Edit(("code of user_code.Base changed",), "text.strip()", "text.lstrip()"),
    "helper of the program": Edit(
        ("code of user_code.clean changed",), "text[:LIMIT]", "text[-LIMIT:]"
    ),
    "global constant": Edit(
        ("value of LIMIT in user_code.clean changed",), "LIMIT = 200", "LIMIT = 300"
    ),
    "global set": Edit(("value of KNOWN in metric changed",), '"support", "legal"', '"support"'),
    "global pattern": Edit(("value of WORD in metric changed",), '"[a-z]+"', '"[A-Z]+"'),
    "global pattern's flags": Edit(
        ("value of WORD in metric changed",), '"[a-z]+"', '"[a-z]+", re.IGNORECASE'
    ),
    "function in a global table": Edit(("value of CHECKS in metric changed",), "a == b", "a is b"),
    "metric body": Edit(("metric changed",), "            return 0\n", "            return 0.5\n"),
    "metric closure value": Edit(
        ("value of weight in metric changed",), "make_metric(1)", "make_metric(2)"
    ),
    "default argument": Edit(("metric changed",), "slack=0.1", "slack=0.2"),
    "keyword default": Edit(("metric changed",), "power=2", "power=3"),
    "helper of the metric": Edit(
        ("code of user_code.similar changed",), "squash(left) ==", "squash(left) !="
    ),
    "imported helper": Edit(
        ("code of wording.squash changed",), '"".join', '"-".join', "wording.py"
    ),
    "helper of an imported module": Edit(
        ("code of wording.fold changed",), "casefold", "lower", "wording.py"
    ),
    "comment": Edit((), "# Long tickets say little in the end.", "# Just so."),
    "comment removed": Edit((), "        # Long tickets say little in the end.\n", ""),
    "blank lines": Edit((), "def similar(", "\n\n\ndef similar("),
    "line breaks": Edit(
        (),
        "    return squash(left) == wording.fold(right)",
        "    return (\n        squash(left)\n        == wording.fold(right)  # folded\n    )",
    ),
    "quotes": Edit((), '"".join', "''.join", "wording.py"),
    "unused function": Edit((), "text.upper()", "text.lower()"),
    "new unused function": Edit((), "def unused(", "def other():\n    return 1\n\n\ndef unused("),
    "docstring of the module": Edit((), '"""Routes tickets."""', '"""Routing."""'),
    "elements of a set in another order": Edit(
        (), '"billing", "sales", "support", "legal"', '"legal", "support", "sales", "billing"'
    ),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_edit_of_a_users_file(load: Load, edit: Edit) -> None:
    """An edit changes the key exactly if it can change the result, and is named."""
    before = of_task(load(FILES).task())

    after = of_task(load(edited(edit.file, edit.old, edit.new)).task())

    assert_says(before, after, *edit.says)


def _program(change: Callable[[Any], object]) -> Callable[[Task, ModuleType], Task]:
    def alter(task: Task, _declared: ModuleType) -> Task:
        change(task.program)
        return task

    return alter


def _lm(**changes: Any) -> Callable[[Task, ModuleType], Task]:
    return lambda task, declared: replace(task, lm=declared.lm(**changes))


def _rows(change: Callable[[Task, Any], dict[str, list[dspy.Example]]]) -> Any:
    def alter(task: Task, declared: ModuleType) -> Task:
        changed = {name: tuple(rows) for name, rows in change(task, declared.rows).items()}
        data = task.dataset
        splits = [changed.get(name, getattr(data, name)) for name in ("train", "val", "test")]
        return replace(task, dataset=Dataset(splits[0], splits[1], splits[2]))

    return alter


def _relabelled(rows: tuple[dspy.Example, ...]) -> list[dspy.Example]:
    return [rows[0].copy(queue="legal"), *rows[1:]]


def _declared(**changes: Any) -> Callable[[Task, ModuleType], Task]:
    return lambda task, _: replace(task, **changes)


ALTERATIONS: dict[str, tuple[tuple[str, ...], Callable[[Task, ModuleType], Task]]] = {
    "nothing": ((), _declared()),
    "name": ((), _declared(name="other")),
    "test": ((), _declared(test="test_other.py::test_other")),
    "threads": ((), _declared(threads=1)),
    "demo": (
        ("demos of classify changed",),
        _program(lambda program: setattr(program.classify.demos[0], "queue", "sales")),
    ),
    "demo added": (
        ("demos of classify changed",),
        _program(lambda program: program.classify.demos.append(dspy.Example(ticket="Hi"))),
    ),
    "demo as a dictionary": (
        (),
        _program(
            lambda program: setattr(
                program.classify, "demos", [{"ticket": "Invoice?", "queue": "billing"}]
            )
        ),
    ),
    "traces": ((), _program(lambda program: program.classify.traces.append({"seen": 1}))),
    "instruction": (
        ("instruction of classify changed",),
        _program(
            lambda program: setattr(
                program.classify,
                "signature",
                program.classify.signature.with_instructions("Route it well."),
            )
        ),
    ),
    "attribute of the program": (
        ("modules changed",),
        _program(lambda program: setattr(program, "attempts", 2)),
    ),
    "attribute of the program without content of its own": (
        ("modules changed",),
        _program(lambda program: setattr(program, "limit", float("inf"))),
    ),
    "history of the program": (
        (),
        _program(lambda program: program.history.append({"prompt": "asked before"})),
    ),
    "model of a predictor": (
        ("model of classify changed",),
        _program(lambda program: setattr(program.classify, "lm", dspy.LM("openai/own"))),
    ),
    "train row added": (
        ("1 train row added",),
        _rows(lambda task, rows: {"train": [*task.dataset.train, *rows(20, 21)]}),
    ),
    "train rows added": (
        ("3 train rows added",),
        _rows(lambda task, rows: {"train": [*task.dataset.train, *rows(20, 23)]}),
    ),
    "train row removed": (
        ("1 train row removed",),
        _rows(lambda task, _: {"train": list(task.dataset.train[:-1])}),
    ),
    "train label corrected": (
        ("1 train row added", "1 train row removed"),
        _rows(lambda task, _: {"train": _relabelled(task.dataset.train)}),
    ),
    "train rows reordered": (
        ("4 train rows moved",),
        _rows(lambda task, _: {"train": list(task.dataset.train[::-1])}),
    ),
    "val row added": (
        ("1 val row added",),
        _rows(lambda task, rows: {"val": [*task.dataset.val, *rows(20, 21)]}),
    ),
    "val rows removed": (
        ("2 val rows removed",),
        _rows(lambda task, _: {"val": list(task.dataset.val[:1])}),
    ),
    "val rows reordered": (
        ("2 val rows moved",),
        _rows(lambda task, _: {"val": list(task.dataset.val[::-1])}),
    ),
    "test row added": (
        (),
        _rows(lambda task, rows: {"test": [*task.dataset.test, *rows(20, 21)]}),
    ),
    "test row removed": ((), _rows(lambda task, _: {"test": list(task.dataset.test[1:])})),
    "test rows reordered": ((), _rows(lambda task, _: {"test": list(task.dataset.test[::-1])})),
    "test label corrected": ((), _rows(lambda task, _: {"test": _relabelled(task.dataset.test)})),
    "model": (("model changed",), _lm(model="openai/gpt-other")),
    "model type": (("model changed",), _lm(model_type="responses")),
    "temperature": (("model changed",), _lm(temperature=0.3)),
    "max_tokens": (("model changed",), _lm(max_tokens=200)),
    "top_p": (("model changed",), _lm(top_p=0.9)),
    "stop": (("model changed",), _lm(stop=["\n"])),
    "nested sampling parameter": (("model changed",), _lm(extra_body={"min_p": 0.1})),
    "endpoint": (("model changed",), _lm(api_base="https://two.example/v1")),
    "endpoint's path": (("model changed",), _lm(api_base="https://one.example/v2")),
    "endpoint's port": (("model changed",), _lm(api_base="https://one.example:8000/v1")),
    "provider": (("model changed",), _lm(custom_llm_provider="groq")),
    "api key": ((), _lm(api_key="two")),
    "key in the endpoint": ((), _lm(api_base="https://me:two@one.example/v1?key=two")),
    "headers": ((), _lm(headers={"Authorization": "Bearer two"})),
    "timeout": ((), _lm(timeout=3)),
    "retries": ((), _lm(num_retries=0)),
    "response cache": ((), _lm(cache=False)),
    "prompt model": (
        ("prompt model changed",),
        lambda task, declared: replace(task, prompt_lm=declared.lm(temperature=1.0)),
    ),
    "teacher model": (
        ("teacher model changed",),
        lambda task, declared: replace(task, teacher_lm=declared.lm()),
    ),
    "adapter": (("adapter changed",), _declared(adapter=dspy.JSONAdapter())),
    "adapter left out": (("adapter changed",), _declared(adapter=None)),
    "adapter attribute": (
        ("adapter changed",),
        _declared(adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)),
    ),
    "version": (("declared version changed",), _declared(version="2")),
}


@pytest.mark.parametrize("says, alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_alteration_of_a_task(
    load: Load, says: tuple[str, ...], alter: Callable[[Task, ModuleType], Task]
) -> None:
    """What a task declares changes the key exactly if it can change the result, and is named."""
    declared = load(FILES)
    before = of_task(declared.task())

    after = of_task(alter(declared.task(), declared))

    assert_says(before, after, *says)


OPTIONS = {
    "auto": "medium",
    "num_candidates": 3,
    "num_trials": 7,
    "max_bootstrapped_demos": 1,
    "max_labeled_demos": 0,
    "seed": 0,
    "init_temperature": 0.5,
    "metric_threshold": 0.0,
    "minibatch": False,
    "minibatch_size": 10,
    "view_data_batch_size": 5,
    "program_aware_proposer": False,
    "data_aware_proposer": False,
    "tip_aware_proposer": False,
    "fewshot_aware_proposer": False,
}


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_each_option_is_part_of_the_key(load: Load, name: str) -> None:
    """An option that changes is the one part that is named."""
    task = load(FILES).task()

    after = of_task(replace(task, options=Options.declare(**{name: OPTIONS[name]})))

    assert_says(of_task(task), after, f"option {name} changed")


def test_every_option_has_a_line_in_the_table() -> None:
    """A new option needs another value here."""
    assert set(OPTIONS) == {option.name for option in fields(Options)}


def test_teacher_is_part_of_the_key(load: Load) -> None:
    """A teacher is described like the program, under its own names."""
    declared = load(FILES)
    task = declared.task()
    teacher = type(task.program)()
    taught = of_task(replace(task, teacher=teacher))
    teacher.classify.demos = [dspy.Example(ticket="Hello?", queue="sales")]

    retaught = of_task(replace(task, teacher=teacher))

    assert "teacher instruction of classify added" in words(of_task(task), taught)
    assert_says(taught, retaught, "teacher demos of classify changed")


@pytest.mark.parametrize(
    "package, said", [("dspy", "DSPy version changed"), ("optuna", "Optuna version changed")]
)
def test_library_version_is_part_of_the_key(
    load: Load, monkeypatch: pytest.MonkeyPatch, package: str, said: str
) -> None:
    """An upgrade of what chooses the artifact makes it stale."""
    task = load(FILES).task()
    before = of_task(task)

    monkeypatch.setattr(
        fingerprint.keys, "version", lambda name: "99" if name == package else version(name)
    )

    assert_says(before, of_task(task), said)


def test_algorithm_version_is_part_of_the_key(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version of our own search makes artifacts stale."""
    task = load(FILES).task()
    before = of_task(task)

    monkeypatch.setattr(fingerprint.keys, "ALGORITHM", fingerprint.ALGORITHM + 1)

    assert_says(before, of_task(task), "algorithm version changed")


def test_extra_parts_are_part_of_the_key(load: Load) -> None:
    """What plugins add is named as they named it."""
    task = load(FILES).task()
    without, one, two = (
        of_task(task),
        of_task(task, {"prompt library": {"version": 1}}),
        of_task(task, {"prompt library": {"version": 2}}),
    )

    assert_says(without, one, "prompt library added")
    assert_says(one, two, "prompt library changed")
    assert_says(one, without, "prompt library removed")


def test_several_changes_are_all_said(load: Load) -> None:
    """Each change has its words, rows last."""
    declared = load(FILES)
    task = declared.task()
    before = of_task(task)
    rows = (*task.dataset.train, *declared.rows(20, 23))
    task = replace(task, dataset=replace(task.dataset, train=rows), lm=declared.lm(top_p=0.5))

    assert words(before, of_task(task)) == ["model changed", "3 train rows added"]


def test_words_say_where_code_is(load: Load) -> None:
    """Changed code comes with the file and line where it now is."""
    before = of_task(load(FILES).task())
    files = edited("user_code.py", "            return 0\n", "            return 0.5\n")
    files = edited("wording.py", 'return "".join', '# Now with dashes.\n    return "-".join', files)
    line = PROGRAM[: PROGRAM.index("    def graded")].count("\n") + 1

    changes = of_task(load(files).task()).changes_since(before.parts)

    assert f"metric changed (user_code.py:{line})" in changes
    assert "code of wording.squash changed (wording.py:1)" in changes


def test_words_for_a_metric_without_a_place_have_none() -> None:
    """A metric that is no plain function is named without an empty place."""
    task = simple_task(_Threshold(0.5))

    changes = of_task(replace(task, metric=_Threshold(0.6))).changes_since(of_task(task).parts)

    assert changes == ("metric changed",)


SIGNED = """\
import dspy


class Question(dspy.Signature):
    \"\"\"Answer.\"\"\"

    question: str = dspy.InputField()
    answer: str = dspy.OutputField(desc="short")


class Verdict(dspy.Signature):
    \"\"\"Judge.\"\"\"

    answer: str = dspy.InputField()
    good: bool = dspy.OutputField()


class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.ChainOfThought(Question)

    def forward(self, question):
        return self.answer(question=question)


def metric(example, prediction, trace=None):
    return dspy.Predict(Verdict)(answer=prediction.answer).good


def program():
    return Program()


def reworded():
    program = Program()
    predict = program.answer.predict
    predict.signature = predict.signature.with_instructions("Answer well.")
    return program
"""


@pytest.mark.parametrize(
    "make, edits, said",
    [
        (
            "program",
            [("Answer.", "Reply.")],
            ("instruction of answer.predict changed (user_code.py:4)",),
        ),
        (
            "program",
            [('"short"', '"brief"')],
            ("fields of answer.predict changed (user_code.py:4)",),
        ),
        (
            "reworded",
            [('"short"', '"brief"')],
            ("fields of answer.predict changed (user_code.py:4)",),
        ),
        (
            "reworded",
            [("Answer.", "Reply.")],
            ("signature user_code.Question changed (user_code.py:4)",),
        ),
        (
            "program",
            [("Judge.", "Grade.")],
            ("signature user_code.Verdict changed (user_code.py:11)",),
        ),
        (
            "program",
            [("Answer.", "Reply."), ("Judge.", "Grade.")],
            (
                "instruction of answer.predict changed (user_code.py:4)",
                "signature user_code.Verdict changed (user_code.py:11)",
            ),
        ),
    ],
)
def test_edit_of_a_signature_is_said_once(
    load: Load, make: str, edits: list[tuple[str, str]], said: tuple[str, ...]
) -> None:
    """A signature is named by the predictor that has it, or by itself where none does."""
    files = {"user_code.py": SIGNED}
    user_code = load(files)
    before = of_task(simple_task(user_code.metric, getattr(user_code, make)()))

    for old, new in edits:
        files = edited("user_code.py", old, new, files)
    user_code = load(files)
    after = of_task(simple_task(user_code.metric, getattr(user_code, make)()))

    assert after.changes_since(before.parts) == said


class _Threshold:
    def __init__(self, least: float) -> None:
        self.least = least

    def __call__(self, example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        return bool(prediction.certainty >= self.least)


def simple_task(metric: Any, program: dspy.Module | None = None, **changes: Any) -> Task:
    """Return a small task around ``metric``."""
    rows = [dspy.Example(question=f"{n}", answer="yes").with_inputs("question") for n in range(3)]
    lm = dspy.LM("openai/gpt-test")
    return Task(
        name="small",
        test="test_small.py::test_small",
        program=program or dspy.Predict("question -> answer"),
        metric=metric,
        dataset=Dataset((rows[0],), (rows[1],), (rows[2],)),
        lm=lm,
        prompt_lm=lm,
        **changes,
    )


# --- How code is followed ------------------------------------------------------------------


@dataclass(frozen=True)
class Reach:
    """A way from a metric to something that was edited."""

    code: str
    old: str = "'before'"
    new: str = "'after'"
    package: Mapping[str, str] | None = None
    file: str = "user_code.py"


HELPER = "def helper():\n    return 'before'\n\n\n"
REACHES = {
    "lambda": Reach("metric = lambda example, prediction, trace=None: 'before'\n"),
    "a call": Reach(HELPER + "def metric(e, p, trace=None):\n    return helper()\n"),
    "a nested function": Reach(
        HELPER
        + "def metric(e, p, trace=None):\n    def inner():\n        return helper()\n"
        + "    return inner()\n"
    ),
    "a comprehension": Reach(
        HELPER + "def metric(e, p, trace=None):\n    return [helper() for _ in 'ab']\n"
    ),
    "a function as default argument": Reach(
        HELPER + "def metric(e, p, trace=None, by=helper):\n    return by()\n"
    ),
    "a table of functions": Reach(
        HELPER + "TABLE = [('a', helper)]\ndef metric(e, p, trace=None):\n    return TABLE\n"
    ),
    "a partial": Reach(
        "import functools\n"
        + HELPER.replace("()", "(e, p, trace=None)", 1)
        + "metric = functools.partial(helper)\n"
    ),
    "an argument of a partial": Reach(
        "import functools\ndef graded(e, p, trace=None, by=''):\n    return by\n"
        "metric = functools.partial(graded, by='before')\n"
    ),
    "a global partial": Reach(
        "import functools\n" + HELPER + "short = functools.partial(helper)\n"
        "def metric(e, p, trace=None):\n    return short()\n"
    ),
    "a cached function": Reach(
        "import functools\n@functools.cache\n"
        + HELPER
        + "def metric(e, p, trace=None):\n    return helper()\n"
    ),
    "a cached metric": Reach(
        "import functools\n@functools.lru_cache\ndef metric(e, p, trace=None):\n"
        "    return 'before'\n"
    ),
    "a decorated metric's helper": Reach(
        "import functools\ndef logged(function):\n    @functools.wraps(function)\n"
        "    def wrapper(*args):\n        return function(*args)\n    return wrapper\n"
        + HELPER
        + "@logged\ndef metric(e, p, trace=None):\n    return helper()\n"
    ),
    "a decorator's body": Reach(
        "import functools\ndef graded(function):\n    @functools.wraps(function)\n"
        "    def wrapper(*args):\n        return function(*args) == 'before'\n    return wrapper\n"
        "@graded\ndef metric(e, p, trace=None):\n    return True\n"
    ),
    "a decorator without wraps": Reach(
        "def graded(function):\n    def wrapper(*args):\n        return function(*args)\n"
        "    return wrapper\n"
        + HELPER
        + "@graded\ndef metric(e, p, trace=None):\n    return helper()\n"
    ),
    "the first of two closures from one factory": Reach(
        "def has(word):\n    def check(p):\n        return word in p\n    return check\n"
        "def both(*checks):\n    def metric(e, p, trace=None):\n"
        "        return all(check(p) for check in checks)\n    return metric\n"
        "metric = both(has('before'), has('always'))\n"
    ),
    "the second of two closures from one factory": Reach(
        "def has(word):\n    def check(p):\n        return word in p\n    return check\n"
        "def both(*checks):\n    def metric(e, p, trace=None):\n"
        "        return all(check(p) for check in checks)\n    return metric\n"
        "metric = both(has('always'), has('before'))\n"
    ),
    "the second of two lambdas": Reach(
        "CHECKS = [lambda p: 'always', lambda p: LABEL]\nLABEL = 'before'\n"
        "def metric(e, p, trace=None):\n    return all(check(p) for check in CHECKS)\n"
    ),
    "a bound method": Reach(
        "class Judge:\n    def score(self, e, p, trace=None):\n        return 'before'\n"
        "metric = Judge().score\n"
    ),
    "the state behind a bound method": Reach(
        "class Judge:\n    def __init__(self, word):\n        self.word = word\n"
        "    def score(self, e, p, trace=None):\n        return self.word\n"
        "metric = Judge('before').score\n"
    ),
    "a callable object": Reach(
        "class Judge:\n    def __call__(self, e, p, trace=None):\n        return 'before'\n"
        "metric = Judge()\n"
    ),
    "a callable dataclass": Reach(
        "import dataclasses\n@dataclasses.dataclass\nclass Judge:\n    word: str = 'always'\n"
        "    def __call__(self, e, p, trace=None):\n        return 'before'\nmetric = Judge()\n"
    ),
    "a callable pydantic model": Reach(
        "import pydantic\nclass Judge(pydantic.BaseModel):\n    word: str = 'always'\n"
        "    def __call__(self, e, p, trace=None):\n        return 'before'\nmetric = Judge()\n"
    ),
    "a static method": Reach(
        HELPER + "class Judge:\n    @staticmethod\n    def score():\n        return helper()\n"
        "def metric(e, p, trace=None):\n    return Judge.score()\n"
    ),
    "a class method": Reach(
        HELPER + "class Judge:\n    @classmethod\n    def score(cls):\n        return helper()\n"
        "def metric(e, p, trace=None):\n    return Judge.score()\n"
    ),
    "a property": Reach(
        HELPER + "class Judge:\n    @property\n    def score(self):\n        return helper()\n"
        "def metric(e, p, trace=None):\n    return Judge().score\n"
    ),
    "a cached property": Reach(
        "import functools\n"
        + HELPER
        + "class Judge:\n    @functools.cached_property\n    def score(self):\n"
        "        return helper()\ndef metric(e, p, trace=None):\n    return Judge().score\n"
    ),
    "a nested class": Reach(
        HELPER + "class Judge:\n    class Inner:\n        def score(self):\n"
        "            return helper()\ndef metric(e, p, trace=None):\n"
        "    return Judge.Inner().score()\n"
    ),
    "a base class's method": Reach(
        HELPER + "class Base:\n    def score(self):\n        return helper()\n"
        "class Judge(Base):\n    pass\ndef metric(e, p, trace=None):\n    return Judge().score()\n"
    ),
    "a class attribute": Reach(
        "WORD = 'before'\nclass Judge:\n    word = WORD\n"
        "def metric(e, p, trace=None):\n    return Judge.word\n"
    ),
    "an enum": Reach(
        "import enum\nclass Label(enum.Enum):\n    GOOD = 'before'\n"
        "def metric(e, p, trace=None):\n    return Label.GOOD\n"
    ),
    "a judge's instruction": Reach(
        "import dspy\njudge = dspy.Predict(dspy.Signature('answer -> good', 'before'))\n"
        "def metric(e, p, trace=None):\n    return judge(answer=p.answer).good\n",
        "'before'",
        "'after'",
    ),
    "a judge's signature": Reach(
        "import dspy\njudge = dspy.ChainOfThought('answer -> good')\n"
        "def metric(e, p, trace=None):\n    return judge(answer=p.answer)\n",
        "answer -> good",
        "answer -> good: bool",
    ),
    "a judge's model": Reach(
        "import dspy\nlm = dspy.LM('openai/before')\n"
        "def metric(e, p, trace=None):\n    return lm(p.answer)\n",
        "openai/before",
        "openai/after",
    ),
    "an imported module": Reach(
        "import shop\ndef metric(e, p, trace=None):\n    return shop.helper()\n",
        package={"shop.py": HELPER},
        file="shop.py",
    ),
    "a constant of an imported module": Reach(
        "import shop\ndef metric(e, p, trace=None):\n    return shop.WORD\n",
        package={"shop.py": "WORD = 'before'\n"},
        file="shop.py",
    ),
    "a module imported from a package": Reach(
        "from shop import texts\ndef metric(e, p, trace=None):\n    return texts.helper()\n",
        package={"shop/__init__.py": "", "shop/texts.py": HELPER},
        file="shop/texts.py",
    ),
    "a module imported by its dotted name": Reach(
        "import shop.texts\ndef metric(e, p, trace=None):\n    return shop.texts.helper()\n",
        package={"shop/__init__.py": "", "shop/texts.py": HELPER},
        file="shop/texts.py",
    ),
    "a module of a namespace package": Reach(
        "import shop.texts\ndef metric(e, p, trace=None):\n    return shop.texts.helper()\n",
        package={"shop/texts.py": HELPER},
        file="shop/texts.py",
    ),
    "a judge's demo": Reach(
        "import dspy\njudge = dspy.Predict('answer -> good')\n"
        "judge.demos = [dspy.Example(answer='before', good='yes')]\n"
        "def metric(e, p, trace=None):\n    return judge(answer=p.answer)\n"
    ),
    "a judge's config": Reach(
        "import dspy\njudge = dspy.Predict('answer -> good', stop=['before'])\n"
        "def metric(e, p, trace=None):\n    return judge(answer=p.answer)\n"
    ),
    "a user's kind of model": Reach(
        "import dspy\nclass Model(dspy.LM):\n    def forward(self, *args, **kwargs):\n"
        "        return 'before'\nlm = Model('openai/gpt-test')\n"
        "def metric(e, p, trace=None):\n    return lm(p.answer)\n"
    ),
    "a user's engine": Reach(
        "import dspy\nclass Engine:\n    def complete(self, request):\n        return 'before'\n"
        "lm = dspy.LM('scripted', engine=Engine())\n"
        "def metric(e, p, trace=None):\n    return lm(p.answer)\n"
    ),
    "a user's adapter": Reach(
        "import dspy\nclass Quiet(dspy.ChatAdapter):\n    def format(self, *args):\n"
        "        return 'before'\nadapter = Quiet()\n"
        "def metric(e, p, trace=None):\n    return adapter\n"
    ),
    "a global object": Reach(
        "class Rubric:\n    def __init__(self, word):\n        self.word = word\n"
        "rubric = Rubric('before')\ndef metric(e, p, trace=None):\n    return rubric.word\n"
    ),
    "a global object with slots": Reach(
        "class Rubric:\n    __slots__ = ('word',)\n    def __init__(self, word):\n"
        "        self.word = word\n"
        "rubric = Rubric('before')\ndef metric(e, p, trace=None):\n    return rubric.word\n"
    ),
    "a global object that also holds a lock": Reach(
        "import threading\nclass Rubric:\n    def __init__(self, word):\n        self.word = word\n"
        "        self.lock = threading.Lock()\n"
        "rubric = Rubric('before')\ndef metric(e, p, trace=None):\n    return rubric.word\n"
    ),
    "a global array": Reach(
        "import numpy as np\nWEIGHTS = np.array([1.5, 2.0])\n"
        "def metric(e, p, trace=None):\n    return WEIGHTS\n",
        "1.5",
        "1.6",
    ),
    "a default of a dataclass": Reach(
        "import dataclasses\nWORD = 'before'\n@dataclasses.dataclass\nclass Judge:\n"
        "    word: str = WORD\ndef metric(e, p, trace=None):\n    return Judge().word\n"
    ),
    "a default of a pydantic model": Reach(
        "import pydantic\nWORD = 'before'\nclass Judge(pydantic.BaseModel):\n"
        "    word: str = WORD\ndef metric(e, p, trace=None):\n    return Judge().word\n"
    ),
    "a decorator of a method": Reach(
        "import functools\ndef graded(function):\n    @functools.wraps(function)\n"
        "    def wrapper(*args):\n        return function(*args) == 'before'\n    return wrapper\n"
        "class Judge:\n    @graded\n    def score(self):\n        return True\n"
        "def metric(e, p, trace=None):\n    return Judge().score()\n"
    ),
    "a method that was assigned": Reach(
        "class Judge:\n    pass\ndef score(self):\n    return 'before'\nJudge.score = score\n"
        "def metric(e, p, trace=None):\n    return Judge().score()\n"
    ),
    "a dispatched function": Reach(
        "import functools\n@functools.singledispatch\ndef score(value):\n    return 1\n"
        "@score.register(str)\ndef _of_text(value):\n    return 'before'\n"
        "def metric(e, p, trace=None):\n    return score(p.answer)\n"
    ),
    "a context manager": Reach(
        "import contextlib\n@contextlib.contextmanager\ndef judge():\n    yield 'before'\n"
        "def metric(e, p, trace=None):\n    with judge() as word:\n        return word\n"
    ),
    "a validator of an output's type": Reach(
        "import dspy, pydantic\nclass Ticket(pydantic.BaseModel):\n    queue: str\n"
        "    @pydantic.field_validator('queue')\n    @classmethod\n    def known(cls, value):\n"
        "        return 'before'\nclass Routing(dspy.Signature):\n    '''Route.'''\n"
        "    text: str = dspy.InputField()\n    found: list[Ticket] = dspy.OutputField()\n"
        "judge = dspy.Predict(Routing)\n"
        "def metric(e, p, trace=None):\n    return judge(text='')\n"
    ),
    "the space inside a text of several lines": Reach(
        "def make():\n    def metric(e, p, trace=None):\n        return '''\n    before'''\n"
        "    return metric\nmetric = make()\n",
        "    before",
        "  before",
    ),
    "a relative import inside a function": Reach(
        "import shop.judge\nmetric = shop.judge.metric\n",
        package={
            "shop/__init__.py": "",
            "shop/texts.py": HELPER,
            "shop/judge.py": "def metric(e, p, trace=None):\n    from .texts import helper\n"
            "    return helper()\n",
        },
        file="shop/texts.py",
    ),
    "an import of a module inside a function": Reach(
        "def metric(e, p, trace=None):\n    import shop.texts as texts\n"
        "    return texts.helper()\n",
        package={"shop/__init__.py": "", "shop/texts.py": HELPER},
        file="shop/texts.py",
    ),
    "an attribute of a function": Reach(
        "def metric(e, p, trace=None):\n    return metric.word\nmetric.word = 'before'\n"
    ),
    "a function that is an attribute of a helper": Reach(
        "def always():\n    return True\ndef last():\n    return 'before'\nalways.other = last\n"
        "def metric(e, p, trace=None):\n    return always.other()\n"
    ),
    "the second of two lambdas on a line": Reach(
        "CHECKS = [lambda p: 'always', lambda p: 'before']\n"
        "def metric(e, p, trace=None):\n    return all(check(p) for check in CHECKS)\n"
    ),
    "the order of an ordered dictionary": Reach(
        "import collections\nRULES = collections.OrderedDict([('a', 1), ('b', 2)])\n"
        "def metric(e, p, trace=None):\n    return RULES\n",
        "[('a', 1), ('b', 2)]",
        "[('b', 2), ('a', 1)]",
    ),
    **{
        f"a global {kind}": Reach(
            f"import array, collections, fractions, operator, types\nRULES = {before}\n"
            "def metric(e, p, trace=None):\n    return RULES\n",
            before,
            after,
        )
        for kind, before, after in (
            ("bytes", "b'before'", "b'after'"),
            ("range", "range(3)", "range(4)"),
            ("fraction", "fractions.Fraction(1, 2)", "fractions.Fraction(1, 3)"),
            ("array of numbers", "array.array('i', [1])", "array.array('i', [2])"),
            ("deque", "collections.deque('ab')", "collections.deque('ba')"),
            ("read-only mapping", "types.MappingProxyType({1: 2})", "types.MappingProxyType({})"),
            ("namespace", "types.SimpleNamespace(a=1)", "types.SimpleNamespace(a=2)"),
            ("getter", "operator.itemgetter(0)", "operator.itemgetter(1)"),
            ("builtin function", "max", "min"),
        )
    },
    "an import inside a function": Reach(
        "def metric(e, p, trace=None):\n    from shop import helper\n    return helper()\n",
        package={"shop.py": HELPER},
        file="shop.py",
    ),
}


@pytest.mark.parametrize("reach", REACHES.values(), ids=REACHES)
def test_code_is_followed_through(load: Load, reach: Reach) -> None:
    """An edit of anything of the user's that the metric reaches changes both keys."""
    files = {**(reach.package or {}), "user_code.py": reach.code}
    before = simple_task(load(files).metric)
    key, row_key = of_task(before).key, evaluation_key(before)
    again = simple_task(load(files).metric)
    assert (of_task(again).key, evaluation_key(again)) == (key, row_key)

    after = simple_task(load(edited(reach.file, reach.old, reach.new, files)).metric)

    assert of_task(after).key != key
    assert evaluation_key(after) != row_key


@pytest.mark.parametrize(
    "name, said",
    [
        ("lambda", "metric changed (user_code.py:1)"),
        ("a call", "code of user_code.helper changed (user_code.py:1)"),
        ("a cached metric", "metric changed (user_code.py:2)"),
        ("a bound method", "code of user_code.Judge changed (user_code.py:1)"),
        ("a callable object", "code of user_code.Judge changed (user_code.py:1)"),
        ("an argument of a partial", "metric changed"),
        ("an enum", "code of user_code.Label changed (user_code.py:2)"),
        (
            "a decorator's body",
            "code of user_code.graded.<locals>.wrapper changed (user_code.py:3)",
        ),
        (
            "the second of two closures from one factory",
            "value of word in user_code.has.<locals>.check (2) changed",
        ),
    ],
)
def test_edit_is_said_once(load: Load, name: str, said: str) -> None:
    """One edit has one sentence, which says where it is."""
    reach = REACHES[name]
    files = {"user_code.py": reach.code}
    before = of_task(simple_task(load(files).metric))

    after = of_task(simple_task(load(edited("user_code.py", reach.old, reach.new, files)).metric))

    assert after.changes_since(before.parts) == (said,)


@pytest.mark.parametrize(
    "code, old, new",
    [
        (
            (
                "RULES = {'a': {'b': 1, 'c': 2}, 'd': 3}\n"
                "def metric(e, p, trace=None):\n    return RULES\n"
            ),
            "{'a': {'b': 1, 'c': 2}, 'd': 3}",
            "{'d': 3, 'a': {'c': 2, 'b': 1}}",
        ),
        (
            (
                "def make(rules):\n    def metric(e, p, trace=None):\n        return rules\n"
                "    return metric\nmetric = make({'a': 1, 'b': 2})\n"
            ),
            "{'a': 1, 'b': 2}",
            "{'b': 2, 'a': 1}",
        ),
        (
            (
                "import dspy\njudge = dspy.Predict('a -> b', extra_body={'min_p': 1, 'top_k': 2})\n"
                "def metric(e, p, trace=None):\n    return judge(a=p.answer)\n"
            ),
            "{'min_p': 1, 'top_k': 2}",
            "{'top_k': 2, 'min_p': 1}",
        ),
        (
            (
                "import dspy\njudge = dspy.Predict('a -> b')\n"
                "judge.demos = [dspy.Example(a='1', b='2')]\n"
                "def metric(e, p, trace=None):\n    return judge(a=p.answer)\n"
            ),
            "a='1', b='2'",
            "b='2', a='1'",
        ),
    ],
    ids=["in a global", "in a closure", "in Predict.config", "of a demo"],
)
def test_order_of_a_dictionary_changes_no_key(load: Load, code: str, old: str, new: str) -> None:
    """Dictionaries that are equal are the same value, whatever order they were written in."""
    files = {"user_code.py": code}
    before = simple_task(load(files).metric)

    after = simple_task(load(edited("user_code.py", old, new, files)).metric)

    assert of_task(after).key == of_task(before).key
    assert evaluation_key(after) == evaluation_key(before)


@pytest.mark.parametrize(
    "code",
    [
        (
            "JUDGE = None\ndef metric(e, p, trace=None):\n    global JUDGE\n"
            "    JUDGE = JUDGE or object()\n    return True\n"
        ),
        (
            "def make():\n    count = 0\n    def metric(e, p, trace=None):\n"
            "        nonlocal count\n        count += 1\n        return True\n    return metric\n"
            "metric = make()\n"
        ),
        "def metric(e, p, trace=None):\n    metric.calls += 1\n    return True\nmetric.calls = 0\n",
        (
            "KNOWN = {}\ndef judge(question):\n    if question not in KNOWN:\n"
            "        KNOWN[question] = True\n    return KNOWN[question]\n"
            "def metric(e, p, trace=None):\n    return judge(e)\n"
        ),
        "COUNT = {'calls': 0}\ndef metric(e, p, trace=None):\n    COUNT['calls'] += 1\n",
        "SEEN = []\ndef metric(e, p, trace=None):\n    SEEN.append(p)\n    return True\n",
        (
            "def make():\n    known = {}\n    def metric(e, p, trace=None):\n"
            "        return known.setdefault(p, True)\n    return metric\nmetric = make()\n"
        ),
        (
            "def metric(e, p, trace=None):\n    metric.seen.add(p)\n    return True\n"
            "metric.seen = set()\n"
        ),
        "def metric(e, p, trace=None, known={}):\n    return known.setdefault(p, True)\n",
        "def metric(e, p, trace=None, *, seen=[]):\n    seen.append(p)\n    return True\n",
        (
            "class Judge:\n    def __init__(self):\n        self.known, self.calls = {}, 0\n"
            "    def __call__(self, e, p, trace=None):\n        self.calls += 1\n"
            "        return self.judge(p)\n"
            "    def judge(self, p):\n        return self.known.setdefault(p, True)\n"
            "metric = Judge()\n"
        ),
    ],
    ids=[
        *("global", "closure", "attribute"),
        *("global dictionary", "counter", "global list", "dictionary in a closure", "set"),
        *("default", "default of a keyword", "attributes of an object"),
    ],
)
def test_what_a_metric_remembers_changes_no_key(load: Load, code: str) -> None:
    """What a function sets itself differs after every use, and decides nothing from outside."""
    task = simple_task(load({"user_code.py": code}).metric)
    before = (of_task(task).key, evaluation_key(task))

    task.metric(None, None)

    assert (of_task(task).key, evaluation_key(task)) == before


def test_what_is_set_before_a_call_is_no_memory(load: Load) -> None:
    """A method that nothing calls but the user may set what decides."""
    code = (
        "class Judge:\n    def __init__(self):\n        self.words = ['always']\n"
        "    def add(self, word):\n        self.words.append(word)\n        return self\n"
        "    def __call__(self, e, p, trace=None):\n        return p in self.words\n"
        "metric = Judge().add('before')\n"
    )
    before = simple_task(load({"user_code.py": code}).metric)
    after = simple_task(load({"user_code.py": code.replace("'before'", "'after'")}).metric)
    assert of_task(after).key != of_task(before).key


def test_inner_variable_hides_no_closure_value(load: Load) -> None:
    """A variable of an inner function is another one, also where it has the same name."""
    code = (
        "def make(word):\n    def metric(e, p, trace=None):\n        def inner():\n"
        "            def innermost():\n                return other\n"
        "            other = 1\n            return innermost\n"
        "        return other, inner\n    other = word\n    return metric\n"
    )
    make = load({"user_code.py": code}).make

    assert of_task(simple_task(make("a"))).key != of_task(simple_task(make("b"))).key


def test_lambda_is_described_by_its_source(load: Load) -> None:
    """A lambda in a file has no bytecode in its key, which differs between versions of Python."""
    code = "metric = lambda e, p, trace=None: (  # a comment\n    e.answer == p.answer\n)\n"

    found = source_of(load({"user_code.py": code}).metric)

    assert found.content == "lambda e, p, trace=None: e.answer == p.answer"
    assert found.location == "user_code.py:1"


def test_use_changes_no_key() -> None:
    """What modules remember of their calls, and copies of a program, have the same keys."""
    judge = dspy.Predict("answer -> good")

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> Any:
        return judge(answer=prediction.answer)

    lm = scripted_lm()
    task = replace(simple_task(metric), lm=lm, prompt_lm=lm)
    before = (of_task(task).key, evaluation_key(task), of_prompts(task.program))

    with dspy.context(lm=lm):
        metric(dspy.Example(), task.program(question="1 + 1"))

    assert (of_task(task).key, evaluation_key(task), of_prompts(task.program)) == before
    copied = replace(task, program=task.program.deepcopy())
    assert (of_task(copied).key, evaluation_key(copied), of_prompts(copied.program)) == before


def test_frozen_module_counts() -> None:
    """A search leaves a compiled module alone, so its prompts are part of the row key."""

    class Program(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answer = dspy.Predict("question -> answer")
            self.check = dspy.ChainOfThought("answer -> good")
            self.check._compiled = True

    program = Program()
    task = simple_task(_length, program)
    before = evaluation_key(task)

    program.check.predict.demos = [dspy.Example(answer="yes", good="no")]

    assert evaluation_key(task) != before


def test_recursion_ends(load: Load) -> None:
    """Functions that call each other and closures that hold themselves have a key."""
    code = (
        "def odd(n):\n    return n and even(n - 1)\n\n\n"
        "def even(n):\n    return n or odd(n - 1)\n\n\n"
        "def make():\n    def metric(e, p, trace=None):\n        return metric and even(2)\n"
        "    return metric\n\n\nmetric = make()\n"
    )

    parts = of_task(simple_task(load({"user_code.py": code}).metric)).parts

    assert {"code/user_code.odd", "code/user_code.even"} <= set(parts)


@pytest.mark.parametrize("make", [dict, dspy.Example], ids=["dictionary", "example"])
def test_value_that_holds_itself_has_a_key(make: Callable[..., Any]) -> None:
    """A cycle in a closure is described as far as it goes."""

    def cyclic(word: str) -> object:
        value = make(word=word)
        value["itself"] = [value]
        return value

    one, same, other = (of_task(simple_task(holding(cyclic(word)))).key for word in "aab")

    assert one == same != other


def test_object_that_holds_its_own_method_has_a_key(load: Load) -> None:
    """State that leads back to the object is described once."""
    code = (
        "class Judge:\n    def __init__(self, limit):\n        self.limit = limit\n"
        "        self.checks = [self.score]\n    def score(self, e, p, trace=None):\n"
        "        return self.limit\n"
    )
    judge = load({"user_code.py": code}).Judge

    one, same, other = (of_task(simple_task(judge(limit).score)).key for limit in (1, 1, 2))

    assert one == same != other


def test_agent_whose_tools_are_its_own_methods_has_a_key(load: Load) -> None:
    """A ReAct agent with bound methods as tools is described, and its tools count."""
    code = (
        "import dspy\n\n\nclass Agent(dspy.Module):\n    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.react = dspy.ReAct('question -> answer', tools=[self.look_up])\n"
        "    def look_up(self, title: str) -> str:\n        return 'before'\n"
        "    def forward(self, question):\n        return self.react(question=question)\n"
    )
    files = {"user_code.py": code}

    key = of_task(simple_task(_length, load(files).Agent())).key
    same = of_task(simple_task(_length, load(files).Agent())).key
    other = of_task(
        simple_task(_length, load(edited("user_code.py", "'before'", "'after'", files)).Agent())
    ).key

    assert key == same != other


def _length(example: dspy.Example, prediction: Any, trace: object = None) -> int:
    return len(prediction.answer)


class Question(dspy.Signature):
    """Answer the question."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


def _reward(inputs: dict[Any, Any], prediction: dspy.Prediction) -> float:
    return float(len(prediction.answer))


def _look_up(title: str) -> str:
    """Find a page."""
    return title


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # DSPy's own
@pytest.mark.parametrize(
    "make",
    [
        lambda: dspy.ChainOfThought("question -> answer"),
        lambda: dspy.MultiChainComparison("question -> answer"),
        lambda: dspy.ReAct(Question, tools=[_look_up]),
        lambda: dspy.CodeAct("question -> answer", tools=[_look_up]),
        lambda: dspy.ProgramOfThought("question -> answer"),
        lambda: dspy.BestOfN(dspy.Predict("question -> answer"), 2, _reward, 1.0),
        lambda: dspy.Refine(dspy.Predict("question -> answer"), 2, _reward, 1.0),
    ],
    ids=[
        "ChainOfThought",
        "MultiChain",
        "ReAct",
        "CodeAct",
        "ProgramOfThought",
        "BestOfN",
        "Refine",
    ],
)
def test_modules_of_dspy_have_a_key(make: Callable[[], dspy.Module]) -> None:
    """Two instances of one of DSPy's own modules have the same key, without version=."""
    assert of_task(simple_task(_length, make())).key == of_task(simple_task(_length, make())).key


def test_tool_of_an_agent_is_followed(load: Load) -> None:
    """Editing the function behind a tool changes the key."""
    code = "def look_up(title: str) -> str:\n    return 'before'\n"
    files = {"user_code.py": code}

    def key(files: Mapping[str, str]) -> str:
        agent = dspy.ReAct(Question, tools=[load(files).look_up])
        return of_task(simple_task(_length, agent)).key

    assert key(files) != key(edited("user_code.py", "'before'", "'after'", files))


# --- Values without content ----------------------------------------------------------------


def holding(value: object) -> Any:
    """Return a metric with ``value`` in its closure."""

    def metric(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        return prediction.answer == value

    return metric


UNHASHABLE = {
    "an object": object,
    "a lock": threading.Lock,
    "a generator": lambda: (n for n in range(3)),
    "an object inside a list": lambda: [object()],
    "an object inside a dictionary": lambda: {"a": object()},
}


@pytest.mark.parametrize("make", UNHASHABLE.values(), ids=UNHASHABLE)
def test_value_without_content_is_refused(make: Callable[[], object]) -> None:
    """The error names the value, its type, and version= as the way out."""
    with pytest.raises(FingerprintError, match="declare version=") as caught:
        of_task(simple_task(holding(make())))

    assert "value in metric is <" in str(caught.value)
    assert isinstance(caught.value, DeclarationError)


@pytest.mark.parametrize("make", UNHASHABLE.values(), ids=UNHASHABLE)
def test_version_vouches_for_a_value_without_content(make: Callable[[], object]) -> None:
    """With version= there is a key; it follows the version and nothing of the value."""
    one, same, other = (
        of_task(simple_task(holding(make()), version=version)) for version in ("1", "1", "2")
    )

    assert_says(one, same)
    assert_says(one, other, "declared version changed")


def test_version_hides_nothing_that_has_content() -> None:
    """With version= declared, a closure value with content still counts."""
    one, two = (of_task(simple_task(holding(value), version="1")) for value in ("a", "b"))

    assert one.key != two.key


def test_generator_in_a_closure_is_not_consumed() -> None:
    """Describing a metric leaves what it holds as it was."""
    numbers = iter([1, 2, 3])

    of_task(simple_task(holding(numbers), version="1"))

    assert list(numbers) == [1, 2, 3]


def test_refusal_reaches_the_evaluation_key() -> None:
    """Rows cannot be recognised either, unless a version is declared."""
    task = simple_task(holding(object()))

    with pytest.raises(FingerprintError, match="version="):
        evaluation_key(task)
    assert evaluation_key(replace(task, version="1")) != evaluation_key(replace(task, version="2"))


def test_empty_closure_cell_is_no_error() -> None:
    """A name that is bound later is described as missing."""

    def make() -> Any:
        def metric(example: dspy.Example, prediction: Any, trace: object = None) -> Any:
            return later

        key = of_task(simple_task(metric)).key
        later = 1
        return key, later

    key, _ = make()
    assert re.fullmatch(r"[0-9a-f]{32}", key)


# --- Other processes -----------------------------------------------------------------------

SCENARIOS = '''\
import dataclasses
import enum

import dspy

from declared import lm, rows, task
from dataclasses import replace


def changed(**changes):
    return replace(task(), **changes)


def holding(value):
    def metric(example, prediction, trace=None):
        return prediction.queue in value

    return metric


NAMES = ("billing", "sales", "support", "legal", "returns", "press")


@dataclasses.dataclass
class Rubric:
    words: frozenset


class Label(enum.Enum):
    GOOD = "good"


class Judge:
    def __init__(self):
        self.words = set(NAMES)

    def __call__(self, example, prediction, trace=None):
        return prediction.queue in self.words


def look_up(title: str) -> str:
    """Find a page."""
    return title


def set_in_a_row():
    train = [row.copy(tags=set(NAMES)).with_inputs("ticket") for row in rows(0, 4)]
    return changed(dataset=replace(task().dataset, train=tuple(train)))


SCENARIOS = {
    "the declared task": task,
    "a set in a closure": lambda: changed(metric=holding(set(NAMES))),
    "a dataclass with a set in a closure": lambda: changed(
        metric=holding(Rubric(frozenset(NAMES)))
    ),
    "an enum in a closure": lambda: changed(metric=holding([Label.GOOD])),
    "a callable object with a set": lambda: changed(metric=Judge()),
    "a lambda with a set literal": lambda: changed(
        metric=lambda e, p, trace=None: p.queue in {"billing", "sales", "support", "legal"}
    ),
    "a set in a row": set_in_a_row,
    "an agent with tools": lambda: changed(program=dspy.ReAct("ticket -> queue", tools=[look_up])),
    "a function in Predict.config": lambda: changed(
        program=dspy.Predict("ticket -> queue", tools=[look_up])
    ),
    "an adapter with a model": lambda: changed(adapter=dspy.TwoStepAdapter(lm())),
    "a function in the model's parameters": lambda: changed(lm=lm(tools=[look_up])),
}
'''
KEYS = """\
import json
import sys

from pytest_mipro.fingerprint import of_evaluation, of_task
from scenarios import SCENARIOS

_padding = [object() for _ in range(int(sys.argv[1]))]  # other addresses, too
found = {}
for name, make in SCENARIOS.items():
    try:
        task = make()
        rows = of_evaluation(task.program, task.metric, task.lm, task.adapter)
        found[name] = [of_task(task).key, rows]
    except Exception as error:
        found[name] = [repr(error), repr(error)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def keys_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return all scenarios' keys from a process with another hash seed and folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name, text in {**FILES, "scenarios.py": SCENARIOS, "keys.py": KEYS}.items():
        (folder / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "keys.py", "4242"],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": "4242"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    keys: dict[str, list[str]] = json.loads(done.stdout)
    return keys


@pytest.mark.parametrize("name", re.findall(r'^    "([\w\' .]+)": ', SCENARIOS, re.MULTILINE))
def test_key_is_the_same_in_another_process(
    load: Load, keys_elsewhere: dict[str, list[str]], name: str
) -> None:
    """Neither hash seed, addresses, process nor folder are part of either key."""
    task = load({**FILES, "scenarios.py": SCENARIOS}).SCENARIOS[name]()
    keys = [of_task(task).key, evaluation_key(task)]

    assert all(re.fullmatch(r"[0-9a-f]{32}", key) for key in keys)
    assert keys == keys_elsewhere[name]


# --- The evaluation key --------------------------------------------------------------------


def evaluation_key(task: Task) -> str:
    """Return the key that all rows of ``task`` share."""
    return of_evaluation(task.program, task.metric, task.lm, task.adapter, task.version)


EVALUATION = {
    "nothing": False,
    "instruction": False,
    "demo": False,
    "train row added": False,
    "test row added": False,
    "prompt model": False,
    "api key": False,
    "attribute of the program": True,
    "model": True,
    "max_tokens": True,
    "adapter": True,
    "adapter attribute": True,
    "version": True,
}


@pytest.mark.parametrize("name, changes", EVALUATION.items())
def test_evaluation_key(load: Load, name: str, changes: bool) -> None:
    """Rows share a key until code, metric, model or adapter change; prompts come on top."""
    declared = load(FILES)
    _, alter = ALTERATIONS[name]

    before = evaluation_key(declared.task())

    assert (evaluation_key(alter(declared.task(), declared)) != before) is changes


@pytest.mark.parametrize(
    "name, changes",
    [
        ("nothing", False),
        ("traces", False),
        ("attribute of the program", False),
        ("instruction", True),
        ("demo", True),
        ("demo added", True),
        ("demo as a dictionary", False),
        ("model of a predictor", True),
    ],
)
def test_prompts_key(load: Load, name: str, changes: bool) -> None:
    """Two candidates share a key if they ask the same in the same words."""
    declared = load(FILES)
    _, alter = ALTERATIONS[name]

    before = of_prompts(declared.task().program)

    assert (of_prompts(alter(declared.task(), declared).program) != before) is changes


def test_prompts_lists_predictors_in_their_order(load: Load) -> None:
    """Each predictor's instruction and demos are given as JSON data."""
    first, second = prompts(load(FILES).task().program)

    assert (first.predictor, first.instruction) == ("classify", "Route the ticket.")
    assert first.demos == ({"ticket": "Invoice?", "queue": "billing"},)
    assert (second.predictor, second.demos) == ("explain.predict", ())


def test_demo_fields_are_json() -> None:
    """A demo's values are reduced to what JSON can hold."""
    demo = dspy.Example(question="Why?", score=float("nan"), tags={"b", "a"}, augmented=True)

    fields = demo_fields(demo)

    assert fields["question"] == "Why?"
    assert fields["tags"] == ["a", "b"]
    assert fields["augmented"] is True
    assert json.loads(json.dumps(fields, allow_nan=False)) == fields


# --- Models and adapters -------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs",
    [
        {"api_key": SECRET},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"extra_headers": {"X-Api-Key": SECRET}},
        {"api_base": f"https://user:{SECRET}@models.example/v1"},
        {"api_base": f"https://{SECRET}@models.example/v1"},
        {"api_base": f"https://models.example/v1?key={SECRET}"},
        {"api_base": f"https://models.example/v1#{SECRET}"},
        {"api_base": f"user:{SECRET}@models.example/v1"},
        {"base_url": f"https://user:{SECRET}@models.example/v1?key={SECRET}"},
        {"extra_query": {"code": SECRET}},
        {"aws_secret_access_key": SECRET},
        {"aws_session_token": SECRET},
        {"vertex_credentials": SECRET},
        {"azure_password": SECRET},
        {"azure_ad_token_provider": lambda: SECRET},
        {"extra_body": {"api_key": SECRET}},
        {"fallbacks": [{"model": "openai/other", "api_key": SECRET}]},
    ],
    ids="-".join,
)
def test_no_secret_in_the_description_of_a_model(kwargs: dict[str, Any]) -> None:
    """No credential is in what is hashed, stored or shown; another one changes nothing."""
    other = json.loads(json.dumps(kwargs, default=str).replace(SECRET, "sk-other"))

    described = model(dspy.LM("openai/gpt-test", **kwargs))

    assert SECRET not in json.dumps(described)
    assert described == model(dspy.LM("openai/gpt-test", **other))


def test_description_of_a_model_says_which_one_answers() -> None:
    """Model, endpoint and sampling are readable in the description."""
    lm = dspy.LM("openai/gpt-test", temperature=0.3, max_tokens=5, api_base="http://h:8000/v1?a=b")

    described = model(lm)

    assert isinstance(described, dict)
    assert described["model"] == "openai/gpt-test"
    assert described["endpoint"] == "http://h:8000/v1"
    assert described["sampling"] == {"temperature": 0.3, "max_tokens": 5}


def test_endpoint_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that the environment names answers instead of the provider; its secrets do not."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_BASE", f"https://user:{SECRET}@one.example/v1?key={SECRET}")

    assert model(dspy.LM("openai/gpt-test"))["endpoint"] == "https://one.example/v1"
    assert (
        model(dspy.LM("openai/gpt-test", api_base="http://two/v1"))["endpoint"] == "http://two/v1"
    )
    assert model(dspy.LM("anthropic/claude-test"))["endpoint"] is None
    assert model(scripted_lm())["endpoint"] is None


@pytest.mark.parametrize(
    "kwargs",
    [
        {"max_completion_tokens": 5},
        {"stop_token_ids": [1]},
        {"extra_body": {"min_tokens": 3}},
        {"fallbacks": [{"model": "openai/other"}]},
        {"tools": [_length]},
    ],
    ids="-".join,
)
def test_parameters_count(kwargs: dict[str, Any]) -> None:
    """What decides the answer is described, at any depth, whatever its name resembles."""
    assert model(dspy.LM("openai/gpt-test", **kwargs)) != model(dspy.LM("openai/gpt-test"))


def test_engine_is_described_by_class_and_state() -> None:
    """Two engines with the same state are one; another state is another model."""
    assert model(scripted_lm(base=30)) == model(scripted_lm(base=30))
    assert model(scripted_lm(base=30)) != model(scripted_lm(base=31))


def test_unusual_endpoint_is_no_error() -> None:
    """An address that is no URL still identifies the model."""
    one, two = (
        model(dspy.LM("openai/gpt-test", api_base=url)) for url in ("http://[::1", "http://[::2")
    )

    assert one != two


class _Quiet(dspy.ChatAdapter):
    def __init__(self, tone: object) -> None:
        super().__init__()
        self.tone = tone
        self._calls = tone


def test_adapter_is_described_by_class_and_public_attributes() -> None:
    """An adapter's public attributes count, its private state does not."""
    quiet = _Quiet("calm")
    quiet._calls = 7

    assert adapter(quiet) == adapter(_Quiet("calm"))
    assert adapter(quiet) != adapter(_Quiet("sharp"))
    assert adapter(quiet) != adapter(dspy.ChatAdapter())
    assert adapter(None) is None


def test_adapter_with_a_model_is_described_by_the_model() -> None:
    """A model inside an adapter counts by its content, without its secrets."""
    one, same, other = (
        adapter(dspy.TwoStepAdapter(dspy.LM(name, api_key=key)))
        for name, key in (("openai/a", SECRET), ("openai/a", "other"), ("openai/b", "other"))
    )

    assert one == same
    assert one != other
    assert SECRET not in json.dumps(one)


@pytest.mark.parametrize("value", [None, 3, "text", len, _Threshold(1.0)])
def test_location_of_what_has_none_is_empty(value: object) -> None:
    """Values without source have no place."""
    assert not location(value)


def test_location_of_a_decorated_function_is_the_function() -> None:
    """The place is that of the code the user wrote."""
    line = _length.__code__.co_firstlineno

    assert location(_length) == f"test_fingerprint.py:{line}"


# --- Differences in words ------------------------------------------------------------------

PARTS = st.dictionaries(
    st.sampled_from(
        [
            Part(Kind.METRIC),
            Part(Kind.MODEL),
            Part(Kind.ADAPTER),
            *(Part(Kind.ROW, name, split) for split in ("train", "val") for name in "abc"),
        ]
    ),
    st.sampled_from(["0", "1"]),
).map(Fingerprint)


@given(earlier=PARTS, current=PARTS)
def test_words_are_silent_exactly_if_the_keys_agree(
    earlier: Fingerprint, current: Fingerprint
) -> None:
    """There is a change in words if and only if the key changed."""
    assert (not current.changes_since(earlier.parts)) == (current.key == earlier.key)


@given(earlier=PARTS, current=PARTS)
def test_every_changed_row_is_counted_once(earlier: Fingerprint, current: Fingerprint) -> None:
    """The counts in the words add up to the rows that differ."""
    digests = (earlier.digests, current.digests)
    parts = {*earlier.digests, *current.digests}
    changed = [part for part in parts if digests[0].get(part) != digests[1].get(part)]

    changes = current.changes_since(earlier.parts)

    counts = [int(change.split()[0]) for change in changes if change[0].isdigit()]
    rows = [part for part in changed if part.kind is Kind.ROW]
    assert sum(counts) == len(rows)
    assert len(changes) - len(counts) == len(changed) - len(rows)


def test_words_for_each_kind_of_change() -> None:
    """Parts are named in order with their locations, rows are counted after them."""
    metric, model_part = Part(Kind.METRIC), Part(Kind.MODEL)
    rows = {name: Part(Kind.ROW, name, "train") for name in "acd"}
    earlier = Fingerprint(
        {
            metric: "1",
            model_part: "1",
            Part(Kind.EXTRA, "old"): "1",
            rows["a"]: "0",
            Part(Kind.ROW, "b", "val"): "0",
        }
    )
    digests = {
        metric: "2",
        model_part: "1",
        Part(Kind.EXTRA, "new"): "1",
        rows["a"]: "1",
        rows["c"]: "0",
        rows["d"]: "2",
    }
    current = Fingerprint(digests, {metric: "test_it.py:12", model_part: "x.py:1"})

    assert current.changes_since(earlier.parts) == (
        "metric changed (test_it.py:12)",
        "new added",
        "old removed",
        "2 train rows added",
        "1 train row moved",
        "1 val row removed",
    )


def test_key_ignores_the_order_of_parts_and_their_locations() -> None:
    """The key is about content alone."""
    metric, model_part = Part(Kind.METRIC), Part(Kind.MODEL)
    fingerprint = Fingerprint({metric: "1", model_part: "2"}, {metric: "x.py:1"})
    reordered = Fingerprint({model_part: "2", metric: "1"}, {metric: "x.py:99"})

    assert fingerprint.key == reordered.key
    assert re.fullmatch(r"[0-9a-f]{32}", fingerprint.key)
