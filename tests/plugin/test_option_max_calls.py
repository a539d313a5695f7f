"""``--mipro-max-calls`` and ``--mipro-max-cost`` limit all tasks of a session together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project

TWO_TASKS = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH, seed=1)
def test_first(mipro):
    assert mipro.baseline.scores

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH, seed=2)
def test_second(mipro):
    assert mipro.baseline.scores
"""
THREADS = 8


def test_the_tasks_of_a_session_share_its_limit(project: Project) -> None:
    """The first task uses the limit up, and the second is compiled in the next run."""
    project.write(test_adder=TWO_TASKS)
    first = project.run("--mipro", "--mipro-max-calls", "140")
    first.assert_outcomes(passed=1, errors=1)
    first.stdout.fnmatch_lines(["*mipro: --mipro-max-calls 140 is*, and not all held-out*"])
    assert project.calls < 140 + THREADS
    second = project.run("--mipro", "-o", "mipro_max_calls=140")
    second.assert_outcomes(passed=2)
    assert project.calls < 2 * (140 + THREADS)


def test_workers_share_the_limit(project: Project) -> None:
    """Two processes together exceed the limit by no more than their running calls."""
    project.write(test_adder=TWO_TASKS)
    result = project.run("--mipro", "--mipro-max-calls", "150", "-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert 0 < project.calls < 150 + 2 * THREADS


def test_the_limit_of_cost_uses_the_price_of_the_ini_file(project: Project) -> None:
    """The summary shows the cost of the calls, with 12 tokens each, and that it cut the search."""
    test = (project.path / "test_adder.py").read_text(encoding="utf-8")
    project.write(test_adder=test.replace(", **SEARCH", ""))  # There is more than the limit.
    project.pytester.makeini("[pytest]\nmipro_price = scripted: 1000 1000\n")
    result = project.run("--mipro", "--mipro-max-cost", "2.4")
    result.assert_outcomes(passed=1)
    assert project.calls * 0.012 < 2.4 + THREADS * 0.012
    result.stdout.fnmatch_lines(
        [f"test_adder * {project.calls}  ${project.calls * 0.012:.4f}  *cut at --mipro-max-cost*"]
    )


@pytest.mark.parametrize(
    "flag, value", [("calls", "0"), ("calls", "many"), ("cost", "-1"), ("cost", "nan")]
)
def test_a_wrong_limit_is_a_usage_error(project: Project, flag: str, value: str) -> None:
    """The error names the flag and the value."""
    result = project.run("--mipro", f"--mipro-max-{flag}", value)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--mipro-max-{flag}={value!r}: expected a *"])


def test_a_wrong_price_is_a_usage_error(project: Project) -> None:
    """The error shows how a price is written."""
    result = project.run("--mipro", "-o", "mipro_price=scripted: cheap")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*mipro_price='scripted: cheap': expected a model and US dollars*"]
    )
