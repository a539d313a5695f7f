"""``optimizer=``, its fixture and its flag, as a user meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project

COMPARED = """
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

@pytest.mark.parametrize("optimizer", ["labeled", "bootstrap"])
@mipro_optimize(program=Adder, metric=right, dataset=DATASET)
def test_adder(mipro, optimizer):
    assert mipro.compiled.score > 0
"""
FIXTURE = """
import pytest
from project_model import *

@pytest.fixture
def mipro_optimizer():
    return "labeled"
"""
DECLARED = """
import dspy
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, {arguments})
def test_adder(mipro):
    assert mipro.compiled.score > 0
"""


def test_several_optimizers_are_compared(project: Project) -> None:
    """The baseline is asked once, and a table shows them; the flag replaces all of them."""
    project.write(test_adder=COMPARED)
    result = project.run("--mipro")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "*compiled with bootstrap in *",
            "*compiled with labeled in *",
            "optimizers of test_adder.py::test_adder",
            "optimizer * difference to the first *",
            "bootstrap *",
            "labeled * 0 *",
        ]
    )
    calls = project.calls
    assert 3 * 24 < calls < 4 * 24  # held-out rows of three programs, and few for bootstrapping
    again = project.run("--mipro", "--mipro-optimizer", "labeled")
    again.assert_outcomes(passed=2)
    again.stdout.no_fnmatch_line("optimizers of *")
    assert project.calls == calls


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("optimizer='bootstrp'", "optimizer='bootstrp' is no optimizer; did you mean 'bootstrap'?"),
        ("optimizer=3", "optimizer=3: expected a name such as 'mipro'"),
        (
            "optimizer='copro', auto='light'",
            "auto='light' is an option of MIPROv2 and does nothing",
        ),
        ("optimizer_options={'auto': 'light'}", "write auto=... beside optimizer='mipro'"),
    ],
)
def test_a_wrong_declaration_is_an_error_before_any_call(
    project: Project, arguments: str, message: str
) -> None:
    """It names the value and the next step."""
    project.write(test_adder=DECLARED.format(arguments=arguments))
    result = project.run("--mipro")
    result.stdout.fnmatch_lines([f"*{message.replace('[', '[[]')}*"])
    assert result.parseoutcomes().get("errors") == 1
    assert project.calls == 0


def test_an_unknown_flag_value_is_an_error(project: Project) -> None:
    """The message names the nearest optimizer."""
    result = project.run("--mipro", "--mipro-optimizer", "geppa")
    result.stdout.fnmatch_lines(["*optimizer='geppa' is no optimizer; did you mean 'gepa'?*"])
    assert project.calls == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("optimizer_options={'kk': 3}", "optimizer labeled has no option 'kk'; did you mean 'k'?"),
        ("num_trials=3, auto=None, num_candidates=2", "does nothing for optimizer='labeled'"),
    ],
)
def test_options_are_those_of_the_optimizer_of_a_fixture(
    project: Project, arguments: str, message: str
) -> None:
    """None is dropped without a word."""
    conftest = (project.path / "conftest.py").read_text()
    project.write(project_model=conftest, conftest=FIXTURE)
    project.write(test_adder=DECLARED.format(arguments=arguments))
    result = project.run("--mipro")
    result.stdout.fnmatch_lines([f"*{message}*"])
    assert project.calls == 0
