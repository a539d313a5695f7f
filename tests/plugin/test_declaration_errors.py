"""What is declared wrongly is said at collection, in words, for every test that declares it."""

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


@pytest.mark.parametrize("declared,lines", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_an_error_at_collection(
    project: Project, declared: str, lines: list[str]
) -> None:
    """The message names the mistake, no model is asked, no frame of ours is shown."""
    (project.path / "broken.jsonl").write_text('{"question": "a", "answer": 1}\n{"question": \n')
    project.write(test_adder=f"{HEAD}\n@mipro_optimize({declared})\ndef test_adder(mipro): pass\n")
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_adder.py::test_adder: *"])
    result.stdout.fnmatch_lines(lines)
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert "pytest_mipro/" not in result.stdout.str()
    assert project.calls == 0


@pytest.mark.parametrize(
    "made, said",
    [
        ("Budget(lm_calls=0)", "expected a whole number of at least 1"),
        ("Dataset(train=[], val=[], test=[])", "the train split is empty"),
        ("Dataset.load('missing.csv')", "missing.csv does not exist"),
    ],
)
def test_a_mistake_while_a_test_file_is_imported(project: Project, made: str, said: str) -> None:
    """The line of the file is shown, and none of ours."""
    project.write(test_adder=f"from pytest_mipro import Budget, Dataset\nwrong = {made}")
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"    wrong = {made}", f"E *{said}*"])
    assert "pytest_mipro/" not in result.stdout.str()
    assert "<string>" not in result.stdout.str()


def test_workers_report_a_mistake_without_crashing(project: Project) -> None:
    """The controller of xdist survives a mistake at collection."""
    project.write(test_adder=f"{HEAD}\n@mipro_optimize(metric=3)\ndef test_adder(mipro): pass\n")
    result = project.run("--mipro", "-n", "2")
    result.stdout.fnmatch_lines(["*metric=3 is not callable*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_an_adapter_fixture_that_gives_no_adapter_is_named(project: Project) -> None:
    """A fixture is checked where it is used, without a traceback."""
    fixture = "@pytest.fixture\ndef mipro_adapter(): return 'json'\n"
    test = "@mipro_optimize(program=Adder, metric=right, dataset=DATASET)\ndef test_adder(): pass\n"
    project.write(test_adder=f"{HEAD}\n{fixture}\n{test}")
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*adapter='json' is not a dspy.Adapter*"])
    result.stdout.no_fnmatch_line("*pytest_mipro/*")


def test_a_program_that_needs_arguments_is_named(project: Project) -> None:
    """The error comes from the fixture, without a traceback."""
    program = (
        (project.path / "program.py").read_text().replace("__init__(self)", "__init__(self, n)")
    )
    project.write(program=program)
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*program=Adder cannot be built without arguments*mipro_program*"])
    result.stdout.no_fnmatch_line("*pytest_mipro/*")


@pytest.mark.parametrize("missing", ["program", "metric", "dataset"])
def test_what_is_declared_nowhere_is_named_with_its_fixture(project: Project, missing: str) -> None:
    """Neither the decorator nor a fixture gives it."""
    given = {"program": "Adder", "metric": "right", "dataset": "DATASET"}
    del given[missing]
    declared = ", ".join(f"{name}={value}" for name, value in given.items())
    project.write(test_adder=f"{HEAD}\n@mipro_optimize({declared})\ndef test_adder(mipro): pass\n")
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*no {missing} is declared*mipro_{missing} fixture*"])
