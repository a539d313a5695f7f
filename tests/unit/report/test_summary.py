from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest

from pytest_mipro.records import (
    PairedComparison,
    Prompt,
    Report,
    Scorecard,
    Usage,
    Verdict,
)
from pytest_mipro.report.summary import Summary, summarize

if TYPE_CHECKING:
    from pytest_mipro.records import Word

COMPARISON = PairedComparison(
    n=4,
    baseline=0.25,
    compiled=0.75,
    difference=0.5,
    low=-0.1,
    high=0.9,
    p_value=0.25,
    detectable=0.6,
    margin=0.0,
    confidence=0.95,
    method="exact McNemar test",
)


def report(*words: Word, origin: Literal["compiled", "stored"] = "compiled") -> Report:
    """Return a report with verdicts of these words."""
    examples = ("a", "b", "c", "d")
    return Report(
        task="router",
        test="test_x.py::test_router",
        key="12ab",
        origin=origin,
        reasons=("metric changed (test_x.py:3)",),
        baseline=Scorecard(examples, (0.0, 0.0, 0.0, 1.0), Usage(4)),
        compiled=Scorecard(examples, (1.0, 1.0, 0.0, 1.0), Usage(4)),
        comparison=COMPARISON,
        prompts_before=(Prompt("predict", "Do."),),
        prompts_after=(Prompt("predict", "Do well.", ({"question": "1", "augmented": True},)),),
        usage=Usage(120, 1200, 240),
        seconds=12.6,
        store=".mipro/store.db",
        verdicts=tuple(Verdict("beats baseline", word, "why", COMPARISON) for word in words),
    )


@pytest.mark.parametrize(
    "words, worst",
    [
        ((), "not judged"),
        (("PASS",), "PASS"),
        (("PASS", "INCONCLUSIVE"), "INCONCLUSIVE"),
        (("INCONCLUSIVE", "PASS", "FAIL"), "FAIL"),
        (("PASS", "PASS"), "PASS"),
        (("FAIL", "INCONCLUSIVE"), "FAIL"),
    ],
)
def test_the_worst_verdict_counts(words: tuple[Word, ...], worst: str) -> None:
    """A task is as good as the worst of its verdicts, in whatever order they came."""
    (task,) = summarize([report(*words)]).tasks
    assert task.word == worst


def test_tasks_in_the_order_of_their_tests() -> None:
    """Every report becomes one task, in order, also one of the same name."""
    reports = [replace(report(), task=name) for name in ("z", "a", "z")]
    assert [task.report for task in summarize(reports).tasks] == reports


def test_nothing_to_say() -> None:
    """Without tasks there is an empty summary."""
    assert summarize([]) == Summary(())


def test_effort_of_a_compile() -> None:
    """A compile says how long it took and what it asked."""
    (task,) = summarize([report("PASS")]).tasks
    assert task.effort == "compiled in 13 s, 120 LM calls"


def test_effort_of_a_stored_artifact() -> None:
    """What came from the store says so, and that it cost nothing."""
    (task,) = summarize([replace(report(origin="stored"), usage=Usage())]).tasks
    assert task.effort == "from the store, 0 LM calls"


def test_one_call_is_singular() -> None:
    """One call is a call, not calls."""
    (task,) = summarize([replace(report(), usage=Usage(1, 5, 5))]).tasks
    assert task.effort.endswith("1 LM call")


def test_survives_the_round_trip() -> None:
    """A summary is the same after it was plain data, as an xdist worker sends it."""
    summary = summarize([report("PASS"), report("FAIL", "PASS", origin="stored")])
    assert Summary.from_dict(summary.to_dict()) == summary
