from __future__ import annotations

import pytest

from pytest_mipro.session.advice import advice_on_scores, advice_on_sizes


@pytest.mark.parametrize(
    "train, val, said",
    [
        (0, 0, ["0 labelled examples (train and val) are too few", "0 validation examples"]),
        (9, 10, ["19 labelled examples (train and val) are too few", "10 validation examples"]),
        (10, 10, ["20 labelled examples (train and val) are few for", "10 validation examples"]),
        (0, 49, ["49 labelled examples (train and val) are few for", "49 validation examples"]),
        (1, 49, ["49 validation examples hardly tell candidates apart: have at least 50"]),
        (500, 49, ["49 validation examples"]),
    ],
)
def test_few_examples(train: int, val: int, said: list[str]) -> None:
    """Each shortage is said once, with what would be enough."""
    parts = advice_on_sizes(train, val).split("; ")
    assert len(parts) == len(said)
    assert all(part.startswith(each) for part, each in zip(parts, said, strict=True))


@pytest.mark.parametrize("train, val", [(0, 50), (1, 50), (10**6, 10**6)])
def test_enough_examples(train: int, val: int) -> None:
    """Nothing is said where there are enough."""
    assert not advice_on_sizes(train, val)


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0, -3.0])
def test_a_constant_metric(score: float) -> None:
    """Ten answers that all have one score say more about the metric than about programs."""
    assert f"gave {score:g} to all 10 held-out answers" in advice_on_scores([score] * 5, [score] * 5)


@pytest.mark.parametrize("baseline, compiled", [([0.5] * 4, [0.5] * 5), ([0.5] * 9, [0.4] * 9)])
def test_a_metric_that_may_tell_programs_apart(
    baseline: list[float], compiled: list[float]
) -> None:
    """Fewer answers may agree by chance, and others differ."""
    assert not advice_on_scores(baseline, compiled)


def test_a_good_baseline() -> None:
    """Above 0.9 there is little to gain; at 0.9 nothing is said."""
    assert "scores 0.910 on the held-out" in advice_on_scores([1.0] * 91 + [0.0] * 9, [1.0] * 100)
    assert not advice_on_scores([1.0] * 90 + [0.0] * 10, [1.0] * 100)


def test_a_scale_of_its_own() -> None:
    """What a score of 3 leaves to gain is not known where scores go beyond 1."""
    assert not advice_on_scores([3.0, 4.0], [4.0, 5.0])
