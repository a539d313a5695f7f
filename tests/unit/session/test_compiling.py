from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from sessions import (
    COMPILE,
    HELD_OUT,
    ROWS,
    TRAIN,
    VAL,
    Adder,
    Checkout,
    adding,
    sums,
    with_demos,
)

from pytest_mipro.errors import FingerprintError, ModelError, OptimizerError
from pytest_mipro.records import Usage
from pytest_mipro.spending import Account, Limit, Price, Prices
from pytest_mipro.store import Store
from pytest_mipro.task import Budget, Dataset

if TYPE_CHECKING:
    from sessions import FirstRun

    from pytest_mipro.records import Artifact
    from pytest_mipro.task import Task


class Subtracter(Adder):
    """Has code of its own."""


class Plain(dspy.ChatAdapter):
    """Renders prompts as DSPy does by default."""


def swapped(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Return the score that ``right`` returns."""
    return bool(prediction.answer == example.answer)


def stored(checkout: Checkout) -> Artifact:
    """Return the only artifact in a checkout's store."""
    store = Store.open(checkout.store_url)
    (artifact,) = store.artifacts.recent(checkout.task().test)
    store.close()
    return artifact


def test_an_artifact_says_how_it_was_made(first_run: FirstRun) -> None:
    """It has key, parts, usage and search, and the declared program stays as it is."""
    checkout, outcome = first_run
    artifact, report = stored(checkout), outcome.report()
    assert (artifact.key, artifact.task) == (report.key, report.test)
    assert artifact.usage.calls == checkout.calls - ROWS
    assert artifact.search is not None
    assert (artifact.search, artifact.cut) == (report.search, None)
    assert artifact.parts.keys() >= {"metric", "model", "option/seed", "instruction/add"}
    assert outcome.baseline.program is outcome.task.program
    assert outcome.task.program.add.demos == []
    assert outcome.compiled.program.add.demos


def test_an_artifact_is_json_that_dspy_loads(first_run: FirstRun) -> None:
    """It has demos from the training examples and no model."""
    with closing(sqlite3.connect(first_run.checkout.store)) as store:
        ((text,),) = store.execute("SELECT json_extract(value, '$.state') FROM artifacts")
    state = json.loads(text)
    assert state == stored(first_run.checkout).state
    assert state["add"]["lm"] is None
    program = Adder()
    program.load_state(state)
    assert dict(program.add.demos[0]) in [dict(example) for example in TRAIN]


def test_a_plugin_may_compile(checkout: Checkout) -> None:
    """The artifact has the usage of the plugin's optimizer and no search log."""

    def optimize(task: Task) -> dspy.Module:
        task.program(question="What is 1 + 1?")
        return with_demos(task)

    checkout.recorder.optimizer = optimize
    outcome = checkout.outcome()
    artifact = stored(checkout)
    assert (artifact.usage, artifact.search, artifact.cut) == (Usage(1, 10, 2), None, None)
    assert outcome.beats_baseline()
    assert outcome.report().usage.calls == checkout.calls == 1 + ROWS
    assert checkout.report().origin == "stored"


def test_a_plugin_has_to_return_a_program(checkout: Checkout) -> None:
    """The error names the hook and its result, and the store gets no artifact."""
    checkout.recorder.optimizer = lambda _: 3
    with pytest.raises(OptimizerError, match="pytest_mipro_optimize returned 3, which"):
        checkout.outcome()
    checkout.recorder.optimizer = with_demos
    assert checkout.report().reasons == ("no artifact in the store yet",)


def test_few_examples_are_advised_against_before_a_compile(checkout: Checkout) -> None:
    """A session that takes the artifact from the store gives no advice."""
    recorder, counts = checkout.recorder, []

    def optimize(task: Task) -> dspy.Module:
        counts.append(len(recorder.warnings))
        return with_demos(task)

    recorder.optimizer = optimize
    checkout.outcome()
    checkout.outcome()
    assert counts == [len(recorder.warnings)] == [1]
    assert recorder.warnings[0].startswith("7 labelled examples (train and val) are too")


@pytest.mark.parametrize(
    "values, pattern",
    [
        ({"metric": swapped}, r"metric changed \(test_compiling\.py:\d+\)$"),
        ({"program": Subtracter()}, r"code of .*Subtracter added \(.*\), modules changed$"),
        ({"dataset": Dataset(TRAIN[1:], VAL, HELD_OUT)}, "1 train row removed, 2 train rows m"),
        ({"dataset": Dataset(TRAIN, sums(9, 5), HELD_OUT)}, "1 val row added, 4 val rows moved$"),
        ({"seed": 3}, "option seed changed$"),
        ({"adapter": Plain()}, "adapter changed"),
        ({"version": "2"}, "declared version changed$"),
        ({"seed": 3, "version": "2"}, "declared version changed, option seed changed$"),
    ],
    ids=["metric", "code", "train", "val", "option", "adapter", "version", "several"],
)
def test_a_compile_says_what_changed(
    compiled: Checkout, values: dict[str, Any], pattern: str
) -> None:
    """The line and the report have the reason, with the place in the code if it has one."""
    compiled.recorder.optimizer = with_demos
    report = compiled.report(compiled.task(**values))
    assert report.origin == "compiled"
    assert compiled.recorder.reasons == [", ".join(report.reasons)]
    assert re.match(pattern, ", ".join(report.reasons))


def test_a_changed_model_or_part_is_a_reason(compiled: Checkout) -> None:
    """The reason names the part of a plugin; a part without a JSON form is an error."""
    recorder = compiled.recorder
    recorder.optimizer = with_demos
    compiled.model = adding(base=1)
    for parts in ({}, {"index": 1}, {"index": 2}):
        recorder.parts = parts
        compiled.outcome()
    assert recorder.reasons == ["model changed", "index added", "index changed"]
    recorder.parts = {"index": object()}
    with pytest.raises(FingerprintError, match="the part 'index' that pytest_mipro_fingerprint"):
        compiled.outcome()


def test_an_undone_change_is_no_reason(compiled: Checkout) -> None:
    """The reason compares with the most similar artifact of the test, not with the latest."""
    compiled.recorder.optimizer = with_demos
    compiled.outcome(compiled.task(metric=swapped))
    assert compiled.report().origin == "stored"
    compiled.outcome(compiled.task(seed=3))
    assert compiled.recorder.reasons[1:] == ["option seed changed"]


def test_another_metric_asks_for_the_demos_alone(compiled: Checkout) -> None:
    """The session scores the stored answers with the new metric."""
    outcome = compiled.outcome(compiled.task(metric=swapped))
    assert outcome.report().origin == "compiled"
    assert compiled.calls == len(TRAIN)
    assert outcome.baseline.usage.calls == len(HELD_OUT)


def test_a_refresh_asks_the_models_again(compiled: Checkout) -> None:
    """The search evaluates every row again, and the held-out rows come from the store."""
    compiled.outcome(refresh=True)
    assert compiled.calls == COMPILE


def test_a_refresh_replaces_the_artifact_once_per_run(compiled: Checkout) -> None:
    """Other tests of the run and later runs take it, also in another process."""
    compiled.recorder.optimizer = with_demos
    with compiled.session(refresh=True) as run, compiled.session(refresh=True) as worker:
        report = run.report()
        assert report.reasons == ("again, as asked for (--mipro-refresh)",)
        assert compiled.recorder.events[-1] == "evaluate"
        assert run.report("test_other").origin == "shared"
        assert worker.report("test_third").origin == "stored"
    assert compiled.recorder.events.count("optimize") == 1
    assert compiled.report().prompts_after == report.prompts_after


def test_each_model_has_its_part(checkout: Checkout) -> None:
    """The teacher model bootstraps, the prompt model proposes, the task's model answers."""
    teacher = adding(base=100)
    lm = dspy.LM("scripted", engine=teacher, cache=False)
    checkout.outcome(checkout.task(teacher_lm=lm))
    assert teacher.calls == len(TRAIN)
    assert sum("proposed_instruction" in text for text in checkout.writer.questions) == 2
    questions = "\n".join(checkout.model.questions)
    assert HELD_OUT[0].question in questions
    assert not any(example.question in questions for example in TRAIN)


def test_a_teacher_and_a_predictor_may_have_a_model_of_their_own(checkout: Checkout) -> None:
    """A teacher's answers the training examples, a predictor's all rows of both programs."""
    model, teacher = adding(base=100), Adder()
    teacher.add.lm = dspy.LM("own", engine=model, cache=False)
    checkout.outcome(checkout.task(teacher=teacher))
    assert model.calls == len(TRAIN)
    checkout.recorder.optimizer = with_demos
    model, task, calls = adding(), checkout.task(), checkout.calls
    task.program.add.lm = dspy.LM("own", engine=model, cache=False)
    outcome = checkout.outcome(task)
    assert outcome.compiled.program.add.lm is task.program.add.lm
    assert (model.calls, checkout.calls) == (ROWS, calls)


def test_a_limit_of_cost_needs_the_price_of_each_model(checkout: Checkout) -> None:
    """The error names the model, also that of a predictor, and comes before the first call."""
    checkout.recorder.optimizer = with_demos
    task, model = checkout.task(budget=Budget(cost_usd=1.0)), adding()
    message = "the price of 'scripted' is unknown, .*`mipro_price = scripted: "
    with pytest.raises(ModelError, match=rf"cost_usd=1: {message}"):
        checkout.outcome(task)
    with pytest.raises(ModelError, match=rf"--mipro-max-cost 5: {message}"):
        checkout.outcome(account=Account([Limit("usd", 5, "--mipro-max-cost")]))
    prices = Prices({"scripted": Price(1000.0, 1000.0)})
    task.program.add.lm = dspy.LM("own", engine=model, cache=False)
    with pytest.raises(ModelError, match="the price of 'own' is unknown"):
        checkout.outcome(task, account=Account(prices=prices))
    assert (checkout.calls, model.calls) == (0, 0)
    priced = checkout.task(budget=Budget(cost_usd=1.0))
    report = checkout.report(priced, account=Account(prices=prices))
    assert report.usage.cost == pytest.approx(12 * 0.012)


def test_a_cut_search_continues_with_a_larger_budget(checkout: Checkout) -> None:
    """The same budget takes the artifact; a larger one compiles on and pays the rest."""
    small, large = (
        checkout.task(num_trials=4, budget=Budget(lm_calls=calls)) for calls in (36, 500)
    )
    first = checkout.report(small)
    assert first.cut is not None
    assert (first.cut.limit, first.cut.unit) == ("lm_calls=36", "calls")
    spent = checkout.calls
    assert spent <= 36
    again = checkout.report(small)
    assert (again.origin, again.cut, checkout.calls) == ("stored", first.cut, spent)
    larger = checkout.report(large)
    assert larger.reasons == ("the search was cut at lm_calls=36, there is more to spend now",)
    assert larger.cut is None
    assert larger.resumed > 0
    assert larger.usage.calls == checkout.calls - spent == 8


def test_a_test_with_a_larger_budget_does_not_share_a_cut_search(checkout: Checkout) -> None:
    """It compiles on, and a third test shares its result."""
    budgets = {"test_small": 36, "test_large": 500, "test_third": 36}
    with checkout.session() as run:
        small, large, third = (
            run.report(name, num_trials=4, budget=Budget(lm_calls=calls))
            for name, calls in budgets.items()
        )
    assert small.cut is not None
    assert (large.origin, large.cut) == ("compiled", None)
    assert (third.shared, third.cut) == ("test_sums.py::test_large", None)


@pytest.mark.parametrize(
    "budget, calls",
    [
        (Budget(tokens=36 * 12), 36),
        (Budget(seconds=1000), 40),
        (Budget(lm_calls=36, tokens=10**6), 36),
    ],
)
def test_a_limited_compile_ends_with_a_verdict(
    checkout: Checkout, budget: Budget, calls: int
) -> None:
    """The session judges the task and spends no more than the limit."""
    outcome = checkout.outcome(checkout.task(num_trials=4, budget=budget))
    assert outcome.beats_baseline()
    assert checkout.calls <= calls
    assert (outcome.report().cut is None) == (budget.seconds is not None)
