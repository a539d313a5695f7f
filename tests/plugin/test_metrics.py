"""Several metrics, from declarations and fixtures to every kind of report."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

METRICS = """
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

def near(example, prediction, trace=None):
    return 1 - min(abs(example.answer - prediction.answer), 4) / 4
"""


def test_several_metrics(project: Project) -> None:
    """Each answer is asked for once, and each metric has verdicts and figures of its own."""
    project.write(
        test_adder=f"""{METRICS}
@mipro_optimize(program=Adder, metrics={{"exact": right, "near": near}}, dataset=DATASET, **SEARCH)
def test_adder(mipro):
    assert mipro.beats_baseline()
    assert mipro.beats_baseline(metric="near")
    assert mipro.no_regression(metric="all")
    assert mipro.compiled.score_of("near") >= mipro.compiled.score_of("exact")
"""
    )
    project.run("--mipro", "--mipro-update").assert_outcomes(passed=1)
    calls = project.calls
    result = project.run("--mipro", "-v", "--mipro-report", "out.json", "--junitxml", "out.xml")
    result.assert_outcomes(passed=1)
    assert project.calls == calls
    result.stdout.fnmatch_lines(["*near:  0.* -> *", "*beats baseline (near): PASS: *"])
    report = json.loads((project.path / "out.json").read_text())["tasks"][0]["report"]
    assert (report["metric"], [scores["metric"] for scores in report["further"]]) == (
        "exact",
        ["near"],
    )
    assert report["further"][0]["accepted"]["scores"]
    xml = (project.path / "out.xml").read_text()
    for name in ("mipro_compiled", "mipro_compiled[near]", "mipro_beats_baseline[near]"):
        assert f'name="{name}"' in xml


FROM_FIXTURES = {
    "fixture": ("", "None", "{'exact': right, 'near': near}", ""),
    "one_declared": ("metric=right", "None", "{'near': near}", "no name; leave metric out"),
    "several_declared": ("metrics={'exact': right, 'near': near}", "right", "None", ""),
    "both": ("", "right", "{'near': near}", "fixtures mipro_metric and mipro_metrics both give"),
    "one": ("", "right", "None", "has no name; leave metric out"),
    "empty": ("", "None", "{}", "metrics={}: expected at least one metric by name"),
    "none": ("", "None", "None", "no metric is declared; give metric="),
}
"""What a test declares, what both fixtures return, and the error, if it is one."""


def test_metrics_from_fixtures(project: Project) -> None:
    """What a test declares wins, and fixtures cannot give both."""
    project.write(
        conftest=f"""{(project.path / "conftest.py").read_text()}

def pytest_mipro_optimize(task):
    program = task.program.deepcopy()
    program.add.demos = list(task.dataset.train[:1])
    return program
""",
        **{
            f"test_{name}": f"""{METRICS}
@pytest.fixture(scope="module")
def mipro_metric():
    return {metric}

@pytest.fixture(scope="module")
def mipro_metrics():
    return {metrics}

@mipro_optimize(program=Adder, dataset=DATASET, **SEARCH, {arguments})
def test_{name}(mipro):
    assert mipro.beats_baseline(metric="near", alpha=0.4).metric == "near"
"""
            for name, (arguments, metric, metrics, _) in FROM_FIXTURES.items()
        },
    )
    lines = project.run("--mipro", "-rA").stdout.str()
    for name, (*_, message) in FROM_FIXTURES.items():
        word = "(FAILED|ERROR)" if message else "PASSED"
        reason = f" .*{re.escape(message)}" if message else "$"
        assert re.search(rf"^{word} test_{name}\.py::test_{name}{reason}", lines, re.MULTILINE)
