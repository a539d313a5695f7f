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
    """Compile a task in another way; return None to leave it to the declared optimizer.

    The task's program, models and metric are guarded copies: a call that fails is retried, one
    that fails for good ends the compile with an error, and calls count towards budgets. The
    code of the hook is part of the compile key; what it reads elsewhere can be added with
    ``pytest_mipro_fingerprint``. The result has to be the task's program with other
    instructions or demos.

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
            return {"retriever index": index.version}
    """


@pytest.hookspec
def pytest_mipro_report(outcome: Outcome) -> None:
    """Receive the outcome of a test after that test; an exception is an error of the test.

    Example::

        # conftest.py
        def pytest_mipro_report(outcome):
            print(outcome.task.name, outcome.compiled.score)
    """
