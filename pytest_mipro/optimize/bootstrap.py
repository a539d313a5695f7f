"""``optimizer="bootstrap"``: demos from traces that pass the metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.optimize.teleprompter import TeleprompterOptimizer

if TYPE_CHECKING:
    from pytest_mipro.optimize.optimizer import Optimizer
    from pytest_mipro.task import OptimizerChoice, Task


def optimizer(choice: OptimizerChoice) -> Optimizer:
    """Return ``dspy.BootstrapFewShot``."""
    return TeleprompterOptimizer(choice, dspy.BootstrapFewShot, most_rows=_most_rows)


def _most_rows(task: Task, bootstrap: Any) -> int:  # ruff: ignore[any-type] - an untyped class
    rounds: int = bootstrap.max_rounds
    return rounds * len(task.dataset.train + task.dataset.val)
