"""``optimizer="copro"``: instructions that are rewritten from the best ones so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dspy

from pytest_mipro.optimize.teleprompter import TeleprompterOptimizer

if TYPE_CHECKING:
    from pytest_mipro.optimize.optimizer import Optimizer
    from pytest_mipro.task import OptimizerChoice


def optimizer(choice: OptimizerChoice) -> Optimizer:
    """Return ``dspy.COPRO``."""
    return TeleprompterOptimizer(choice, dspy.COPRO)
