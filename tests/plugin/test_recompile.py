"""A change of a project causes a recompile with its reasons, new scores, or nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from project import Project


def edit(project: Project, *edits: tuple[str, str]) -> None:
    """Replace texts in the project's program."""
    text = (project.path / "program.py").read_text()
    for old, new in edits:
        assert text.count(old) == 1
        text = text.replace(old, new)
    project.write(program=text)


def reasons(result: pytest.RunResult) -> list[str]:
    """Return the reasons for compiling that the run shows."""
    return re.findall(r"mipro: test_adder: compiling: (.*)", result.stdout.str())


def test_several_changes_are_all_named(compiled: Project) -> None:
    """One line names the changes of the code, of the fields and of the rows."""
    edit(
        compiled,
        ('"question -> answer: int"', '"question -> answer: float"'),
        ("ROWS[:20]", "ROWS[:19]"),
    )
    result = compiled.run("--mipro")
    assert reasons(result) == [
        "code of program.Adder changed (program.py:3), fields of add changed, 1 train row removed"
    ]


def test_held_out_rows_are_scored_without_a_compile(compiled: Project) -> None:
    """A new held-out row costs a call for each program, a corrected label costs none."""
    paid = compiled.calls
    edit(compiled, ("ROWS[70:94]", "ROWS[70:95]"))
    grown = compiled.run("--mipro")
    assert reasons(grown) == []
    grown.stdout.fnmatch_lines(["test_adder  25 *"])
    assert compiled.calls == paid + 2
    edit(compiled, ("answer=2 * i + 3)", "answer=2 * i + 3 + (i == 80))"))
    corrected = compiled.run("--mipro")
    assert reasons(corrected) == []
    corrected.stdout.fnmatch_lines(["test_adder  25 *"])
    assert compiled.calls == paid + 2


def test_irrelevant_changes_cause_no_work(compiled: Project, tmp_path: Path) -> None:
    """Another folder, file times, a comment or a hash seed cause no recompile."""
    paid = compiled.calls
    edit(
        compiled,
        ("def right(", "# Say whether the sum is right.\n\n\ndef right("),
        ('"test": ROWS[70:94]', '"test": ROWS[70:94][::-1]'),
    )
    copy = tmp_path / "a copy"
    shutil.copytree(compiled.path, copy, copy_function=shutil.copyfile)
    environment = {**os.environ, "PYTHONHASHSEED": "4242"}
    # A fork would have the hash seed of its parent process.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--mipro"]
    run = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=True
    )
    assert "compiling" not in run.stdout
    assert re.search(r"  0    \$0  from the store", run.stdout)
    assert len((copy / "calls.log").read_text().splitlines()) == paid


EDITING = """
import pathlib
from project_model import *

def pytest_collection_finish():
    program = pathlib.Path(__file__).parent / "program.py"
    program.write_text(program.read_text().replace("== prediction", "!=  prediction"))
"""


def test_program_that_is_edited_during_a_run_is_refused(project: Project) -> None:
    """The code that runs and its file differ, so nothing is asked or stored, until the next run."""
    conftest = (project.path / "conftest.py").read_text()
    project.write(project_model=conftest, conftest=EDITING)

    result = project.run("--mipro")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*does not run the code that is in program.py:*run again*"])
    assert project.calls == 0
    project.write(conftest=conftest)
    project.run("--mipro", "-p", "no:xdist").assert_outcomes(failed=1)


ASSERTING = """
from pytest_mipro import mipro_optimize
from program import Adder, DATASET, SEARCH

def right(example, prediction, trace=None):
    assert prediction.answer is not None, "no answer"
    return example.answer == prediction.answer

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
def test_adder(mipro):
    assert mipro.beats_baseline()
"""


def test_metric_with_an_assertion_in_a_test_file_has_a_key(project: Project) -> None:
    """What pytest makes of an assertion is the code of the file; an edit of it is a change."""
    project.write(test_adder=ASSERTING)
    project.run("--mipro").assert_outcomes(passed=1)
    paid = project.calls
    project.run("--mipro").assert_outcomes(passed=1)
    assert project.calls == paid

    project.write(test_adder=ASSERTING.replace("no answer", "answer missing"))

    (reason,) = reasons(project.run("--mipro"))
    assert reason.startswith("metric changed (test_adder.py:")
