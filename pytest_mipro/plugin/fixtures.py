"""The fixtures: the outcome, and what a declaration leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.plugin.state import TASK_RUNNER

if TYPE_CHECKING:
    from pytest_mipro.session import Outcome


@pytest.fixture
def mipro(request: pytest.FixtureRequest) -> Outcome:
    """
    Return the outcome of the test's task: compiled, scored, ready to be judged.

    The work is done once per session, and not at all where the store has it.
    Anything that prevents a verdict is an error of this fixture.
    """
    running = request.config.stash.get(TASK_RUNNER, None)
    if running is None:
        pytest.skip("needs --mipro")
    return running.outcome(request)


@pytest.fixture(scope="session")
def mipro_program() -> Any:
    """Override to give the program for tests that declare none."""
    return None


@pytest.fixture(scope="session")
def mipro_metric() -> Any:
    """Override to give the metric for tests that declare none."""
    return None


@pytest.fixture(scope="session")
def mipro_dataset() -> Any:
    """Override to give the dataset for tests that declare none."""
    return None


@pytest.fixture(scope="session")
def mipro_lm(request: pytest.FixtureRequest) -> Any:
    """Override to give the language model; by default the one of the ini file."""
    return request.config.getini("mipro_lm") or None


@pytest.fixture(scope="session")
def mipro_prompt_lm() -> Any:
    """Override to have another model write the instructions."""
    return None


@pytest.fixture(scope="session")
def mipro_teacher() -> Any:
    """Override to bootstrap demos from another program, or with another model."""
    return None


@pytest.fixture(scope="session")
def mipro_adapter() -> Any:
    """Override to render prompts with another DSPy adapter."""
    return None
