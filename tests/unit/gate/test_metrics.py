from __future__ import annotations

from functools import partial

import pytest

from pytest_mipro.gate.metrics import by_all_metrics, question
from pytest_mipro.gate.verdict import AcceptedScores, no_regression
from pytest_mipro.records import Scorecard, Usage, Verdict

pytestmark = pytest.mark.uses("numpy")


def scorecard(right: int, count: int = 40) -> Scorecard:
    """Return a scorecard with the first ``right`` of ``count`` answers right."""
    scores = tuple(float(number < right) for number in range(count))
    return Scorecard(tuple(map(str, range(count))), scores, Usage())


def judged(alpha: float = 0.05, **right: int) -> Verdict:
    """Judge metrics by how many answers are right; 30 of 40 were accepted."""
    accepted = AcceptedScores(scorecard(30), "pytest --mipro --mipro-update")
    judge = partial(no_regression, accepted, tolerance=0.1)
    judges = {name: partial(judge, scorecard(count)) for name, count in right.items()}
    return by_all_metrics(judges, alpha)


@pytest.mark.parametrize(
    "right, word",
    [
        ({"exact": 32, "tone": 33}, "PASS"),
        ({"exact": 32, "tone": 26}, "INCONCLUSIVE"),
        ({"exact": 32, "tone": 10}, "FAIL"),
        ({"exact": 10, "tone": 26}, "FAIL"),
        ({"exact": 32}, "PASS"),
    ],
    ids=repr,
)
def test_all_metrics_pass_or_the_worst_decides(right: dict[str, int], word: str) -> None:
    """The verdict has the comparison of the metric that did worst."""
    verdict = judged(**right)
    assert verdict.word == word
    assert verdict.comparison is not None
    assert verdict.comparison.compiled == min(right.values()) / 40


def test_a_fail_is_no_more_frequent_with_more_metrics() -> None:
    """What is a FAIL of one metric alone is none where it may be the accident of one of many."""
    alone = judged(tone=19)
    many = judged(tone=19, **{f"metric {number}": 32 for number in range(19)})
    assert (alone.word, many.word) == ("FAIL", "INCONCLUSIVE")
    assert many.sentence.startswith("all 20 metrics: tone INCONCLUSIVE -0.275, ")


def test_a_verdict_that_does_not_hold_is_worse_than_one_that_does() -> None:
    """What the anchor holds up by one metric does not pass because another one did worse."""
    judge = partial(no_regression, AcceptedScores(scorecard(30), ""), tolerance=0.1)
    judges = {
        "exact": partial(judge, scorecard(27), tolerated=False),
        "tone": partial(judge, scorecard(25), tolerated=True),
    }
    for order in (judges, dict(reversed(judges.items()))):
        verdict = by_all_metrics(order, 0.05)
        assert (verdict.word, bool(verdict)) == ("INCONCLUSIVE", False)
    assert by_all_metrics({"tone": judges["tone"]}, 0.05)


def test_the_sentence_has_every_metric() -> None:
    """It has each word with its difference, both levels, and the worst metric's sentence."""
    sentence = judged(exact=32, tone=10).sentence
    assert sentence.startswith(
        "all 2 metrics: exact PASS +0.050, tone FAIL -0.500; each passes at alpha = 0.05 and "
        "fails at alpha = 0.025; tone: compiled 0.250, reference 0.750, "
    )


@pytest.mark.parametrize(
    "metric, label", [("", "no regression"), ("tone", "no regression (tone)")], ids=repr
)
def test_a_question_names_its_metric(metric: str, label: str) -> None:
    """A task with one metric needs no name."""
    assert question(Verdict("no_regression", "PASS", "", None, metric=metric)) == label
