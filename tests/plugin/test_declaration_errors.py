"""A wrong declaration is an error at collection that names the mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project

pytestmark = pytest.mark.uses("pytest")

HEAD = """
import dspy
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, ROWS
"""

MISTAKES = {
    "unknown argument": (
        "program=Adder, metric=right, dataset=DATASET, num_trails=3",
        ["*mipro has no argument 'num_trails'; did you mean 'num_trials'?*"],
    ),
    "broken line": (
        "program=Adder, metric=right, dataset='broken.jsonl', inputs=['question']",
        ["*broken.jsonl, line 2: not JSON*"],
    ),
}


@pytest.mark.parametrize("arguments, lines", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_an_error_at_collection(
    project: Project, arguments: str, lines: list[str]
) -> None:
    """The message names the mistake, without an LM call or a frame of the plugin."""
    (project.path / "broken.jsonl").write_text('{"question": "a", "answer": 1}\n{"question": \n')
    project.write(test_adder=f"{HEAD}\n@mipro_optimize({arguments})\ndef test_adder(mipro): pass\n")
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_adder.py::test_adder: *"])
    result.stdout.fnmatch_lines(lines)
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert "pytest_mipro/" not in result.stdout.str()
    assert project.calls == 0


@pytest.mark.parametrize(
    "expression, message",
    [
        ("Budget(lm_calls=0)", "expected a whole number of at least 1"),
        ("Dataset(train=[], val=[], test=[])", "the train split is empty"),
        ("Dataset.load('missing.csv')", "missing.csv does not exist"),
    ],
)
def test_a_mistake_while_a_test_file_is_imported(
    project: Project, expression: str, message: str
) -> None:
    """The error shows the line of the file, and no frame of the plugin."""
    project.write(test_adder=f"from pytest_mipro import Budget, Dataset\nwrong = {expression}")
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"    wrong = {expression}", f"E *{message}*"])
    assert "pytest_mipro/" not in result.stdout.str()
    assert "<string>" not in result.stdout.str()


def test_workers_report_a_mistake_without_crashing(project: Project) -> None:
    """The controller of xdist survives a mistake at collection."""
    project.write(test_adder=f"{HEAD}\n@mipro_optimize(metric=3)\ndef test_adder(mipro): pass\n")
    result = project.run("--mipro", "-n", "2")
    result.stdout.fnmatch_lines(["*metric=3 is not callable*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_an_adapter_fixture_that_gives_no_adapter_is_named(project: Project) -> None:
    """The plugin checks the value of a fixture, and shows no traceback."""
    fixture = "@pytest.fixture\ndef mipro_adapter(): return 'json'\n"
    test = "@mipro_optimize(program=Adder, metric=right, dataset=DATASET)\ndef test_adder(): pass\n"
    project.write(test_adder=f"{HEAD}\n{fixture}\n{test}")
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*adapter='json' is not a dspy.Adapter*"])
    result.stdout.no_fnmatch_line("*pytest_mipro/*")


def test_a_program_that_needs_arguments_is_named(project: Project) -> None:
    """The error comes from the fixture and shows no traceback."""
    program = (
        (project.path / "program.py").read_text().replace("__init__(self)", "__init__(self, n)")
    )
    project.write(program=program)
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*program=Adder cannot be built without arguments*mipro_program*"])
    result.stdout.no_fnmatch_line("*pytest_mipro/*")


@pytest.mark.parametrize("missing", ["program", "metric", "dataset"])
def test_a_missing_argument_is_named_with_its_fixture(project: Project, missing: str) -> None:
    """The error names both ways to give the argument."""
    arguments = {"program": "Adder", "metric": "right", "dataset": "DATASET"}
    del arguments[missing]
    text = ", ".join(f"{name}={value}" for name, value in arguments.items())
    project.write(test_adder=f"{HEAD}\n@mipro_optimize({text})\ndef test_adder(mipro): pass\n")
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*no {missing} is declared*mipro_{missing} fixture*"])


def test_a_test_that_passes_without_its_outcome_fails(project: Project) -> None:
    """That a fixture of all tests has ``request`` does not hide that nothing is judged."""
    project.write(
        test_adder=f"""{HEAD}
@pytest.fixture(autouse=True)
def of_all_tests(request): pass

declare = pytest.mark.mipro(program=Adder, metric=right, dataset=DATASET)

@declare
def test_silent(): pass

@declare
def test_skips(): pytest.skip("not today")

@declare
class TestAdder:
    def test_other(self): pass
"""
    )
    result = project.run("--mipro")
    result.assert_outcomes(failed=1, skipped=1, passed=1)
    result.stdout.fnmatch_lines(["mipro: the test has the marker mipro and does not request*"])
    assert project.calls == 0
