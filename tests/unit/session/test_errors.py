"""What prevents a verdict is an error: nothing of it is stored, scored or accepted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from scripted import ScriptedEngine
from sessions import COMPILE, HELD_OUT, ROWS, Adder, held_out, right, sums, with_demos

from pytest_mipro.errors import (
    BudgetExceeded,
    FingerprintError,
    InfrastructureError,
    MetricError,
    ProgramError,
)
from pytest_mipro.spending import Account, Limit
from pytest_mipro.store import Store
from pytest_mipro.task import Budget

if TYPE_CHECKING:
    from sessions import Checkout


@pytest.mark.parametrize(
    "role, limit",
    [("model", 1), ("writer", 1), ("model", 8), ("model", 20)],
    ids=["bootstrap", "propose", "search", "held-out"],
)
def test_an_outage_is_an_error_and_the_next_run_goes_on(
    checkout: Checkout, role: str, limit: int
) -> None:
    """No phase stores a failure as a row, and the next run pays for missing rows alone."""
    model = getattr(checkout, role)
    model.limit = limit
    with pytest.raises(InfrastructureError, match="the key was revoked") as caught:
        checkout.outcome(update=True)
    assert checkout.references == {}
    store = Store.open(checkout.store_url)
    stored = store.rows.count()
    store.close()
    assert caught.value.stored == stored
    assert f"which holds {stored} rows, and the same command goes on" in str(caught.value)
    model.limit = None
    outcome = checkout.outcome()
    assert checkout.calls == COMPILE + ROWS
    assert outcome.baseline.card.failures == outcome.compiled.card.failures == ()
    assert outcome.beats_baseline()


@pytest.mark.parametrize("flag", ["refresh", "rescore"])
def test_an_outage_while_asking_again_begins_anew(compiled: Checkout, flag: str) -> None:
    """The store keeps no answer of such a run, and the error says so."""
    compiled.model.limit = 2
    with pytest.raises(InfrastructureError, match="asking again starts over with the next run"):
        compiled.outcome(None, **{flag: True})
    compiled.model.limit = None
    assert compiled.outcome().report().origin == "stored"


class Swallowing(Adder):
    """Hides every error."""

    def forward(self, question: str) -> dspy.Prediction:
        """Answer 0 where there is no answer."""
        try:
            return super().forward(question)
        except Exception:  # ruff: ignore[blind-except] - it is what such programs do
            return dspy.Prediction(answer=0)


def test_an_outage_that_the_program_swallows_is_an_error(checkout: Checkout) -> None:
    """A program that hides the error of its model gets no score."""
    checkout.recorder.optimizer = with_demos
    checkout.model.limit = 0
    with pytest.raises(InfrastructureError, match="the key was revoked"):
        checkout.outcome(checkout.task(program=Swallowing()))


@pytest.mark.parametrize(
    "metric, message",
    [
        (lambda *_: None, "the metric returned None"),
        (lambda *_: float("nan"), "the metric returned nan"),
        (lambda *_: "good", "the metric returned 'good'"),
        (lambda *_: 1 / 0, "the metric raised ZeroDivisionError"),
    ],
    ids=["None", "NaN", "text", "raises"],
)
def test_a_metric_without_a_score_is_an_error(
    checkout: Checkout, metric: Any, message: str
) -> None:
    """Nothing is accepted, and the session can still judge other tasks."""
    checkout.recorder.optimizer = with_demos
    with checkout.session(update=True) as run:
        with pytest.raises(MetricError, match=rf'{message}(.|\n)*on the example {{"answer":'):
            run.outcome(checkout.task("test_broken", metric=metric))
        run.outcome()
    assert list(checkout.references) == ["test_adder.json", "test_adder.program.json"]


BROKEN = r"the baseline program failed on 3 of 5 held-out examples with KeyError(.|\n)*rates"


class Breaking(Adder):
    """Cannot add large numbers."""

    def forward(self, question: str) -> dspy.Prediction:
        """Raise for sums above 22."""
        if int(question.split()[2]) > 22:
            raise KeyError("rates")
        return super().forward(question)


def test_a_program_that_breaks_on_most_examples_is_an_error(checkout: Checkout) -> None:
    """A second run from the store raises it again; half of the examples may fail."""
    checkout.recorder.optimizer = with_demos
    broken = checkout.task(program=Breaking(), dataset=held_out(*HELD_OUT[1:]))
    for _ in range(2):
        with pytest.raises(ProgramError, match=BROKEN):
            checkout.outcome(broken)
    outcome = checkout.outcome(checkout.task(program=Breaking()))
    assert outcome.compiled.scores == (1, 1, 1, 0, 0, 0)
    assert [failure.type for failure in outcome.compiled.card.failures] == ["KeyError"] * 3


def test_content_without_an_identity_asks_for_a_version(checkout: Checkout) -> None:
    """A metric with a lock in its closure needs ``version``, and compiles with it."""
    lock = threading.Lock()

    def locked(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
        with lock:
            return right(example, prediction)

    with pytest.raises(FingerprintError, match=r"cannot be hashed.*version="):
        checkout.outcome(checkout.task(metric=locked))
    assert checkout.outcome(checkout.task(metric=locked, version="1")).beats_baseline()


# --- Budgets ---------------------------------------------------------------------------------


def test_a_budget_too_small_for_a_verdict_is_an_error(checkout: Checkout) -> None:
    """The session asks no model, stores no artifact and writes no reference."""
    task = checkout.task(budget=Budget(lm_calls=11))
    with pytest.raises(BudgetExceeded, match="lm_calls=11 is not enough") as caught:
        checkout.outcome(task, update=True)
    assert "this is no score; no model was called" in str(caught.value)
    assert checkout.calls == 0
    assert checkout.references == {}
    foreseen = checkout.estimate(checkout.task())
    assert foreseen is not None
    assert foreseen.why == "compile: no artifact in the store yet"


def test_the_limit_of_a_session_is_that_of_all_its_tasks(compiled: Checkout) -> None:
    """The second task can spend only the rest, and the error names the flag."""
    account = Account([Limit("calls", 5, "--mipro-max-calls")])
    with compiled.session(account=account) as run:
        run.outcome(compiled.task("test_first", dataset=held_out(*sums(40, 2))))
        with pytest.raises(BudgetExceeded, match=r"--mipro-max-calls 5 is spent.*held-out 1 LM c"):
            run.outcome(compiled.task("test_second", dataset=held_out(*sums(50, 2))))
        assert run.session.usage.calls == 5
    assert compiled.calls == 5


def test_an_exceeded_limit_counts_what_was_in_flight(compiled: Checkout) -> None:
    """The error counts the calls that were running when the limit was reached."""
    compiled.model.drift_to(ScriptedEngine(base=0, per_demo=100, latency=0.02))
    account = Account([Limit("calls", 2, "--mipro-max-calls")])
    task = compiled.task(threads=4, dataset=held_out(*sums(40, 4)))
    with pytest.raises(BudgetExceeded) as caught:
        compiled.outcome(task, account=account)
    assert 2 <= compiled.calls <= 2 + 4
    assert f"this run has spent held-out {compiled.calls} LM calls" in str(caught.value)


def test_a_cut_search_goes_on_where_there_is_more_to_spend(checkout: Checkout) -> None:
    """The same budget takes the artifact; a larger one compiles on and pays the rest."""
    small, large = (
        checkout.task(num_trials=4, budget=Budget(lm_calls=calls)) for calls in (36, 500)
    )
    first = checkout.outcome(small).report()
    assert first.cut is not None
    assert (first.cut.limit, first.cut.what) == ("lm_calls=36", "calls")
    spent = checkout.calls
    assert spent <= 36
    again = checkout.outcome(small).report()
    assert (again.origin, again.cut, checkout.calls) == ("stored", first.cut, spent)
    larger = checkout.outcome(large).report()
    assert larger.reasons == ("the search was cut at lm_calls=36, there is more to spend now",)
    assert larger.cut is None
    assert larger.resumed > 0
    assert larger.usage.calls == checkout.calls - spent == 8


def test_a_test_with_more_to_spend_does_not_share_what_was_cut(checkout: Checkout) -> None:
    """A test with a larger budget compiles on, and a third test shares that result."""
    budgets = {"test_small": 36, "test_large": 500, "test_third": 36}
    with checkout.session() as run:
        small, large, third = (
            run.outcome(checkout.task(name, num_trials=4, budget=Budget(lm_calls=calls))).report()
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
def test_other_limits_end_well(checkout: Checkout, budget: Budget, calls: int) -> None:
    """The session judges the task and spends no more than the limit."""
    outcome = checkout.outcome(checkout.task(num_trials=4, budget=budget))
    assert outcome.beats_baseline()
    assert checkout.calls <= calls
    assert (outcome.report().cut is None) == (budget.seconds is not None)
