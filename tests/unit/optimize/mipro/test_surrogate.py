from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pytest_mipro.optimize.mipro.surrogate import DEMOS, INSTRUCTION, Layout, Surrogate

pytestmark = pytest.mark.uses("numpy")

LAYOUT = Layout(sizes=(3, 2), spreads=(INSTRUCTION, DEMOS))
ALL = list(product(range(3), range(2)))
GOOD, BAD = [1.0, 1.0, 1.0, 0.0] * 4, [0.0, 1.0, 0.0, 0.0] * 4


def test_a_candidate_inherits_the_effects_of_its_choices() -> None:
    """A candidate without a score is expected to be good if its choices are good elsewhere."""
    surrogate = Surrogate(LAYOUT, {(0, 0): BAD, (1, 0): GOOD, (0, 1): GOOD})
    means = dict(zip(ALL, surrogate.means(ALL), strict=True))
    assert max(means, key=means.__getitem__) == (1, 1)
    assert means[0, 0] < means[2, 0] < means[1, 0]


def test_a_rewritten_instruction_inherits_the_effect_of_its_parent() -> None:
    """An instruction without a score is expected to be as good as the one it is written from."""
    layout = Layout(LAYOUT.sizes, LAYOUT.spreads, inheritance=((0, 2, 1),))
    surrogate = Surrogate(layout, {(0, 0): BAD, (1, 0): GOOD})
    bad, good, child = surrogate.means([(0, 1), (1, 1), (2, 1)])
    assert bad < child < good + 1e-9
    assert good - child < child - bad


def test_the_difficulty_of_rows_is_subtracted() -> None:
    """A candidate that is measured on the hard first rows only is not expected to be worse."""
    hard_then_easy = [0.0] * 8 + [1.0] * 8
    surrogate = Surrogate(
        LAYOUT, {(0, 0): hard_then_easy, (1, 0): hard_then_easy, (2, 0): [0.0] * 8}
    )
    first, second, short = surrogate.means([(0, 0), (1, 0), (2, 0)])
    assert first == pytest.approx(second)
    assert short == pytest.approx(first, abs=0.2)


def test_a_sample_ranks_all_candidates_and_depends_on_the_generator_alone() -> None:
    """Samples by equal generators are equal, and the best candidate is first in most of them."""
    surrogate = Surrogate(LAYOUT, {(0, 0): BAD, (1, 0): GOOD, (0, 1): BAD})
    samples = [surrogate.draw(np.random.default_rng(seed)) for seed in range(40)]
    assert all(sorted(sample) == ALL for sample in samples)
    assert samples == [surrogate.draw(np.random.default_rng(seed)) for seed in range(40)]
    first_instructions = [sample[0][0] for sample in samples]
    assert first_instructions.count(1) > 20
    assert len(set(map(tuple, samples))) > 1


def test_the_pool_of_a_large_space_has_the_best_options() -> None:
    """The pool of very many candidates is limited, and has the measured and the best ones."""
    layout = Layout(sizes=(20, 20, 20), spreads=(INSTRUCTION,) * 3)
    bad: dict[tuple[int, ...], list[float]]
    bad = {(choice, choice, choice): BAD for choice in range(1, 20)}
    pool = Surrogate(layout, {(0, 0, 0): GOOD, **bad}).pool()
    assert len(pool) <= 512 + 20
    assert {(0, 0, 0), *bad} <= set(pool)
    assert len(set(pool)) == len(pool)
