from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
import pytest
from fingerprints import (
    Question,
    keys_of_task_and_rows,
    length,
    simple_task,
)
from reached_code import DEPENDENCIES, Dependency
from ticket_project import edited

from pytest_mipro.fingerprint import task_fingerprint
from pytest_mipro.fingerprint.parts import code_part

if TYPE_CHECKING:
    from fingerprints import Load

pytestmark = pytest.mark.uses("dspy", "pydantic")


@pytest.mark.parametrize("dependency", DEPENDENCIES.values(), ids=DEPENDENCIES)
def test_code_is_followed(load: Load, dependency: Dependency) -> None:
    """An edit of any code that the metric depends on changes both keys."""
    files = {**(dependency.package or {}), "user_code.py": dependency.code}
    key, row_key = keys_of_task_and_rows(simple_task(load(files).metric))
    assert keys_of_task_and_rows(simple_task(load(files).metric)) == (key, row_key)

    files = edited(dependency.file, dependency.old, dependency.new, files)
    changed_key, changed_row_key = keys_of_task_and_rows(simple_task(load(files).metric))

    assert changed_key != key
    assert changed_row_key != row_key


@pytest.mark.parametrize(
    "name, expected",
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
def test_edit_is_one_change(load: Load, name: str, expected: str) -> None:
    """An edit is one change in words, with the location of the code."""
    dependency = DEPENDENCIES[name]
    files = {"user_code.py": dependency.code}
    original = task_fingerprint(simple_task(load(files).metric))

    files = edited("user_code.py", dependency.old, dependency.new, files)
    changed = task_fingerprint(simple_task(load(files).metric))

    assert changed.changes_since(original.parts) == (expected,)


def test_recursion_ends(load: Load) -> None:
    """Functions that call each other and closures that contain themselves have a key."""
    code = (
        "def odd(n):\n    return n and even(n - 1)\n\n\n"
        "def even(n):\n    return n or odd(n - 1)\n\n\n"
        "def make():\n    def metric(e, p, trace=None):\n        return metric and even(2)\n"
        "    return metric\n\n\nmetric = make()\n"
    )

    parts = task_fingerprint(simple_task(load({"user_code.py": code}).metric)).parts

    assert {code_part("user_code.odd"), code_part("user_code.even")} <= set(parts)


def test_object_with_its_own_method_as_attribute_has_a_key(load: Load) -> None:
    """State that refers to the object itself is described once."""
    code = (
        "class Judge:\n    def __init__(self, limit):\n        self.limit = limit\n"
        "        self.checks = [self.score]\n    def score(self, e, p, trace=None):\n"
        "        return self.limit\n"
    )
    judge = load({"user_code.py": code}).Judge

    keys = [task_fingerprint(simple_task(judge(limit).score)).key for limit in (1, 1, 2)]

    assert keys[0] == keys[1] != keys[2]


def test_agent_whose_tools_are_its_own_methods_has_a_key(load: Load) -> None:
    """A ReAct agent with bound methods as tools has a key, which the tools change."""
    code = (
        "import dspy\n\n\nclass Agent(dspy.Module):\n    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.react = dspy.ReAct('question -> answer', tools=[self.look_up])\n"
        "    def look_up(self, title: str) -> str:\n        return 'before'\n"
        "    def forward(self, question):\n        return self.react(question=question)\n"
    )
    files = {"user_code.py": code}

    key = task_fingerprint(simple_task(length, load(files).Agent())).key
    reloaded = task_fingerprint(simple_task(length, load(files).Agent())).key
    files = edited("user_code.py", "'before'", "'after'", files)
    changed = task_fingerprint(simple_task(length, load(files).Agent())).key

    assert key == reloaded != changed


def test_tool_of_an_agent_is_followed(load: Load) -> None:
    """An edit of a tool's function changes the key."""
    code = "def look_up(title: str) -> str:\n    return 'before'\n"
    files = {"user_code.py": code}

    def key(files: dict[str, str]) -> str:
        agent = dspy.ReAct(Question, tools=[load(files).look_up])
        return task_fingerprint(simple_task(length, agent)).key

    assert key(files) != key(edited("user_code.py", "'before'", "'after'", files))
