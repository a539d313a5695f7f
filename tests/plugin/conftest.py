"""The projects that the tests of the plugin run pytest on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from project import CONFTEST, OPTIONS, PROGRAM, SUPPORT, TEST, Project

if TYPE_CHECKING:
    from forks import ForkServer

REGRESSION = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

@mipro_optimize(program=Adder, metric=right, dataset=DATASET)
def test_adder(mipro):
    assert mipro.no_regression()
"""


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, fork_server: ForkServer | None
) -> Project:
    """Write a project whose test passes."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setenv("PYTEST_ADDOPTS", OPTIONS)
    monkeypatch.setenv("COLUMNS", "400")  # Room for each task, and each verdict, on one line.
    monkeypatch.setenv("DSPY_CACHEDIR", str(pytester.path / "dspy-cache"))
    new = Project(pytester, fork_server)
    new.write(program=PROGRAM, conftest=CONFTEST, test_adder=TEST)
    return new


@pytest.fixture
def guarded(project: Project) -> Project:
    """Write a project whose test judges a regression, without a reference."""
    project.write(test_adder=REGRESSION)
    return project
