"""A project whose task is compiled without a model and judged on ten examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

HELD_OUT = 10
"""Held-out examples."""
ROWS = 2 * HELD_OUT
"""The calls of the only run that pays: one for each program and held-out example."""
IGNORED = "ignore::pytest_mipro.MiproWarning"
"""A filter for warnings that there are few examples."""
QUICK = ("--mipro", "--mipro-optimizer", "labeled", "-W", IGNORED)
"""Arguments with an optimizer that asks no model."""
TASK = """
from pytest_mipro import mipro_optimize
from program import Adder, right, ROWS

DATASET = {"train": ROWS[:10], "val": ROWS[10:20], "test": ROWS[20:30]}
adding = mipro_optimize(program=Adder, metric=right, dataset=DATASET)
"""
"""The beginning of a test module: ``@adding`` declares the task."""
TWO_TESTS = """
@adding
def test_first(mipro):
    assert mipro.compiled.score > 0

@adding
def test_second(mipro):
    assert mipro.compiled.score > 0
"""
ASYNC = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

{decorator}
@adding
async def test_first(mipro):
    assert mipro.compiled.score > 0
    assert mipro.compiled.program(question="What is 1 + 4?").answer
    prediction = await mipro.compiled.program.add.acall(question="What is 2 + 5?")
    assert prediction.answer
"""
"""A test that makes two calls, one of which it awaits."""


def quick(project: Project, tests: str = TWO_TESTS) -> Project:
    """Return the project with other tests."""
    project.write(test_adder=TASK + tests)
    return project
