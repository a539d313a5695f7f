"""A warning says that compiling is unlikely to pay; the test runs on."""

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
ADVICE = "*test_adder.py:6: MiproWarning: 18 labelled examples (train and val) are too few*"


def test_a_compile_warns_once(project: Project) -> None:
    """Two tests of one task cause one warning; an artifact from the store causes none."""
    project.write(test_adder=FEW.replace("METRIC", "right"))
    result = project.run("--mipro")
    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines([ADVICE])
    again = project.run("--mipro")
    again.assert_outcomes(passed=2, warnings=0)


def test_a_filter_hides_the_warning(project: Project) -> None:
    """A warning filter can name the category."""
    project.write(test_adder=FEW.replace("METRIC", "right"))
    result = project.run("--mipro", "-W", "ignore::pytest_mipro.MiproWarning")
    result.assert_outcomes(passed=2, warnings=0)


def test_a_filter_makes_the_warning_an_error_before_any_call(project: Project) -> None:
    """The error shows the sentence and no traceback."""
    project.write(test_adder=FEW.replace("METRIC", "right"))
    result = project.run("--mipro", "-W", "error::pytest_mipro.MiproWarning")
    result.assert_outcomes(errors=2)
    advice = ["mipro: 18 labelled examples*", "this is advice, no fault: a filter *"]
    result.stdout.fnmatch_lines(advice)
    result.stdout.no_fnmatch_line("*session.py*")
    assert project.calls == 0
