"""Accounts: what is charged, when nothing more begins, and what is said then."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import dspy
import pytest
from scripted import scripted_lm

from pytest_mipro.errors import BudgetExceeded, DeclarationError, ModelError
from pytest_mipro.evaluate import (
    ContextThreadPool,
    Evaluator,
    StoredRows,
    WorkerPool,
    run_to_completion,
)
from pytest_mipro.records import Cut, Usage
from pytest_mipro.spending.account import Account, Limit, limits_of
from pytest_mipro.spending.meter import UsageMeter
from pytest_mipro.spending.prices import Price, Prices
from pytest_mipro.spending.shared_spending import SharedSpending
from pytest_mipro.store import Store
from pytest_mipro.task import Budget

if TYPE_CHECKING:
    from pathlib import Path

CALL = Usage(1, 10, 2)


def calls(most: float) -> Limit:
    """Return a limit of LM calls."""
    return Limit("calls", most, "lm_calls")


@pytest.mark.parametrize("name", ["lm_calls", "tokens", "cost_usd", "seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_budget_takes_positive_numbers_alone(name: str, value: object) -> None:
    """The error names the limit and the value."""
    with pytest.raises(DeclarationError, match=rf"{name}=.*expected a"):
        Budget(**{name: value})  # type: ignore[arg-type]


def test_a_budget_limits_something() -> None:
    """An empty one is a mistake; half a call cannot be made, half a dollar can be spent."""
    with pytest.raises(DeclarationError, match="limits nothing"):
        Budget()
    with pytest.raises(DeclarationError, match="whole number"):
        Budget(lm_calls=1.5)  # type: ignore[arg-type]
    assert [str(each) for each in limits_of(Budget(lm_calls=5, cost_usd=0.5))] == [
        "lm_calls=5",
        "cost_usd=0.5",
    ]


def test_nothing_begins_once_the_limit_is_reached() -> None:
    """The error says what was spent on what, and how to go on."""
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


def test_where_nothing_was_asked_the_same_command_gets_no_further() -> None:
    """Only a larger limit does."""
    account = Account([calls(5)])
    account.reserve(9)
    with pytest.raises(BudgetExceeded) as caught:
        account.admit()
    text = str(caught.value)
    assert "lm_calls=5 is not enough" in text
    assert "nothing was asked; only a larger lm_calls gets further" in text
    assert "the same command" not in text


def test_where_another_task_spent_it_the_same_command_goes_on() -> None:
    """What that one has asked is stored, so the next run has more for this one."""
    session = Account([Limit("calls", 5, "--mipro-max-calls")])
    session.charge("search", "m", CALL)
    task = Account(parent=session)
    task.reserve(9)
    with pytest.raises(BudgetExceeded) as caught:
        task.admit()
    assert "--mipro-max-calls 5 is not enough" in str(caught.value)
    assert "this run has spent nothing" in str(caught.value)
    assert "the same command goes on" in str(caught.value)


def test_what_is_reserved_is_not_spent() -> None:
    """Two of five calls are kept back until they are released."""
    account = Account([calls(5)])
    account.reserve(2)
    for _ in range(3):
        account.admit()
        account.charge("search", "m", CALL)
    kept = r"lm_calls=5 is not enough.*search 3 LM calls; about 2 calls are kept back"
    with pytest.raises(BudgetExceeded, match=kept):
        account.admit()
    account.reserve(0)
    account.admit()


def test_a_reserve_of_tokens_goes_by_those_so_far() -> None:
    """Calls take 12 tokens each, so 2 reserved calls keep back 24."""
    account = Account([Limit("tokens", 47, "tokens")])
    account.reserve(2)
    account.admit()
    account.charge("search", "m", CALL)
    account.admit()
    account.charge("search", "m", CALL)
    with pytest.raises(BudgetExceeded, match="tokens=47"):
        account.admit()


def test_seconds_run_from_the_first_row() -> None:
    """What comes before a task's own work does not count."""
    now = [100.0]
    account = Account([Limit("seconds", 10, "seconds")], clock=lambda: now[0])
    now[0] = 200.0
    account.admit()
    now[0] = 209.0
    account.admit()
    now[0] = 210.0
    with pytest.raises(BudgetExceeded, match="seconds=10"):
        account.admit()


def test_a_cost_needs_a_price() -> None:
    """The error comes before the first call, names the model and shows how to give a price."""
    limit = Limit("usd", 1, "cost_usd")
    with pytest.raises(ModelError, match=r"price of 'nobody' is unknown.*mipro_price = nobody: "):
        Account([limit], models=["nobody"]).admit()
    given = Prices({"nobody": Price(1_000_000, 500_000)})
    account = Account([limit], models=["nobody"], prices=given)
    account.admit()
    assert account.charge("search", "nobody", Usage(1, 2, 2)).cost == 3
    with pytest.raises(BudgetExceeded, match=r"cost_usd=1 is spent.*\$3.0000"):
        account.admit()


def test_an_unknown_price_is_not_nothing() -> None:
    """One call without a price makes the cost of all unknown."""
    known = Usage(1, 10, 2, priced=1, usd=2)
    assert known.cost == 2
    assert (known + CALL).cost is None
    assert Usage().cost == 0


def test_the_session_pays_for_its_tasks() -> None:
    """A task stops where the session's limit is reached, even by another task."""
    session = Account([Limit("calls", 3, "--mipro-max-calls")])
    first, second = Account([calls(9)], parent=session), Account(parent=session)
    for account in (first, second, first):
        account.admit()
        account.charge("search", "m", CALL)
    for account in (first, second):
        with pytest.raises(BudgetExceeded, match="--mipro-max-calls 3 is spent"):
            account.admit()
    assert session.usage.calls == 3


def test_processes_share_an_account(tmp_path: Path) -> None:
    """Each sees what the others have spent; a file that is no account counts for nothing."""
    limit = Limit("calls", 3, "--mipro-max-calls")
    one, two = (Account([limit], elsewhere=SharedSpending(tmp_path, name)) for name in ("a", "b"))
    (tmp_path / "c.spent").write_text("half")
    one.charge("search", "m", CALL)
    two.charge("search", "m", CALL)
    one.admit()
    two.charge("search", "m", CALL)
    for account in (one, two):
        with pytest.raises(BudgetExceeded):
            account.admit()


def test_more_is_allowed_under_a_larger_budget_alone() -> None:
    """A search that was cut at 10 calls goes on under 11 or no limit, not under 10."""
    cut = Cut("lm_calls=10", "calls", 10)
    assert not Account([calls(10)]).allows_more(cut)
    assert not Account([calls(9)]).allows_more(cut)
    assert Account([calls(11)]).allows_more(cut)
    assert Account([Limit("tokens", 10, "tokens")]).allows_more(cut)


@pytest.mark.parametrize("threads", [1, 4, 16])
def test_no_more_is_spent_than_was_in_flight(threads: int) -> None:
    """Rows of one call each go beyond the limit by less than there are threads."""
    lm = scripted_lm(latency=0.005)
    bench = Evaluator(lambda *_: 1.0, {"lm": lm}, "bench")
    examples = [
        dspy.Example(question=f"{number} + 1", answer="x").with_inputs("question")
        for number in range(100)
    ]
    store = Store.in_memory()
    workers = WorkerPool(ContextThreadPool(threads))
    account = Account([calls(30)])
    rows = StoredRows(bench, store, workers).evaluate(dspy.Predict("question -> answer"), examples)
    with account.current(), pytest.raises(BudgetExceeded):
        run_to_completion(rows, workers)
    assert 30 <= account.usage.calls < 30 + threads
    assert account.usage == workers.usage
    store.close()


def test_threads_charge_one_account() -> None:
    """No call is lost where many threads charge at once."""
    account, start = Account(), threading.Barrier(8)

    def ask() -> None:
        with account.current():
            meter = UsageMeter()
            start.wait()
            for _ in range(500):
                meter.add_usage("m", {"prompt_tokens": 1})

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(ask) for _ in range(8)]:
            done.result()
    assert account.usage == Usage(4000, 4000)


def test_listed_prices_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of a provider has the price that DSPy's list gives it, without a download."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    price = Prices().of("openai/gpt-4o-mini")
    assert price is not None
    assert 0 < price.asked < price.answered < 10
    assert Prices().of("openai/no-such-model") is None
    assert Prices().of("scripted") is None
