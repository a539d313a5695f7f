from __future__ import annotations

from typing import Any

import dspy
import pytest

from pytest_mipro.errors import DeclarationError
from pytest_mipro.task import check_cluster, check_repeat, is_sampled


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "3", None])
def test_wrong_number_of_rollouts_is_refused(value: object) -> None:
    """The error names a repeat that is no whole number of at least 1."""
    with pytest.raises(DeclarationError, match=r"repeat=.*whole number of at least 1"):
        check_repeat(value)
    check_repeat(1)


@pytest.mark.parametrize("value", ["", 3, None, ["document"]])
def test_wrong_cluster_is_refused(value: object) -> None:
    """The error names a cluster that is no name of a field."""
    with pytest.raises(DeclarationError, match=r"cluster=.*name of a field"):
        check_cluster(value)
    check_cluster("document")


@pytest.mark.parametrize(
    "temperature, predictor_temperature, config, sampled",
    [
        (None, None, {}, True),
        (0.7, None, {}, True),
        (0, None, {}, False),
        (0.0, 0.5, {}, True),
        (0.7, 0.0, {}, False),
        (0.0, None, {"temperature": 1.0}, True),
        (1.0, None, {"temperature": 0}, False),
    ],
)
def test_program_is_sampled(
    temperature: float | None,
    predictor_temperature: float | None,
    config: dict[str, Any],
    sampled: bool,
) -> None:
    """The temperature is that of the predictor, else of its model, else of the task's model."""
    lm = dspy.LM("openai/none", temperature=temperature)
    program = dspy.Predict("question -> answer", **config)
    if predictor_temperature is not None:
        program.lm = dspy.LM("openai/none", temperature=predictor_temperature)
    assert is_sampled(program, lm) is sampled
