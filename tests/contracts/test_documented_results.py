"""The verdicts, tables and pieces of code that pages explain are those of the plugin."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from documentation import block
from dspy.utils import DummyLM
from summaries import summary

import pytest_mipro
from pytest_mipro import gate, mipro_optimize
from pytest_mipro.gate.sequential import InterimAnalysis, SequentialDesign
from pytest_mipro.records import ExampleCost, Migration, Scorecard, Usage
from pytest_mipro.report import TaskSummary
from pytest_mipro.report.migrations import render_migrations

if TYPE_CHECKING:
    from collections.abc import Sequence

Answers = tuple[float, ...]


def answers(size: int, right: Sequence[int], shared: int) -> tuple[Answers, Answers]:
    """Return the scores of two programs that are right on some examples, ``shared`` in common."""
    rows = [(1.0, 1.0)] * shared
    rows += [(1.0, 0.0)] * (right[0] - shared) + [(0.0, 1.0)] * (right[1] - shared)
    rows += [(0.0, 0.0)] * (size - len(rows))
    baseline, compiled = zip(*rows, strict=True)
    return baseline, compiled


def card(scores: Answers, tokens: int = 0, usd: float = 0.0) -> Scorecard:
    """Return the scorecard of a program each of whose answers takes as much."""
    examples = tuple(map(str, range(len(scores))))
    return Scorecard(examples, scores, Usage(), costs=(ExampleCost(tokens, usd),) * len(scores))


def verdict(
    size: int, right: Sequence[int], shared: int, analysis: InterimAnalysis | None = None
) -> str:
    """Return the sentence about two programs that are right on some examples."""
    cards = map(card, answers(size, right, shared))
    return repr(
        gate.beats_baseline(*cards, margin=0.0, alpha=0.05, unchanged=False, analysis=analysis)
    )


def run(name: str, **names: object) -> dict[str, Any]:
    """Return the names that a page's Python has after it ran with some of its own."""
    namespace: dict[str, Any] = {"dspy": dspy, "__name__": "page", **names}
    exec(block(name), namespace)
    return namespace


def test_the_verdict_that_is_explained() -> None:
    """120 answers exist of which the plugin says that sentence."""
    sentence = " ".join(block("verdict").split())
    assert sentence in {verdict(120, (35, 101), shared) for shared in range(20, 36)}


def test_the_sum_that_is_explained() -> None:
    """100 answers and four differences exist of which the plugin says that sentence."""
    anchor, compiled = map(card, answers(100, (84, 82), 72))
    scores = gate.AnchorScores(anchor, 7, "pytest --mipro ...", earlier=(-0.01, -0.02, 0.01, -0.02))
    judgement = gate.judge_against_anchor(scores, compiled, tolerance=0.02, alpha=0.025)
    assert " ".join(block("losses that add up").split()) == "; ".join(judgement.clauses)


def test_the_look_that_is_explained() -> None:
    """The sentence is that of a seventh look."""
    clause = gate.LookCount(number=7, examples=120, seeds=3, rescores=2).clause
    assert block("seventh look").startswith(f"{clause}; ")


def test_the_sequential_verdict_that_is_explained() -> None:
    """40 answers exist of which the plugin says that sentence at its second analysis."""
    analysis = InterimAnalysis(SequentialDesign((20, 40, 60, 80), 0.05), 2)
    beginning, _, rest = " ".join(block("sequential verdict").split()).rpartition("...")
    assert not rest
    sentences = (verdict(40, (17, 30), shared, analysis) for shared in range(10, 14))
    assert any(sentence.startswith(beginning) for sentence in sentences)


def test_the_table_of_a_move_that_is_explained() -> None:
    """60 answers exist of which the plugin shows this table."""
    old, new = "openai/gpt-4o-mini", "openai/gpt-5-nano"
    right = (52, 45, 54)
    loss, gain, net = (
        gate.compare(*answers(60, pair, min(pair))) for pair in (*pairwise(right), right[::2])
    )
    costs = ((412, 9e-5), (405, 2.1e-4), (630, 3.2e-4))
    accepted, moved, recompiled = (
        card(answers(60, (number, number), number)[0], *cost)
        for number, cost in zip(right, costs, strict=True)
    )
    test = "test_router.py::test_router"
    migration = Migration(
        old,
        new,
        moves=f"model {old} -> {new}",
        accepted=accepted,
        moved=moved,
        recompiled=recompiled,
        loss=loss,
        gain=gain,
        net=net,
        usage=Usage(992, 0, 0, 992, 0.2731),
        compile_usage=Usage(812, 0, 0, 812, 0.2412),
        command=f"pytest --mipro --mipro-update {test} --mipro-lm {new}",
    )
    task = TaskSummary(
        "test_router", test, "test_router.py", 1, "skipped", "not judged", migration=migration
    )
    shown = render_migrations(summary(task), 200)
    assert shown.strip() == block("table of a move").strip()


def test_the_verdicts_after_a_move_begin_with_it() -> None:
    """They name what moved in the words of the plugin, before the scores."""
    moves = [
        ["model openai/gpt-4o-mini -> openai/gpt-5-nano"],
        ["DSPy 3.4.1 -> 3.5.0 renders prompts differently"],
    ]
    lines = block("verdicts after a move").splitlines()
    for line, (move,) in zip(lines, moves, strict=True):
        assert line.startswith(f"FAIL: {move}; compiled 0.")


def test_a_judge_scores_an_answer() -> None:
    """The metric of the page asks the judge's model and returns what it says."""
    page = run("judge", JUDGE=None)
    page["JUDGE"] = DummyLM([{"follows": "True"}, {"follows": "False"}])
    example = dspy.Example(document="The bridge was built in 1902.")
    prediction = dspy.Prediction(answer="1902")
    assert [page["grounded"](example, prediction) for _ in range(2)] == [True, False]


def test_a_metric_gives_feedback() -> None:
    """It says what is wrong with a wrong answer, and nothing of a right one."""
    metric = run("metric with feedback")["exact_match"]
    example = dspy.Example(team="billing")
    right, wrong = (metric(example, dspy.Prediction(team=team)) for team in ("billing", "sales"))
    assert (right.score, right.feedback) == (True, "")
    assert (wrong.score, wrong.feedback) == (False, "Refunds belong to billing.")


def test_a_program_of_two_predictors_runs() -> None:
    """It answers, and the test of the page looks inside."""
    guide = run("two predictors", nearest_fact=lambda question, topic: f"{topic}: {question}")
    program = guide["TownGuide"]()
    with dspy.context(lm=DummyLM([{"topic": "bus"}, {"answer": "3"}, {"topic": "bus"}])):
        assert program(question="Which bus goes to the zoo?").answer == "3"
        names = {"TownGuide": program, "right_answer": len, "mipro_optimize": mipro_optimize}
        test = run("look inside", **names)["test_topics"]
        test(SimpleNamespace(compiled=SimpleNamespace(program=program)))
    assert "mipro" in {mark.name for mark in test.pytestmark}


def test_the_pool_of_processes_runs_a_call() -> None:
    """The function that the fixture returns makes one."""
    pool = run("conftest of processes")["processes"]()
    with pool, dspy.context(lm=DummyLM([])):
        assert pool.submit(os.getpid).result() != os.getpid()
        names = {"pytest_mipro": pytest_mipro, "exact_match": len, "pool": pool}
        optimizer = run("optimizer on an executor", **names)["optimizer"]
        assert optimizer.get_params()["num_threads"] == 64


@pytest.mark.parametrize("name", ["first row", "file of a reference"])
def test_an_object_is_json(name: str) -> None:
    """It can be read."""
    assert json.loads(block(name))
