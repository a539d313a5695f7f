"""``--mipro-refresh`` compiles tasks again whose artifact is in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

ONE_TASK = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
def test_first(mipro):
    pass

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
def test_second(mipro):
    pass
"""


def test_refresh_repeats_the_calls(project: Project) -> None:
    """Neither the store nor DSPy's cache answers, and the new artifact replaces the old one."""
    conftest = (project.path / "conftest.py").read_text()
    project.write(conftest=conftest.replace('"calls.log")', '"calls.log", cache=True)'))
    project.run("--mipro")
    compile_and_score = project.calls
    result = project.run("--mipro", "--mipro-refresh", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*compiling: again, as asked for (--mipro-refresh)"])
    # The store has the held-out rows of the same program.
    assert project.calls == 2 * compile_and_score - 48
    paid = project.calls
    project.write(conftest=conftest.replace('"calls.log")', '"calls.log", base=31)'))
    project.run("--mipro", "--mipro-refresh").assert_outcomes(passed=1)
    assert project.calls > paid
    paid = project.calls
    project.run("--mipro").stdout.fnmatch_lines(["test_adder *  0    $0  from the store"])
    assert project.calls == paid


def test_workers_refresh_once(compiled: Project) -> None:
    """Tests that share a task share the artifact of this run."""
    compiled.write(test_adder=ONE_TASK)
    compile_and_score = compiled.calls
    result = compiled.run("--mipro", "--mipro-refresh", "-n", "2")
    result.assert_outcomes(passed=2)
    assert compiled.calls == 2 * compile_and_score - 48
