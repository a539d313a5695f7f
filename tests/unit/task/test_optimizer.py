"""The declared optimizer of a task."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from pytest_mipro.errors import DeclarationError
from pytest_mipro.task import (
    OptimizerChoice,
    check_optimizer,
    check_optimizer_options,
    isolated_copy,
)


@pytest.mark.parametrize(
    "spec, name",
    [("copro", "copro"), (dspy.COPRO, "COPRO"), (dspy.COPRO(breadth=5), "COPRO")],
)
def test_a_choice_has_a_name(spec: Any, name: str) -> None:
    """It is as registered, or that of the class."""
    assert OptimizerChoice(spec).name == name


def test_the_settings_of_an_instance_are_its_public_attributes() -> None:
    """Locks and random generators decide nothing."""
    settings = OptimizerChoice(dspy.BootstrapFewShot(max_rounds=3)).settings
    assert settings["max_rounds"] == 3
    assert "error_lock" not in settings
    assert OptimizerChoice("copro", {"breadth": 3}).settings == {"breadth": 3}


@pytest.mark.parametrize("value", ["", 3, dict, dspy.Predict("a -> b"), None])
def test_a_value_that_is_no_optimizer_is_refused(value: object) -> None:
    """The error shows it and an example."""
    with pytest.raises(DeclarationError, match=r"(?s)^optimizer=.*: expected a name such as"):
        check_optimizer(value)


@pytest.mark.parametrize("value", [None, ["breadth"], {3: 4}, "breadth=3"])
def test_options_are_arguments_by_name(value: object) -> None:
    """The error shows the value and an example."""
    with pytest.raises(DeclarationError, match=r"expected a dict of arguments by name, e\.g\."):
        check_optimizer_options(value)


def test_a_copy_shares_no_signature() -> None:
    """An optimizer that sets the instruction of the copy's class leaves the original alone."""
    program = dspy.Predict("question -> answer")
    copied = isolated_copy(program)
    copied.predictors()[0].signature.instructions = "Changed."
    assert program.signature is not None
    assert program.signature.instructions != "Changed."
