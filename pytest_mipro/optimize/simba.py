"""``optimizer="simba"``: rules and demos from the examples on which answers vary most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.optimize.teleprompter import TeleprompterOptimizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.optimize.optimizer import Optimizer
    from pytest_mipro.task import OptimizerChoice, Task

_BATCH = 32
"""DSPy's default size of a batch, which must not exceed the number of examples."""


def optimizer(choice: OptimizerChoice) -> Optimizer:
    """Return ``dspy.SIMBA``."""
    return TeleprompterOptimizer(choice, dspy.SIMBA, defaults=_defaults)


def _defaults(task: Task) -> Mapping[str, Any]:
    return {"bsize": min(_BATCH, len(task.dataset.train + task.dataset.val))}
