"""Compiled programs that several tests of the optimizer look at."""

from __future__ import annotations

import dspy
import pytest
from compiles import ANSWER, Compiled, TwoStep, compiled_by_average_lm


@pytest.fixture(scope="session")
def one_step() -> Compiled:
    """Return a compiled program of one predictor; no test changes it."""
    return compiled_by_average_lm(dspy.Predict(ANSWER))


@pytest.fixture(scope="session")
def two_step() -> Compiled:
    """Return a compiled program of two predictors; no test changes it."""
    return compiled_by_average_lm(TwoStep())
