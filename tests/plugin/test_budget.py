"""``budget=`` ends a search early, never a verdict, and says so."""

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


def limit(project: Project, text: str) -> None:
    """Let the test have a budget."""
    project.write(test_adder=TEST.format(limit=text))


def test_a_cut_search_is_judged_and_goes_on_under_a_larger_budget(project: Project) -> None:
    """The same budget takes what it has; a larger one goes on and pays for nothing twice."""
    limit(project, "lm_calls=320")
    first = project.run("--mipro")
    first.assert_outcomes(passed=1)
    first.stdout.fnmatch_lines(["test_adder *  compiled in *, search cut at lm_calls=320*"])
    spent = project.calls
    assert 200 < spent <= 320

    again = project.run("--mipro")
    again.stdout.fnmatch_lines(["test_adder *  0    $0  from the store, search cut at *"])
    assert project.calls == spent

    limit(project, "lm_calls=2000")
    larger = project.run("--mipro")
    larger.assert_outcomes(passed=1)
    larger.stdout.fnmatch_lines(["*compiling: the search was cut at lm_calls=320, there is more*"])
    larger.stdout.no_fnmatch_line("*search cut at lm_calls=2000*")
    total = project.calls

    limit(project, "tokens=1000000")
    project.run("--mipro").assert_outcomes(passed=1)
    assert project.calls == total
