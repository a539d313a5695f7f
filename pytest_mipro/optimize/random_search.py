"""``optimizer="random_search"``: the best of several sets of bootstrapped demos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.optimize.teleprompter import TeleprompterOptimizer

if TYPE_CHECKING:
    from pytest_mipro.optimize.optimizer import Optimizer
    from pytest_mipro.task import OptimizerChoice, Task

_FIXED = 3
"""Candidates before the random ones: without demos, with labelled and with bootstrapped ones."""


def optimizer(choice: OptimizerChoice) -> Optimizer:
    """Return ``dspy.BootstrapFewShotWithRandomSearch``."""
    cls = dspy.BootstrapFewShotWithRandomSearch
    return TeleprompterOptimizer(choice, cls, most_rows=_most_rows)


def _most_rows(task: Task, search: Any) -> int:  # ruff: ignore[any-type] - an untyped class
    candidates: int = search.num_candidate_sets + _FIXED
    bootstrapped = (candidates - 2) * search.max_rounds * len(task.dataset.train)
    rows: int = candidates * len(task.dataset.val) + bootstrapped
    return rows
