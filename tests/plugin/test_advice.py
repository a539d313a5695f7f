"""A warning says that compiling is unlikely to pay; the test runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

FEW = """
from pytest_mipro import mipro_optimize
from program import Adder, right, ROWS, SEARCH

DATASET = {"train": ROWS[:8], "val": ROWS[20:30], "test": ROWS[70:78]}

@mipro_optimize(program=Adder, metric=METRIC, dataset=DATASET, **SEARCH)
def test_adder(mipro):
    assert mipro.compiled.score >= 0

@mipro_optimize(program=Adder, metric=METRIC, dataset=DATASET, **SEARCH)
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


DOUBTFUL = """
import dspy
from pytest_mipro import mipro_optimize
from program import Adder, ROWS

class Twice(Adder):
    def forward(self, question):
        dspy.Predict("question -> remark")(question=question)
        return super().forward(question)

def constant(example, prediction, trace=None):
    return 1

DATASET = {
    "train": ROWS[:5],
    "val": ROWS[5:10],
    "test": [*ROWS[10:20], ROWS[12].copy(question=ROWS[12].question.upper())],
}

@mipro_optimize(
    program=Twice,
    metric=constant,
    dataset=DATASET,
    auto=None,
    num_candidates=2,
    num_trials=1,
    minibatch=False,
)
def test_adder(mipro):
    assert mipro.compiled.score == 1
"""


def test_doubts_about_dataset_program_and_metric_are_shown(project: Project) -> None:
    """The first run names all of them; a run from the store cannot pass in silence either."""
    project.write(test_adder=DOUBTFUL)
    result = project.run("--mipro")
    result.assert_outcomes(passed=1)
    near_duplicate = "*test_adder: 1 example with inputs that differ from another's only in case*"
    constant = "*the metric gave 1 to all 22 held-out answers, so it tells no two programs apart*"
    foreign = (
        "*test_adder: calls of the program came from *: 'question -> remark' (called 5 times)*"
    )
    result.stdout.fnmatch_lines_random([near_duplicate, constant, foreign])
    again = project.run("--mipro")
    again.assert_outcomes(passed=1)
    again.stdout.fnmatch_lines_random([near_duplicate, constant])


def test_a_wrong_input_is_an_error_before_any_call(project: Project) -> None:
    """The error names the program, the inputs and what ``forward`` takes."""
    program = (project.path / "program.py").read_text()
    project.write(program=program.replace("forward(self, question)", "forward(self, query)"))
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["mipro: program Adder does not take the inputs of train[[]0], question: forward cannot*"]
    )
    assert project.calls == 0


def test_a_broken_program_is_an_error_after_a_few_calls(project: Project) -> None:
    """The error has the traceback of the first failure."""
    program = (project.path / "program.py").read_text()
    body = "self.add(question=question)"
    project.write(program=program.replace(body, f"{body}.anwser"))
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "mipro: the baseline program failed on 5 of 5 first validation examples with Attrib*",
            "*return self.add(question=question).anwser",
        ]
    )
    assert project.calls == 5
