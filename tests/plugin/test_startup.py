"""A session with nothing to compile loads no module that only compiling needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

NEEDLESS = ("altair", "jinja2", "optuna", "scipy", "tenacity", "vl_convert", "wcwidth", "xllamacpp")
"""The modules of compiling, HTML reports, texts that are no ASCII and the embedded model; SciPy."""

ALL_VERDICTS = f"""
import gc
import sys

from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

def halves(example, prediction, trace=None):
    return (right(example, prediction) + 1) / 2

def judge(mipro):
    assert mipro.beats_baseline()
    assert mipro.beats_baseline(margin=0.01)
    assert mipro.no_regression(tolerance=0.02)
    mipro.costs_no_more(unit="tokens")

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
def test_right_or_wrong(mipro):
    judge(mipro)

@mipro_optimize(program=Adder, metric=halves, dataset=DATASET, **SEARCH)
def test_graded(mipro):
    judge(mipro)

def test_modules():
    print("LOADED", sorted(set(sys.modules) & {set(NEEDLESS)!r}))
    print("COLLECTOR", gc.isenabled(), gc.get_freeze_count() > 0)
"""

COLLECTOR = """
import gc

def test_collector():
    print("COLLECTOR", gc.isenabled(), gc.get_freeze_count() > 0)
"""


def test_a_warm_session_loads_no_optimizer_and_no_scipy(project: Project) -> None:
    """No kind of verdict loads Optuna, SciPy or the libraries of HTML reports."""
    project.write(test_adder=ALL_VERDICTS)
    project.run("--mipro", "--mipro-update").assert_outcomes(passed=3)
    calls = project.calls
    result = project.unforked.run("--mipro", "-s", "-p", "no:hypothesispytest", "-p", "no:anyio")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*LOADED []*"])
    # The collector runs, and leaves out the objects of the modules that were loaded first.
    result.stdout.fnmatch_lines(["*COLLECTOR True True*"])
    assert project.calls == calls


def test_garbage_collections_of_other_sessions_are_as_they_were(project: Project) -> None:
    """Only a session with ``--mipro`` freezes objects."""
    project.write(test_adder=COLLECTOR)
    project.unforked.run("-s").stdout.fnmatch_lines(["*COLLECTOR True False*"])
