"""Options under which the end of the session decides: correction and confirmation of FAILs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from project import MANY_ROWS

from pytest_mipro.reference import (
    ReferenceLocation,
    accept_reference,
    first_history,
    read_reference,
    write_history,
)

if TYPE_CHECKING:
    from pathlib import Path

    from project import Project

pytestmark = pytest.mark.uses("pytest")

HOLM = "mipro_suite_correction=holm"
TESTS = """
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

adder = mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)

@adder
def test_same(mipro):
    assert mipro.no_regression()

@adder
def test_weak(mipro):
    assert mipro.no_regression()

@adder
def test_clear(mipro):
    assert mipro.no_regression()

@adder
def test_unasserted(mipro):
    mipro.no_regression()

@pytest.mark.xfail(strict=True)
@adder
def test_expected(mipro):
    assert mipro.no_regression()
"""
LOSSES = {"test_weak": 3, "test_clear": 20, "test_unasserted": 20, "test_expected": 20}
"""Accepted examples that the present program gets wrong; 3 of 60 are p = 0.049."""
OPTIMIZER = """

def pytest_mipro_optimize(task):
    return task.program.deepcopy()
"""


@pytest.fixture(scope="module")
def accepted_suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path at which the first test leaves the folder that the others copy."""
    return tmp_path_factory.mktemp("suite") / "accepted"


@pytest.fixture
def suite(project: Project, accepted_suite: Path) -> Project:
    """Write a project whose tests have lost more or less against their references."""
    if accepted_suite.exists():
        shutil.copytree(accepted_suite, project.path, dirs_exist_ok=True)
        return project
    conftest = (project.path / "conftest.py").read_text()
    project.write(program=MANY_ROWS, conftest=conftest + OPTIMIZER, test_adder=TESTS)
    project.run("--mipro", "--mipro-update", "--runxfail").assert_outcomes(passed=5)
    for name, losses in LOSSES.items():
        improve_reference(project, name, losses)
    shutil.copytree(project.path, accepted_suite)
    return project


def improve_reference(project: Project, name: str, count: int) -> None:
    """Let the accepted program of a test have been right on so many examples more."""
    file = project.path / "test_adder.py"
    location = ReferenceLocation.beside(file, [name], command="", root=project.path)
    reference = read_reference(location)
    assert reference is not None
    wrong = sorted(example for example, score in reference.compiled.items() if not score)
    better = replace(
        reference, compiled={**reference.compiled, **dict.fromkeys(wrong[:count], 1.0)}
    )
    accept_reference(location, better, reference, fields={})
    write_history(location, first_history(better))


def test_without_a_correction_each_fail_counts(suite: Project) -> None:
    """The weak one is a failure, too."""
    suite.run("--mipro").assert_outcomes(passed=2, failed=2, xfailed=1)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_a_fail_that_is_one_of_many_does_not_fail_the_run(
    suite: Project, workers: list[str]
) -> None:
    """The clear one is reported as a failure everywhere; an accident is told, and passes."""
    result = suite.run(
        "--mipro",
        "-o",
        HOLM,
        "-p",
        "cacheprovider",
        "--junitxml",
        "out.xml",
        "-x",
        *workers,
        "--mipro-report",
        "out.json",
    )
    result.assert_outcomes(passed=3, failed=1, xfailed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "assert FAIL: *Holm's correction over the [0-9] questions*and the FAIL stands*",
            "test_weak: no regression: FAIL: *does not stand and does not fail the run",
        ],
        consecutive=False,
    )
    tasks = {
        task["task"]: task for task in json.loads((suite.path / "out.json").read_text())["tasks"]
    }
    weak, clear = tasks["test_weak"], tasks["test_clear"]
    assert (weak["status"], weak["word"]) == ("passed", "INCONCLUSIVE")
    assert (clear["status"], clear["word"]) == ("failed", "FAIL")
    (verdict,) = weak["report"]["verdicts"]
    assert verdict["p_fail"] < 0.05 < verdict["p_corrected"]
    xml = (suite.path / "out.xml").read_text()
    assert xml.count("<failure") == 1
    failed = json.loads((suite.path / ".pytest_cache/v/cache/lastfailed").read_text())
    assert list(failed) == ["test_adder.py::test_clear"]


def test_a_run_without_a_standing_fail_is_green(suite: Project) -> None:
    """The exit status is 0, and the progress shows a deferred test."""
    result = suite.run("--mipro", "-o", HOLM, "-v", "-k", "same or weak")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["test_adder.py::test_weak DEFERRED*"])


def test_a_fail_has_to_come_twice(suite: Project) -> None:
    """The same stored answers are no second FAIL; the models have to be asked again."""
    options = ("--mipro", "-o", "mipro_confirm=2", "-k", "clear")
    for again in ("", "; the answers are those of the run before*with --mipro-rescore"):
        result = suite.run(*options)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines([f"*FAIL 1 of 2 in a row that are needed to fail a run{again}"])
    result = suite.run(*options, "--mipro-rescore")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*this is a FAIL in 2 runs in a row, 2 are needed*"])


def test_more_rows_of_a_measurement_are_no_second_fail(suite: Project) -> None:
    """An assert that asks further batches judges the answers that failed before."""
    options = ("--mipro", "-o", "mipro_confirm=2", "-o", "mipro_sequential=true", "-k", "clear")
    suite.run(*options).stdout.fnmatch_lines(["test_clear  30 of 60 *"])
    test = "    assert mipro.no_regression()\n    assert mipro.costs_no_more(ratio=9)\n"
    clear, rest = TESTS.partition("def test_unasserted")[::2]
    begin, end = clear.rsplit("    assert mipro.no_regression()\n", 1)
    suite.write(test_adder=begin + test + end + "def test_unasserted" + rest)
    result = suite.run(*options)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["test_clear  60 *", "*this is FAIL 1 of 2*the answers are those of the run before*"]
    )


def test_a_correction_of_another_name_is_an_error(project: Project) -> None:
    """The message has the names that there are."""
    result = project.run("--mipro", "-o", "mipro_suite_correction=bonferroni")
    result.stderr.fnmatch_lines(["*mipro_suite_correction='bonferroni': expected none or holm*"])
