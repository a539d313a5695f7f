from __future__ import annotations

import pytest

from pytest_mipro.records import Failure, Row
from pytest_mipro.session.advice import (
    advice_on_metric,
    advice_on_scores,
    advice_on_sizes,
    suitable_optimizers,
)


@pytest.mark.parametrize(
    "optimizer, train, val, sentences",
    [
        ("mipro", 0, 0, ["0 labelled examples (train and val) are too few", "0 validation exa"]),
        ("mipro", 9, 10, ["19 labelled examples (train and val) are too few", "10 validation"]),
        ("mipro", 10, 10, ["20 labelled examples (train and val) are few for", "10 validation"]),
        (
            "mipro",
            0,
            49,
            ["49 labelled examples (train and val) are few for", ""],
        ),
        ("mipro", 1, 49, ["49 validation examples hardly tell candidates apart: have at least 50"]),
        ("gepa", 500, 49, ["49 validation examples"]),
        ("mipro", 0, 50, []),
        ("mipro", 10**6, 10**6, []),
        ("labeled", 0, 1, []),
        ("bootstrap", 9, 10, ["19 labelled examples (train and val) are too few"]),
        ("bootstrap", 10, 10, []),
        ("copro", 30, 1, []),
        ("SIMBA", 20, 10, ['30 labelled examples (train and val) are few for optimizer="SIMBA"']),
    ],
)
def test_advice_on_sizes(optimizer: str, train: int, val: int, sentences: list[str]) -> None:
    """The advice names each shortage that matters to the optimizer, and the number that is enough.

    An optimizer that takes few examples is not told to collect more, nor to validate.
    """
    advice = advice_on_sizes(optimizer, train, val)
    parts = [part for part in advice.split("; ") if not part.startswith("optimizer=")]
    assert len(list(filter(None, parts))) == len(sentences)
    assert all(map(str.startswith, parts, sentences))


def rows(score: float, count: int, feedback: str = "") -> list[Row]:
    """Return ``count`` stored rows of a baseline."""
    return [Row(str(index), score, feedback=feedback) for index in range(count)]


@pytest.mark.parametrize(
    "labelled, baseline, names",
    [
        (0, [], ["labeled"]),
        (19, rows(0.5, 30, "too long"), ["labeled"]),
        (20, [], ["bootstrap", "copro"]),
        (49, rows(0.5, 1, "too long"), ["bootstrap", "copro", "gepa"]),
        (50, rows(0.9, 20), ["mipro"]),
        (50, rows(0.91, 20), []),
        (50, rows(0.91, 9), ["mipro"]),
        (50, rows(7.0, 20), ["mipro"]),
        (50, rows(0.5, 1, "too long"), ["mipro", "gepa"]),
    ],
)
def test_suitable_optimizers(labelled: int, baseline: list[Row], names: list[str]) -> None:
    """The number of examples, the baseline's score and feedback decide what fits.

    A few scores do not show that a baseline is good, and a scale beyond 1 has no top.
    """
    suitable = suitable_optimizers(labelled, baseline)
    assert list(suitable.names) == names
    assert "labelled examples" in suitable.reason or "scores 0.910" in suitable.reason


def test_failed_rows_do_not_make_a_baseline() -> None:
    """A failure is no score: the remaining rows decide."""
    failed = Row("x", 0.0, failure=Failure("ValueError", "no", ""))
    assert suitable_optimizers(50, [*rows(1.0, 10), failed, failed]).names == ()


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
