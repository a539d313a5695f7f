"""``budget=`` ends a search early, and the test is judged all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

TEST = """
from pytest_mipro import Budget, mipro_optimize
from program import Adder, right, DATASET

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, budget=Budget({limit}))
def test_adder(mipro):
    assert mipro.baseline.scores
"""


def write_test(project: Project, limit: str) -> None:
    """Write a test with a budget."""
    project.write(test_adder=TEST.format(limit=limit))


def test_a_cut_search_is_judged_and_continues_under_a_larger_budget(project: Project) -> None:
    """The same budget takes the stored artifact; a larger one continues the search."""
    write_test(project, "lm_calls=200")
    first = project.run("--mipro")
    first.assert_outcomes(passed=1)
    first.stdout.fnmatch_lines(["test_adder *  compiled in *, search cut at lm_calls=200*"])
    cut_calls = project.calls
    assert 100 < cut_calls <= 200

    second = project.run("--mipro")
    second.stdout.fnmatch_lines(["test_adder *  0    $0  from the store, search cut at *"])
    assert project.calls == cut_calls

    write_test(project, "lm_calls=2000")
    larger = project.run("--mipro")
    larger.assert_outcomes(passed=1)
    larger.stdout.fnmatch_lines(["*compiling: the search was cut at lm_calls=200, there is more*"])
    larger.stdout.no_fnmatch_line("*search cut at lm_calls=2000*")
    total = project.calls

    write_test(project, "tokens=1000000")
    project.run("--mipro").assert_outcomes(passed=1)
    assert project.calls == total
