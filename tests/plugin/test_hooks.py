"""The hooks that a conftest file can implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from project import TEST

if TYPE_CHECKING:
    from project import Project

OPTIMIZE = """
import dspy

def pytest_mipro_optimize(task):
    optimizer = dspy.BootstrapFewShot(metric=task.metric, max_labeled_demos=4)
    return optimizer.compile(task.program, trainset=list(task.dataset.train))

def pytest_mipro_fingerprint(task):
    return {"optimizer": "bootstrap"}
"""


def test_another_optimizer_can_compile(project: Project) -> None:
    """The program that a hook compiles with BootstrapFewShot is stored and judged."""
    conftest = (project.path / "conftest.py").read_text()
    project.write(conftest=conftest + OPTIMIZE)
    project.run("--mipro").assert_outcomes(passed=1)
    paid = project.calls
    project.run("--mipro").assert_outcomes(passed=1)
    assert project.calls == paid


LABELED = TEST.replace("**SEARCH", "optimizer='labeled'")

PRICE_LIST = """
from dspy.clients import costs, model_metadata

def pytest_mipro_optimize(task):
    assert costs.model_info is not model_metadata.model_info

def pytest_mipro_report(outcome):
    assert costs.model_info is model_metadata.model_info
"""


def test_another_optimizer_has_the_cached_price_list(project: Project) -> None:
    """DSPy's price list is cached while a hook compiles, and restored afterwards."""
    conftest = (project.path / "conftest.py").read_text()
    project.write(conftest=conftest + PRICE_LIST, test_adder=LABELED)
    project.run("--mipro").assert_outcomes(passed=1)


def test_a_part_added_to_the_key_recompiles(project: Project) -> None:
    """The reason for the recompile names the part that a hook adds."""
    conftest = (project.path / "conftest.py").read_text()
    part = "\ndef pytest_mipro_fingerprint(task): return {{'index': {}}}\n"
    project.write(conftest=conftest + part.format(1), test_adder=LABELED)
    project.run("--mipro")
    project.write(conftest=conftest + part.format(2))
    project.run("--mipro").stdout.fnmatch_lines(["*compiling: index changed"])
    project.write(conftest=conftest + part.format("object()"))
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*part 'index' that pytest_mipro_fingerprint adds*no JSON form*"])


def test_the_report_hook_gets_the_outcome(compiled: Project) -> None:
    """The hook runs once per test, after the verdict."""
    conftest = (compiled.path / "conftest.py").read_text()
    compiled.write(
        conftest=f"""{conftest}
def pytest_mipro_report(outcome):
    with open("reported.txt", "a") as file:
        file.write(f"{{outcome.task.name}} {{outcome.report().verdicts[0].word}}\\n")
"""
    )
    compiled.run("--mipro")
    assert (compiled.path / "reported.txt").read_text() == "test_adder PASS\n"


def test_a_report_hook_that_raises_is_an_error_of_its_test(compiled: Project) -> None:
    """The error shows the line of the hook; other tests run on and reports are written."""
    conftest = (compiled.path / "conftest.py").read_text()
    hook = """
def pytest_mipro_report(outcome):
    raise ConnectionError("no dashboard")
"""
    compiled.write(conftest=conftest + hook, test_other="def test_other(): pass")
    result = compiled.run("--mipro", "--mipro-report", "report.md")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["*raise ConnectionError*", "E *no dashboard", "conftest.py:*ConnectionError", "* PASS *"]
    )
    result.stdout.no_fnmatch_line("*pytest_mipro/*")
    assert "PASS" in (compiled.path / "report.md").read_text()
