from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_mipro.gate.wording import (
    bounds_text,
    confidence_text,
    more_examples,
    p_text,
    rare_losses,
    reservation,
    sample_size,
)
from pytest_mipro.records import PairedComparison

COMPARISON = PairedComparison(
    40, 0.5, 0.6, 0.1, 0.0004, 0.2, 0.049, 0.2, 0.0, 0.9, "test", sufficient=140, unseen=0.07
)


@pytest.mark.parametrize(
    "p_value, alpha, text",
    [
        (0.0123, 0.05, "0.012"),
        (0.0496, 0.05, "0.0496"),
        (0.0504, 0.05, "0.0504"),
        (0.05, 0.05, "0.05"),
        (1.0, 0.05, "1"),
        (3.91e-11, 0.05, "3.9e-11"),
    ],
)
def test_a_rounded_p_value_stays_on_its_side_of_alpha(
    p_value: float, alpha: float, text: str
) -> None:
    """It has two digits, or as many as it takes."""
    assert p_text(p_value, alpha) == text


def test_a_rounded_bound_stays_on_its_side_of_the_margin() -> None:
    """A lower end just above 0 is not shown as 0."""
    assert bounds_text(COMPARISON) == "[+0.0004, +0.200]"
    assert bounds_text(replace(COMPARISON, low=-0.0123)) == "[-0.012, +0.200]"
    close = replace(COMPARISON, low=-0.3, high=-0.02004, margin=-0.02)
    assert bounds_text(close) == "[-0.300, -0.02004]"


def test_bounds_of_costs_are_ratios() -> None:
    """They are how many times as much the compiled program takes, and never below 0."""
    costs = replace(COMPARISON, comparator=100.0, low=-130.0, high=10.0, margin=20.0, unit="tokens")
    assert bounds_text(costs) == "[0.00, 1.10]"


@pytest.mark.parametrize("confidence, text", [(0.9, "90%"), (0.98, "98%"), (0.9999, "100%")])
def test_confidence(confidence: float, text: str) -> None:
    """It is in percent, with three digits at most."""
    assert confidence_text(replace(COMPARISON, confidence=confidence)) == text


def test_numbers_of_examples() -> None:
    """Clauses say how many examples there are, how many more it takes, and what they can miss."""
    assert sample_size(replace(COMPARISON, rollouts=3, clusters=9)) == (
        "n = 40 x 3 rollouts in 9 clusters"
    )
    assert more_examples(COMPARISON, "it") == (
        "with about 100 more held-out examples it passes four times in five"
    )
    assert more_examples(replace(COMPARISON, sufficient=30), "it") == (
        "it passes with this many examples four times in five"
    )
    assert rare_losses(COMPARISON, "a loss") == (
        "warning: 40 examples can miss a loss that hits fewer than 1 in 14"
    )
    assert not rare_losses(replace(COMPARISON, unseen=0.0), "a loss")


def test_a_promise_that_few_units_cannot_keep_has_a_warning() -> None:
    """Few clusters do not show their spread, and few examples may lack what decides."""
    few = replace(COMPARISON, clusters=8)
    assert reservation(few, "PASS").startswith("warning: 8 clusters hardly tell")
    assert not reservation(replace(COMPARISON, clusters=12), "INCONCLUSIVE")
    small = replace(COMPARISON, detectable=0.05)
    assert reservation(small, "INCONCLUSIVE") == (
        "warning: 40 examples can miss a large loss or gain that hits fewer than 1 in 14, and then "
        "it takes a larger one"
    )
    assert not reservation(small, "PASS")
    assert not reservation(COMPARISON, "INCONCLUSIVE")
