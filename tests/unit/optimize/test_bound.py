"""The bounds of optimizers, which hold in a compile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sessions import Checkout

from pytest_mipro.optimize import CallProfile, optimizer_of
from pytest_mipro.task import OptimizerChoice

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = CallProfile(1, "model", "teacher", "prompt")


@pytest.mark.parametrize(
    "name, options, most",
    [
        ("labeled", {}, 0),
        ("knn", {}, 0),
        ("bootstrap", {}, 7),
        ("bootstrap", {"max_rounds": 2}, 14),
        ("random_search", {"num_candidate_programs": 2}, 5 * 4 + 3 * 3),
        ("ensemble", {"num_candidate_programs": 2, "size": 2}, 5 * 4 + 3 * 3),
        ("copro", {}, None),
        ("simba", {}, None),
        ("gepa", {}, None),
    ],
)
def test_a_compile_stays_within_its_bound(
    tmp_path: Path, name: str, options: dict[str, Any], most: int | None
) -> None:
    """Three training and four validation examples take so many calls at most."""
    checkout = Checkout(tmp_path)
    task = checkout.task(optimizer=OptimizerChoice(name, options))
    (bound,) = optimizer_of(task.optimizer).bounds(task, PROFILE)
    assert bound.calls == most
    if most is not None:
        assert checkout.report(task).compile_usage.calls <= most
