"""``optimizer="gepa"``: instructions that are rewritten from the metric's feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.errors import DeclarationError
from pytest_mipro.optimize.teleprompter import TeleprompterOptimizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.optimize.optimizer import Optimizer
    from pytest_mipro.task import OptimizerChoice, Task

_BUDGETS = ("auto", "max_full_evals", "max_metric_calls")


def optimizer(choice: OptimizerChoice) -> Optimizer:
    """Return ``dspy.GEPA``.

    Raises:
        DeclarationError: Its engine is not installed.
    """
    try:
        import gepa  # ruff: ignore[unused-import]
    except ImportError:
        message = 'optimizer="gepa" needs the package gepa: pip install "dspy[gepa]" or gepa'
        raise DeclarationError(message) from None
    budget = {} if set(_BUDGETS).intersection(choice.options) else {"auto": "light"}

    def defaults(_: Task) -> Mapping[str, Any]:
        return budget

    return TeleprompterOptimizer(choice, dspy.GEPA, with_feedback=True, defaults=defaults)
