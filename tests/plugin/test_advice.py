"""A warning says where compiling is unlikely to pay, and stops nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

FEW = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

DATASET = {**DATASET, "train": DATASET["train"][:8], "val": DATASET["val"][:10]}

@mipro_optimize(program=Adder, metric=METRIC, dataset=DATASET, minibatch=False)
def test_adder(mipro):
    assert mipro.compiled.score >= 0

@mipro_optimize(program=Adder, metric=METRIC, dataset=DATASET, minibatch=False)
def test_again(mipro):
    assert mipro.compiled.score >= 0
"""
SAID = "*test_adder.py:6: MiproWarning: 18 labelled examples (train and val) are too few*"


def test_it_is_said_once_where_something_is_compiled(project: Project) -> None:
    """Once for a task, however many tests have it, and not where it comes from the store."""
    project.write(test_adder=FEW.replace("METRIC", "right"))
    result = project.run("--mipro")
    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines([SAID])
    again = project.run("--mipro")
    again.assert_outcomes(passed=2, warnings=0)


def test_a_filter_hides_it(project: Project) -> None:
    """It is a category of its own."""
    project.write(test_adder=FEW.replace("METRIC", "right"))
    result = project.run("--mipro", "-W", "ignore::pytest_mipro.MiproWarning")
    result.assert_outcomes(passed=2, warnings=0)


def test_a_filter_makes_it_an_error_before_anything_is_paid_for(project: Project) -> None:
    """The error is the sentence alone."""
    project.write(test_adder=FEW.replace("METRIC", "right"))
    result = project.run("--mipro", "-W", "error::pytest_mipro.MiproWarning")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["mipro: 18 labelled examples*"])
    result.stdout.no_fnmatch_line("*sequence.py*")
    assert project.calls == 0
