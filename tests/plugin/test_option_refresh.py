"""``--mipro-refresh`` compiles again what the store has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

TWO = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

@mipro_optimize(program=Adder, metric=right, dataset=DATASET)
def test_one(mipro):
    pass

@mipro_optimize(program=Adder, metric=right, dataset=DATASET)
def test_two(mipro):
    pass
"""


def test_the_models_are_asked_again(project: Project) -> None:
    """Neither the store nor DSPy's cache answers; the new artifact takes the old one's place."""
    conftest = (project.path / "conftest.py").read_text()
    project.write(conftest=conftest.replace('"calls.log")', '"calls.log", cache=True)'))
    project.run("--mipro")
    compile_and_score = project.calls
    result = project.run("--mipro", "--mipro-refresh", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*compiling: again, as asked for (--mipro-refresh)"])
    # The held-out rows of the same program are known.
    assert project.calls == 2 * compile_and_score - 120
    paid = project.calls
    project.write(conftest=conftest.replace('"calls.log")', '"calls.log", base=31)'))
    project.run("--mipro", "--mipro-refresh").assert_outcomes(passed=1)
    assert project.calls > paid
    paid = project.calls
    project.run("--mipro").stdout.fnmatch_lines(["test_adder *  0    $0  from the store"])
    assert project.calls == paid


def test_workers_compile_again_once(project: Project) -> None:
    """Tests that share a task share what was compiled for this run."""
    project.write(test_adder=TWO)
    project.run("--mipro")
    once = project.calls
    result = project.run("--mipro", "--mipro-refresh", "-n", "2")
    result.assert_outcomes(passed=2)
    assert project.calls == 2 * once - 120
