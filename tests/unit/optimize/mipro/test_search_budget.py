"""A purse lets a search decide the same at any parallelism."""

from __future__ import annotations

import dspy
import pytest
from scripted import scripted_lm

from pytest_mipro import MIPROv2
from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.optimize.mipro.search_budget import SearchBudget
from pytest_mipro.records import Usage
from pytest_mipro.spending import Account, Limit

ROWS = [
    dspy.Example(question=f"What is {i} + {i + 3}?", answer=str(2 * i + 3)).with_inputs("question")
    for i in range(60)
]


def exact(example: dspy.Example, prediction: dspy.Prediction, _trace: object = None) -> bool:
    """Tell whether the answer is right."""
    return bool(example.answer == prediction.answer)


def compiled(limit: Limit, threads: int) -> tuple[str, dict[str, object], int]:
    """Compile under a limit; return where it was cut, the program and the calls made."""
    account = Account([limit])
    lm = scripted_lm(latency=0.002)
    with dspy.context(lm=lm), account.current():
        optimizer = MIPROv2(exact, num_threads=threads, held_out=12, auto=None, num_candidates=5)
        program = optimizer.compile(
            dspy.Predict("question -> answer"),
            trainset=ROWS[:12],
            valset=ROWS[36:],
            num_trials=60,
            minibatch=False,
        )
    cut = optimizer.cut
    return "" if cut is None else cut.limit, program.dump_state(), account.usage.calls


@pytest.mark.parametrize(
    "limit", [Limit("calls", 180, "lm_calls"), Limit("tokens", 2160, "tokens")], ids=str
)
def test_a_cut_is_the_same_at_any_parallelism(limit: Limit) -> None:
    """One thread and eight cut at the same decision, with what is kept back unspent."""
    cut, program, calls = compiled(limit, 1)
    assert cut == str(limit)
    assert calls <= limit.most / (12 if limit.what == "tokens" else 1) - 12
    assert compiled(limit, 8) == (cut, program, calls)


def test_too_little_for_a_winner_is_refused() -> None:
    """A search is not begun that could not be ended."""
    with pytest.raises(BudgetExceeded, match="lm_calls=100"):
        compiled(Limit("calls", 100, "lm_calls"), 4)


def test_rows_under_way_count_as_those_known() -> None:
    """With 2 calls a row known, 3 rows under way leave room for one more within 10 calls."""
    purse = SearchBudget(Account([Limit("calls", 10, "lm_calls")]), calls=1)
    assert purse.lacking(10) is None
    assert purse.lacking(11) is not None
    purse.take(4)
    purse.learn([Usage(2)])
    assert purse.lacking(1) is None
    assert purse.lacking(2) is not None
