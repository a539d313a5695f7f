"""The fixtures: the outcome of a test, and the values that its declaration leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.plugin.state import OUTCOME, SETTINGS, TASK_RUNNER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mipro.session import Outcome


@pytest.fixture
def mipro(request: pytest.FixtureRequest) -> Iterator[Outcome]:
    """Return the outcome of the test's task, with both programs compiled and scored.

    The work is done once per session, and not at all if the store has it.
    An exception that prevents a verdict is an error of this fixture. While the test runs,
    DSPy asks the task's model.
    """
    runner = request.config.stash.get(TASK_RUNNER, None)
    if runner is None:
        pytest.skip("needs --mipro")
    outcome = request.node.stash[OUTCOME] = runner.outcome(request)
    with outcome.counted_calls():
        yield outcome


@pytest.fixture(scope="session")
def mipro_program() -> Any:
    """Override to give the program of tests that declare none."""
    return None


@pytest.fixture(scope="session")
def mipro_metric() -> Any:
    """Override to give the metric of tests that declare none."""
    return None


@pytest.fixture(scope="session")
def mipro_metrics() -> Any:
    """Override to give several metrics by name, the optimized one first, in place of one."""
    return None


@pytest.fixture(scope="session")
def mipro_dataset() -> Any:
    """Override to give the dataset of tests that declare none."""
    return None


@pytest.fixture(scope="session")
def mipro_lm(request: pytest.FixtureRequest) -> Any:
    """Override to give the language model; the default is that of the ini file."""
    settings = request.config.stash.get(SETTINGS, None)
    return None if settings is None else settings.default_lm


@pytest.fixture(scope="session")
def mipro_prompt_lm() -> Any:
    """Override to write the instructions with another model."""
    return None


@pytest.fixture(scope="session")
def mipro_teacher() -> Any:
    """Override to bootstrap demos from another program, or with another model."""
    return None


@pytest.fixture(scope="session")
def mipro_optimizer() -> Any:
    """Override to compile with another optimizer; the default is MIPROv2."""
    return None


@pytest.fixture(scope="session")
def mipro_executor() -> Any:
    """Override to run rows on a ``concurrent.futures.Executor``, such as that of a Dask client.

    Return an executor, which your fixture shuts down, or a function that makes one, which the
    plugin shuts down. The default is threads of this process.
    """
    return None


@pytest.fixture(scope="session")
def mipro_adapter() -> Any:
    """Override to render prompts with another DSPy adapter."""
    return None
