"""The hooks that other plugins and conftest files can implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dspy

    from pytest_mipro.session import Outcome
    from pytest_mipro.task import Task


@pytest.hookspec(firstresult=True)
def pytest_mipro_optimize(task: Task) -> dspy.Module | None:
    """Compile a task with another optimizer; return None to leave it to MIPROv2.

    The task's model and adapter are set in DSPy meanwhile. The class of the
    optimizer and its options are not part of the compile key by themselves:
    name them in ``pytest_mipro_fingerprint``.

    Example::

        # conftest.py
        def pytest_mipro_optimize(task):
            optimizer = dspy.BootstrapFewShot(metric=task.metric)
            return optimizer.compile(task.program, trainset=list(task.dataset.train))
    """


@pytest.hookspec
def pytest_mipro_fingerprint(  # type: ignore[empty-body]  # pluggy never calls it
    task: Task,
) -> Mapping[str, object]:
    """Add parts to the compile key: names to JSON data that can change the artifact.

    Example::

        # conftest.py
        def pytest_mipro_fingerprint(task):
            return {"optimizer": "BootstrapFewShot", "retriever index": index.version}
    """


@pytest.hookspec
def pytest_mipro_report(outcome: Outcome) -> None:
    """Receive the outcome of a test after that test; an exception is an error of the test.

    Example::

        # conftest.py
        def pytest_mipro_report(outcome):
            print(outcome.task.name, outcome.compiled.score)
    """
