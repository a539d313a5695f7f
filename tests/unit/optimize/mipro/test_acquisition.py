from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, cast

import dspy
import pytest

from pytest_mipro.optimize.mipro.acquisition import TPE_EVERY, Acquisition
from pytest_mipro.optimize.mipro.space import Space
from pytest_mipro.records import Candidate

if TYPE_CHECKING:
    from pytest_mipro.optimize.mipro.measurements import Measurements

pytestmark = pytest.mark.uses("optuna", "numpy")

SPACE = Space(
    dspy.Predict("question -> answer"),
    (("own", "first", "second"),),
    (((), (dspy.Example(question="1"),), (dspy.Example(question="2"),)),),
    late=(1,),
)
BASELINE = SPACE.baseline


class RecordedScores:
    """Measurements that are made already."""

    def __init__(self, scores: dict[Candidate, list[float]]) -> None:
        self.recorded = {candidate: len(values) for candidate, values in scores.items()}
        self.scores = scores.__getitem__

    def mean(self, candidate: Candidate) -> float:
        """Return the mean score of a candidate."""
        return sum(self.scores(candidate)) / self.recorded[candidate]


def acquisition(scores: dict[Candidate, list[float]], seed: int = 9) -> Acquisition:
    """Return an acquisition that knows ``scores``."""
    proposing = Acquisition(SPACE, seed, cast("Measurements", RecordedScores(scores)))
    for candidate in scores:
        proposing.learn(candidate)
    return proposing


def test_new_options_are_introduced_first() -> None:
    """The first minibatches are for each new instruction, then for each late demo set."""
    knows_baseline = acquisition({BASELINE: [1.0, 0.0, 1.0]})
    assert knows_baseline.introductions == 3
    first, second, third = (next(knows_baseline.proposals(number)) for number in range(3))
    assert {first.instructions, second.instructions} == {(1,), (2,)}
    assert third == Candidate((0,), (2,))


def test_proposals_are_distinct_and_depend_on_number_and_seed() -> None:
    """A minibatch's proposals have every candidate once, and are the same in any order of calls."""
    scores = {BASELINE: [1.0, 0.0, 1.0], Candidate((1,), (0,)): [1.0, 1.0, 0.0]}
    number = 2 * TPE_EVERY
    proposals = list(acquisition(scores).proposals(number))
    assert len(proposals) == len(set(proposals)) == SPACE.size
    reused = acquisition(scores)
    list(islice(reused.proposals(number - 1), 3))
    assert list(reused.proposals(number)) == proposals
    rankings = [list(acquisition(scores, seed).proposals(number)) for seed in range(5)]
    assert any(ranking != proposals for ranking in rankings)


def test_the_ranking_has_the_best_candidate_first() -> None:
    """The ranking is by expected score; candidates without a score can be left out."""
    good = Candidate((1,), (0,))
    scores = {BASELINE: [0.0, 0.0, 1.0] * 5, good: [1.0, 1.0, 1.0] * 5}
    knows_both = acquisition(scores)
    assert knows_both.ranking(measured_only=True) == [good, BASELINE]
    ranking = knows_both.ranking(measured_only=False)
    assert ranking[0] == good
    assert len(ranking) == SPACE.size


def test_the_simpler_of_equals_is_ranked_first() -> None:
    """Of candidates with equal scores, the baseline comes first."""
    candidates = [Candidate((1,), (1,)), Candidate((1,), (0,)), BASELINE]
    equal = acquisition({candidate: [1.0, 1.0] for candidate in candidates})
    assert equal.ranking(measured_only=True)[0] == BASELINE
