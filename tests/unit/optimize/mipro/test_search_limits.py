"""How many rows a search compares candidates on."""

from __future__ import annotations

import pytest
from compiles import sums

from pytest_mipro.optimize.mipro.plan import Plan
from pytest_mipro.optimize.mipro.search_limits import SearchLimits
from pytest_mipro.task import Options


def row_budget(auto: str, predictors: int, valset: int, rounds: int | None) -> int:
    """Return the rows that a search of this size compares candidates on."""
    options = Options.checked(auto=auto, rounds=rounds)
    plan = Plan.make(options, predictors, sums(10), sums(valset, 100))
    choices = predictors * (plan.instructions + plan.demos.sets)
    return plan.limits.row_budget(choices, len(plan.valset))


SMALL = [
    ("light", 1, 24, 120),
    ("light", 1, 40, 200),
    ("light", 1, 50, 250),
    ("light", 2, 24, 240),
    ("medium", 1, 40, 360),
]
"""Searches with at most 50 validation rows, and half of the rows of their trials."""
LARGER = [
    ("light", 1, 51, 90),
    ("light", 1, 100, 112),
    ("light", 2, 100, 195),
    ("medium", 1, 300, 319),
    ("medium", 2, 300, 462),
]
"""Searches with minibatches, and their share of the schedule, or ten rows per option."""


@pytest.mark.parametrize(
    "search, rounds",
    [*((search, 0) for search in SMALL + LARGER), *((search, None) for search in LARGER)],
)
def test_a_small_validation_set_gets_a_larger_share(
    search: tuple[str, int, int, int], rounds: int | None
) -> None:
    """A search without rounds compares on half of the trials' rows there; larger sets differ."""
    auto, predictors, valset, rows = search
    assert row_budget(auto, predictors, valset, rounds) == rows


def test_every_option_is_compared_on_some_rows() -> None:
    """The share is no limit where it would not suffice for ten rows per option."""
    assert row_budget("light", 1, 12, rounds=0) == 90


@pytest.mark.parametrize("valset", [24, 50])
def test_rounds_take_no_larger_share_of_a_small_validation_set(valset: int) -> None:
    """Where rounds measure further rows, the search before them is as short as elsewhere."""
    assert row_budget("light", 1, valset, rounds=None) == max(90, int(0.15 * valset * 14))


@pytest.mark.parametrize("rounds, runs", [(0, 0), (1, 1), (4, 7)])
def test_two_candidates_may_run_on_training_examples(rounds: int, runs: int) -> None:
    """In each round but the first, one may run that is not the best one any more."""
    limits = SearchLimits(trials=9, rows=35, seed=0, candidates=9, rounds=rounds)
    assert limits.most_runs == runs
