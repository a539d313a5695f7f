"""``optimizer="labeled"``: labelled examples as demos, without a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dspy

from pytest_mipro.optimize.teleprompter import TeleprompterOptimizer

if TYPE_CHECKING:
    from pytest_mipro.optimize.optimizer import Optimizer
    from pytest_mipro.task import OptimizerChoice


def optimizer(choice: OptimizerChoice) -> Optimizer:
    """Return ``dspy.LabeledFewShot``."""
    return TeleprompterOptimizer(choice, dspy.LabeledFewShot, most_rows=lambda *_: 0)
