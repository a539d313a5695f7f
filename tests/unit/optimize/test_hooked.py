"""A hook that compiles instead of the declared optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessions import Checkout, with_demos

from pytest_mipro.task import OptimizerChoice

if TYPE_CHECKING:
    from pathlib import Path


def test_a_hook_comes_first(tmp_path: Path) -> None:
    """The report names it, and nothing bounds its calls."""
    checkout = Checkout(tmp_path)
    choice = OptimizerChoice("labeled", hook=with_demos)
    task = checkout.task(optimizer=choice)
    estimate = checkout.estimate(task)
    assert estimate is not None
    assert [bound.calls for bound in estimate.bounds] == [None, 12]
    assert checkout.report(task).optimizer == "pytest_mipro_optimize"


def test_a_hook_that_returns_none_leaves_it_to_the_declared_optimizer(tmp_path: Path) -> None:
    """Which the report names."""
    checkout = Checkout(tmp_path)
    task = checkout.task(optimizer=OptimizerChoice("labeled", hook=lambda _: None))
    assert checkout.report(task).optimizer == "labeled"
