"""A vote of the best programs of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
import pytest
from sessions import Checkout

from pytest_mipro.errors import OptimizerError
from pytest_mipro.optimize.ensemble import majority
from pytest_mipro.task import OptimizerChoice

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "answers, winner", [((1, 2, 2), 2), ((1, 2), 1), ((None, "a", None), None)]
)
def test_most_programs_win(answers: tuple[object, ...], winner: object) -> None:
    """Answers of any type are counted; among equals the better program wins."""
    predictions = [dspy.Prediction(answer=answer) for answer in answers]
    assert majority(predictions).answer == winner


def test_too_few_programs_are_an_error(tmp_path: Path) -> None:
    """The message has the options to change."""
    checkout = Checkout(tmp_path)
    options = {"size": 9, "num_candidate_programs": 1}
    with pytest.raises(OptimizerError, match="found 4 programs for size=9; set a smaller size"):
        checkout.outcome(checkout.task(optimizer=OptimizerChoice("ensemble", options)))
