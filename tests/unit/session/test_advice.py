from __future__ import annotations

import pytest

from pytest_mipro.session.advice import advice_on_metric, advice_on_scores, advice_on_sizes


@pytest.mark.parametrize(
    "train, val, sentences",
    [
        (0, 0, ["0 labelled examples (train and val) are too few", "0 validation examples"]),
        (9, 10, ["19 labelled examples (train and val) are too few", "10 validation examples"]),
        (10, 10, ["20 labelled examples (train and val) are few for", "10 validation examples"]),
        (0, 49, ["49 labelled examples (train and val) are few for", "49 validation examples"]),
        (1, 49, ["49 validation examples hardly tell candidates apart: have at least 50"]),
        (500, 49, ["49 validation examples"]),
        (0, 50, []),
        (1, 50, []),
        (10**6, 10**6, []),
    ],
)
def test_advice_on_sizes(train: int, val: int, sentences: list[str]) -> None:
    """The advice names each shortage once, with the number that is enough."""
    parts = list(filter(None, advice_on_sizes(train, val).split("; ")))
    assert len(parts) == len(sentences)
    assert all(map(str.startswith, parts, sentences))


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0, -3.0])
def test_advice_on_a_constant_metric(score: float) -> None:
    """Ten equal scores say more about the metric than about programs."""
    advice = advice_on_metric([score] * 5, [score] * 5)
    assert f"gave {score:g} to all 10 held-out answers" in advice
    assert not advice_on_scores([score] * 5, [score] * 5)


def test_advice_on_a_good_baseline() -> None:
    """A baseline above 0.9 has little to gain."""
    advice = advice_on_scores([1.0] * 91 + [0.0] * 9, [1.0] * 100)
    assert "scores 0.910 on the held-out" in advice


@pytest.mark.parametrize(
    "baseline, compiled",
    [
        ([0.5] * 4, [0.5] * 5),
        ([0.5] * 9, [0.4] * 9),
        ([1.0] * 90 + [0.0] * 10, [1.0] * 100),
        ([3.0, 4.0], [4.0, 5.0]),
    ],
    ids=["few equal scores", "different scores", "a baseline at 0.9", "another scale"],
)
def test_scores_without_advice(baseline: list[float], compiled: list[float]) -> None:
    """Equal scores of few answers may be chance, and a scale may go beyond 1."""
    assert not advice_on_scores(baseline, compiled)
    assert not advice_on_metric(baseline, compiled)
