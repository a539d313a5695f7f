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
    "metric not callable": (
        "program=Adder, metric='exact', dataset=DATASET",
        ["*metric='exact' is not callable; expected a function*"],
    ),
    "metric of one argument": (
        "program=Adder, metric=lambda example: 1, dataset=DATASET",
        ["*metric=<lambda> cannot be called with an example and a pred*: it takes (example), *"],
    ),
    "adapter no instance": (
        "program=Adder, metric=right, dataset=DATASET, adapter=dspy.JSONAdapter",
        ["*adapter=JSONAdapter is not a dspy.Adapter; expected an instance*"],
    ),
    "program no module": (
        "program=3, metric=right, dataset=DATASET",
        ["*program=3 is not a dspy.Module*"],
    ),
    "program class no module": (
        "program=dict, metric=right, dataset=DATASET",
        ["*program=dict is not a dspy.Module*"],
    ),
    "missing file": (
        "program=Adder, metric=right, dataset='nowhere.jsonl', inputs=['question']",
        ["*dataset file */nowhere.jsonl does not exist*"],
    ),
    "broken line": (
        "program=Adder, metric=right, dataset='broken.jsonl', inputs=['question']",
        ["*broken.jsonl, line 2: not JSON*"],
    ),
    "overlap": (
        "program=Adder, metric=right, dataset={**DATASET, 'val': ROWS[10:30]}",
        ["*the splits share 10 examples*", "*val*0* = train*10*"],
    ),
    "empty test split": (
        "program=Adder, metric=right, dataset={**DATASET, 'test': []}",
        ["*the test split is empty (20 train, 40 val, 0 test)*"],
    ),
    "inputs not marked": (
        "program=Adder, metric=right, dataset=[dspy.Example(a=1)]",
        ["*does not say which of its fields*inputs=*"],
    ),
    "cluster missing": (
        "program=Adder, metric=right, dataset=DATASET, cluster='document'",
        ["*cluster='document': test?0? has no value in that field; it has*'question'*"],
    ),
    "single cluster": (
        (
            "program=Adder, metric=right, cluster='all', dataset={"
            "name: [dspy.Example(**row, all=1).with_inputs('question') for row in rows] "
            "for name, rows in DATASET.items()}"
        ),
        ["*cluster='all': all 60 held-out examples are in one cluster, '1'*"],
    ),
    "cluster no name": (
        "program=Adder, metric=right, dataset=DATASET, cluster=3",
        ["*cluster=3: expected the name of a field*"],
    ),
    "repeat no number": (
        "program=Adder, metric=right, dataset=DATASET, repeat=True",
        ["*repeat=True: expected a whole number of at least 1*"],
    ),
    "wrong option": (
        "program=Adder, metric=right, dataset=DATASET, auto='huge'",
        ["*auto='huge'*'light', 'medium' or 'heavy'*"],
    ),
    "contradicting options": (
        "program=Adder, metric=right, dataset=DATASET, num_trials=3",
        ["*auto='light' sets num_candidates and num_trials itself*"],
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


def test_the_marker_refuses_positional_arguments(project: Project) -> None:
    """Only keywords say what an argument is."""
    mark = "@pytest.mark.mipro.with_args(Adder)\ndef test_adder(mipro): pass\n"
    project.write(test_adder=f"{HEAD}\n{mark}")
    project.run("--mipro").stdout.fnmatch_lines(["*mipro takes keyword arguments only*"])


def test_a_marked_test_that_asks_for_nothing_is_a_mistake(project: Project) -> None:
    """It would pass whatever its prompt does; on a class, some tests may need no outcome."""
    mark = "@pytest.mark.mipro(program=Adder, metric=right, dataset=DATASET)"
    project.write(test_adder=f"{HEAD}\n{mark}\ndef test_adder(): pass\n")
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*marked with mipro and never asks*@mipro_optimize*"])

    asking = "    def test_it(self, request): request.getfixturevalue('mipro')\n"
    other = f"class TestAll:\n    def test_other(self): pass\n    {mark}\n{asking}"
    project.write(test_adder=f"{HEAD}\n{mark}\n{other}")
    project.run("--mipro").assert_outcomes(passed=2)


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
