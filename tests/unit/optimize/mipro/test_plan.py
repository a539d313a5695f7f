from __future__ import annotations

import pytest
from compiles import sums

from pytest_mipro.optimize.mipro.plan import Plan
from pytest_mipro.task import Options


@pytest.mark.parametrize(
    "auto, candidates, most", [("light", 6, 100), ("medium", 12, 300), ("heavy", 18, 1000)]
)
def test_sizes_of_auto(auto: str, candidates: int, most: int) -> None:
    """Light, medium and heavy have DSPy's candidate counts and validation sizes."""
    options = Options.checked(auto=auto)
    plan = Plan.make(options, 1, sums(10), sums(1200, 100))
    assert plan.demos.sets == candidates
    assert plan.instructions == candidates // 2
    assert len(plan.valset) == most
    assert len({example.question for example in plan.valset}) == most
    assert plan.limits.rows == 35


@pytest.mark.parametrize(
    "auto, predictors, trials",
    [
        ("light", 1, 10),
        ("light", 2, 20),
        ("medium", 1, 18),
        ("medium", 2, 28),
        ("heavy", 1, 27),
    ],
)
def test_trials_of_auto(auto: str, predictors: int, trials: int) -> None:
    """The number of trials is DSPy's, by candidates and predictors."""
    plan = Plan.make(Options.checked(auto=auto), predictors, sums(10), sums(60, 100))
    assert plan.limits.trials == trials


def test_zero_shot_has_more_instructions() -> None:
    """A zero-shot plan has as many instructions as other plans have demo sets."""
    options = Options.checked(max_bootstrapped_demos=0, max_labeled_demos=0)
    assert Plan.make(options, 1, sums(10), sums(60, 100)).instructions == 6


@pytest.mark.parametrize("size, rows", [(50, 50), (51, 35), (100, 35), (20, 20)])
def test_minibatches_of_auto(size: int, rows: int) -> None:
    """Only validation sets of more than 50 examples have minibatches."""
    plan = Plan.make(Options.checked(), 1, sums(10), sums(size, 100))
    assert plan.limits.rows == rows


@pytest.mark.parametrize(
    "count, train, val", [(10, 2, 8), (2, 1, 1), (100, 20, 80), (2000, 1000, 1000)]
)
def test_without_a_valset(count: int, train: int, val: int) -> None:
    """80% of the trainset, at most 1000, become the validation set; no example is in both."""
    examples = sums(count)
    plan = Plan.make(Options.checked(auto="heavy"), 1, examples, None)
    assert (len(plan.trainset), len(plan.valset)) == (train, val)
    assert list(plan.trainset) == examples[:train]
    questions = {example.question for example in plan.valset}
    assert questions == {example.question for example in examples[train:]}
