from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import dspy
import pytest
from scripted import scripted_lm

from pytest_mipro.errors import BudgetExceeded, ModelError
from pytest_mipro.evaluate import (
    Evaluator,
    StoredRows,
    WorkerPool,
    run_to_completion,
)
from pytest_mipro.records import BudgetCut, Usage
from pytest_mipro.spending.account import Account
from pytest_mipro.spending.limits import Limit
from pytest_mipro.spending.meter import UsageMeter
from pytest_mipro.spending.prices import Price, Prices
from pytest_mipro.store import Store

CALL = Usage(1, 10, 2)


def calls(most: float) -> Limit:
    """Return a limit of LM calls."""
    return Limit("calls", most, "lm_calls")


def test_no_row_begins_after_the_limit() -> None:
    """The error has the spending by purpose and the next step."""
    account = Account([calls(3)])
    for purpose in ("bootstrap", "propose", "search"):
        account.admit()
        account.charge(purpose, "m", CALL)
    with pytest.raises(BudgetExceeded) as caught:
        account.admit()
    text = str(caught.value)
    assert "lm_calls=3 is spent" in text
    assert "bootstrap 1 LM call, propose 1 LM call, search 1 LM call" in text
    assert "the same command goes on" in text


def test_without_calls_the_same_command_is_no_next_step() -> None:
    """The next step is a larger limit if the reserve alone exceeds the present one."""
    account = Account([calls(5)])
    account.reserve(9)
    with pytest.raises(BudgetExceeded) as caught:
        account.admit()
    text = str(caught.value)
    assert "lm_calls=5 is not enough" in text
    assert "no model was called; only a larger lm_calls gets further" in text
    assert "the same command" not in text


def test_after_calls_of_another_task_the_same_command_goes_on() -> None:
    """The rows of the other task are stored, so the next run has more for this task."""
    session = Account([Limit("calls", 5, "--mipro-max-calls")])
    session.charge("search", "m", CALL)
    task = Account(parent=session)
    task.reserve(9)
    with pytest.raises(BudgetExceeded) as caught:
        task.admit()
    assert "--mipro-max-calls 5 is not enough" in str(caught.value)
    assert "this run has spent nothing" in str(caught.value)
    assert "the same command goes on" in str(caught.value)


def test_rows_do_not_spend_the_reserve() -> None:
    """Two of five calls are reserved until the reserve is released."""
    account = Account([calls(5)])
    account.reserve(2)
    for _ in range(3):
        account.admit()
        account.charge("search", "m", CALL)
    message = r"lm_calls=5 is not enough.*search 3 LM calls; about 2 calls are kept back"
    with pytest.raises(BudgetExceeded, match=message):
        account.admit()
    account.reserve(0)
    account.admit()


def test_a_reserve_of_tokens_is_estimated_from_the_calls_so_far() -> None:
    """A call takes 12 tokens, so 2 reserved calls take 24."""
    account = Account([Limit("tokens", 47, "tokens")])
    account.reserve(2)
    account.admit()
    account.charge("search", "m", CALL)
    account.admit()
    account.charge("search", "m", CALL)
    with pytest.raises(BudgetExceeded, match="tokens=47"):
        account.admit()


def test_seconds_count_from_the_first_row() -> None:
    """The time before the first row of the task does not count."""
    now = [100.0]
    account = Account([Limit("seconds", 10, "seconds")], clock=lambda: now[0])
    now[0] = 200.0
    account.admit()
    now[0] = 209.0
    account.admit()
    now[0] = 210.0
    with pytest.raises(BudgetExceeded, match="seconds=10"):
        account.admit()


def test_a_limit_of_cost_needs_a_price() -> None:
    """The error comes before the first call, and has the model and the option for its price."""
    limit = Limit("usd", 1, "cost_usd")
    with pytest.raises(ModelError, match=r"price of 'nobody' is unknown.*mipro_price = nobody: "):
        Account([limit], models=["nobody"]).admit()
    prices = Prices({"nobody": Price(1_000_000, 500_000)})
    account = Account([limit], models=["nobody"], prices=prices)
    account.admit()
    assert account.charge("search", "nobody", Usage(1, 2, 2)).cost == 3
    with pytest.raises(BudgetExceeded, match=r"cost_usd=1 is spent.*\$3.0000"):
        account.admit()


def test_the_limit_of_the_session_holds_for_its_tasks() -> None:
    """No task starts a row after the session's limit, whichever task has spent it."""
    session = Account([Limit("calls", 3, "--mipro-max-calls")])
    first, second = Account([calls(9)], parent=session), Account(parent=session)
    for account in (first, second, first):
        account.admit()
        account.charge("search", "m", CALL)
    for account in (first, second):
        with pytest.raises(BudgetExceeded, match="--mipro-max-calls 3 is spent"):
            account.admit()
    assert session.usage.calls == 3


def test_a_cut_search_goes_on_with_a_larger_budget_only() -> None:
    """A search that was cut at 10 calls goes on with 11 or without a limit, and not with 10."""
    cut = BudgetCut("lm_calls=10", "calls", 10)
    assert not Account([calls(10)]).allows_more(cut)
    assert not Account([calls(9)]).allows_more(cut)
    assert Account([calls(11)]).allows_more(cut)
    assert Account([Limit("tokens", 10, "tokens")]).allows_more(cut)


@pytest.mark.parametrize("threads", [1, 4, 16])
def test_running_rows_alone_exceed_the_limit(threads: int) -> None:
    """Rows of one call each exceed the limit by less than the number of threads."""
    lm = scripted_lm(latency=0.005)
    evaluator = Evaluator(lambda *_: 1.0, {"lm": lm}, "key")
    examples = [
        dspy.Example(question=f"{number} + 1", answer="x").with_inputs("question")
        for number in range(100)
    ]
    store = Store.in_memory()
    workers = WorkerPool(threads)
    account = Account([calls(30)])
    rows = StoredRows(evaluator, store, workers).evaluate(
        dspy.Predict("question -> answer"), examples
    )
    with account.current(), pytest.raises(BudgetExceeded):
        run_to_completion(rows, workers)
    assert 30 <= account.usage.calls < 30 + threads
    assert account.usage == workers.usage
    store.close()


def test_threads_charge_one_account() -> None:
    """No call is lost if many threads charge at the same time."""
    account, start = Account(), threading.Barrier(8)

    def charge() -> None:
        with account.current():
            meter = UsageMeter()
            start.wait()
            for _ in range(500):
                meter.add_usage("m", {"prompt_tokens": 1})

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(charge) for _ in range(8)]:
            future.result()
    assert account.usage == Usage(4000, 4000)
