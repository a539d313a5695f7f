from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiles import average_lm, calls_of, compiled, dumped, small_optimizer, sums

from pytest_mipro.optimize.mipro.mistakes import TrainingRuns
from pytest_mipro.optimize.mipro.rounds import Rounds
from pytest_mipro.optimize.mipro.space_search import SpaceSearch
from pytest_mipro.spending import Account, Limit

if TYPE_CHECKING:
    import pytest

LONG: dict[str, Any] = {
    "trainset": sums(8),
    "valset": sums(24)[8:],
    "num_trials": 6,
    "minibatch_size": 8,
}
"""Arguments of a compile whose candidates make mistakes, and are compared on a part of the rows."""


def logged(method: Any, name: str, log: list[str]) -> Any:
    """Return an asynchronous method that logs when it begins and when it ends."""

    async def wrapper(*arguments: Any) -> Any:
        log.append(f"{name} begins")
        result = await method(*arguments)
        log.append(f"{name} ends")
        return result

    return wrapper


def test_a_candidate_runs_on_training_examples_while_rows_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a round, the best candidate runs for the next one while rows are compared."""
    log: list[str] = []
    methods = {"measure": SpaceSearch, "write": Rounds, "run": TrainingRuns}
    for name, cls in methods.items():
        attribute = "draft" if name == "write" else name
        monkeypatch.setattr(cls, attribute, logged(getattr(cls, attribute), name, log))
    compiled(small_optimizer(average_lm(per_demo=2), rounds=2), **LONG)
    first = log.index("write ends")
    between = log[first : log.index("write begins", first)]
    assert between.index("run begins") < len(between) - 1 - between[::-1].index("measure ends")
    assert "run ends" in between


def test_a_run_for_the_next_round_changes_no_program() -> None:
    """At any parallelism, and with a budget, which allows no such runs, the search is the same."""
    results, calls = [], []
    for threads, limits in ((1, []), (16, []), (16, [Limit("calls", 5000, "--mipro-max-calls")])):
        lm = average_lm(per_demo=2, latency=0.001)
        optimizer = small_optimizer(lm, num_candidates=4, num_threads=threads, rounds=2)
        with Account(limits).current():
            results.append((dumped(compiled(optimizer, **LONG)), optimizer.search))
        calls.append(calls_of(lm))
    _, search = results[0]
    assert search is not None
    assert max(instruction.round for instruction in search.written) > 1
    assert results[1:] == results[:1] * 2
    assert calls[0] == calls[1] > calls[2]
