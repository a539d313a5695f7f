"""The project that the tests of the plugin run pytest on."""

from __future__ import annotations

import pytest
from project import CONFTEST, PROGRAM, SUPPORT, TEST, Project


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Write a project whose test passes."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setenv("DSPY_CACHEDIR", str(pytester.path / "dspy-cache"))
    made = Project(pytester)
    made.write(program=PROGRAM, conftest=CONFTEST, test_adder=TEST)
    return made
