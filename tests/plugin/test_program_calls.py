"""A test calls the programs of its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

CALLING = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
def test_adder(mipro):
    assert mipro.compiled.program(question="What is 1 + 4?").answer
    assert mipro.baseline.program(question="What is 2 + 5?").answer

def test_without_a_task():
    import dspy
    assert dspy.settings.lm is None
"""


def test_calls_work_and_are_counted(project: Project) -> None:
    """With the model of the task, in this test alone; also where all else is in the store."""
    project.write(test_adder=CALLING)
    project.run("--mipro").assert_outcomes(passed=2)
    paid = project.calls
    result = project.run("--mipro")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["test_adder *  2  *  from the store"])
    assert project.calls == paid + 2
