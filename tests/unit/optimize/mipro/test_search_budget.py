from __future__ import annotations

import dspy
import pytest
from compiles import ANSWER, exact, sums
from scripted import scripted_lm

from pytest_mipro import MIPROv2
from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.optimize.mipro.search_budget import SearchBudget
from pytest_mipro.records import Row, Usage
from pytest_mipro.spending import Account, Limit

EXAMPLES = sums(30)


def compile_under(limit: Limit, threads: int) -> tuple[str, dict[str, object], int]:
    """Compile under a limit; return where it was cut, the program and the calls made."""
    account = Account([limit])
    lm = scripted_lm(latency=0.002)
    with dspy.context(lm=lm), account.current():
        optimizer = MIPROv2(exact, num_threads=threads, held_out=6, auto=None, num_candidates=4)
        program = optimizer.compile(
            dspy.Predict(ANSWER),
            trainset=EXAMPLES[:6],
            valset=EXAMPLES[22:],
            num_trials=20,
            minibatch=False,
        )
    cut = optimizer.cut
    return "" if cut is None else cut.limit, program.dump_state(), account.usage.calls


@pytest.mark.parametrize(
    "limit", [Limit("calls", 60, "lm_calls"), Limit("tokens", 720, "tokens")], ids=str
)
def test_a_cut_is_the_same_at_any_parallelism(limit: Limit) -> None:
    """1 and 8 threads cut at the same minibatch, and leave enough for the held-out rows."""
    cut, program, calls = compile_under(limit, 1)
    assert cut == str(limit)
    assert calls <= limit.most / (12 if limit.unit == "tokens" else 1) - 6
    assert compile_under(limit, 8) == (cut, program, calls)


def test_too_little_for_a_winner_is_refused() -> None:
    """A limit that does not allow to measure a winner is an error before the search."""
    with pytest.raises(BudgetExceeded, match="lm_calls=30"):
        compile_under(Limit("calls", 30, "lm_calls"), 4)


def test_calls_that_a_cache_answered_are_not_relied_on() -> None:
    """The next row may find nothing in the cache, so it is expected to make all its calls."""
    budget = SearchBudget(Account([Limit("calls", 10, "lm_calls")]), calls=1)
    budget.begin(2)
    cached = Row("cached", 1.0, usage=Usage(1))
    budget.finish([cached, Row("uncached", 1.0, usage=Usage(3), spent=Usage(3))])
    assert budget.limit_against(2) is None
    assert budget.limit_against(3) is not None
    assert budget.part(0.5, 10, beside=0) == 1


def test_rows_under_way_cost_as_much_as_finished_rows() -> None:
    """After a row of 2 calls, 3 rows under way leave one more row within 10 calls."""
    budget = SearchBudget(Account([Limit("calls", 10, "lm_calls")]), calls=1)
    assert budget.limit_against(10) is None
    assert budget.limit_against(11) is not None
    budget.begin(4)
    budget.finish([Row("row", 1.0, usage=Usage(2))])
    assert budget.limit_against(1) is None
    assert budget.limit_against(2) is not None
