"""``budget=`` ends a search early, never a verdict, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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


def test_a_test_with_more_to_spend_does_not_share_what_was_cut(project: Project) -> None:
    """Of tests of one task in a run, each gets at least what its own budget allows."""
    tests = [("adder", "lm_calls=320"), ("more", "lm_calls=2000"), ("same", "tokens=1000000")]
    code = [TEST.format(limit=given).replace("test_adder", f"test_{name}") for name, given in tests]
    project.write(test_adder="\n".join(code))
    result = project.run("--mipro")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "test_adder *  compiled in *, search cut at lm_calls=320*",
            "test_more * the search was cut at lm_calls=320, there is more to spend now",
            "test_same * shared with test_adder.py::test_more",
        ]
    )
    result.stdout.no_fnmatch_line("test_more *, search cut at*")


def test_a_budget_too_small_for_a_verdict_is_an_error(project: Project) -> None:
    """Nothing is spent on a search that cannot be judged, and the error says why."""
    limit(project, "lm_calls=150")
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*mipro: lm_calls=150 is not enough, and not all held-out*"])
    assert project.calls == 0


@pytest.mark.parametrize("text", ["tokens=4000", "seconds=1000", "lm_calls=330, tokens=10**6"])
def test_other_limits_end_well(project: Project, text: str) -> None:
    """There is a verdict, and no more is spent than the limit."""
    limit(project, text)
    project.run("--mipro").assert_outcomes(passed=1)
    assert project.calls <= {"tokens=4000": 4000 // 12 + 8}.get(text, 2000)


def test_a_cost_limit_needs_a_price(project: Project) -> None:
    """Without one nothing is asked; the error's own line mends it."""
    limit(project, "cost_usd=0.5")
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the price of 'scripted' is unknown*mipro_price = scripted: *"])
    assert project.calls == 0
    project.run("--mipro", "-o", "mipro_price=scripted: 50 500").assert_outcomes(passed=1)
    assert 0 < project.calls * 0.0015 <= 0.5 + 8 * 0.0015


def test_a_wrong_budget_is_found_at_collection(project: Project) -> None:
    """A number is no budget, and 0 calls are none either."""
    limit(project, "lm_calls=0")
    said = project.run("--mipro").stdout
    said.fnmatch_lines(["*Budget(lm_calls=0): expected a whole number*"])
    project.write(test_adder=TEST.replace("budget=Budget", "budget=dict").format(limit="x=1"))
    project.run("--mipro").stdout.fnmatch_lines(["*budget={*}: expected pytest_mipro.Budget(*"])
