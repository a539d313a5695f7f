from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dspy
import pytest
from scripted import scripted_lm
from sums import evaluator_of, sums

from pytest_mipro.errors import StoreError
from pytest_mipro.evaluate.event_loop import run_to_completion
from pytest_mipro.evaluate.stored_rows import StoredRows
from pytest_mipro.evaluate.throttle import Throttle, current_throttle, throttled
from pytest_mipro.evaluate.worker_pool import WorkerPool
from pytest_mipro.records import Usage

if TYPE_CHECKING:
    from pytest_mipro.evaluate.evaluator import RunResult
    from pytest_mipro.store import Store

pytestmark = pytest.mark.uses("dspy")


def test_usage_is_that_of_real_calls(store: Store) -> None:
    """Rows and pool have the calls and tokens of a run; stored rows cost a later run nothing."""
    lm = scripted_lm()
    totals = []
    for _ in range(2):
        workers = WorkerPool(4)
        rows = StoredRows(evaluator_of(settings={"lm": lm}), store, workers)
        program = dspy.Predict("question -> answer")
        evaluated = run_to_completion(rows.evaluate(program, sums(5)), workers)
        totals.append(workers.usage)
    assert [row.usage for row in evaluated] == [Usage(1, 10, 2)] * 5
    assert totals == [Usage(5, 50, 10), Usage()]


def test_a_failed_write_ends_the_work_that_it_holds_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody may be waiting for the record that was written, only for what would come next."""
    monkeypatch.setattr("pytest_mipro.evaluate.throttle.LONGEST_WRITE", 0.0)
    workers = WorkerPool(1)
    rows = StoredRows(evaluator_of(settings={"lm": scripted_lm()}), store, workers)

    def refuse(*_: object) -> None:
        message = "the server is away"
        raise StoreError(message)

    async def work() -> object:
        with monkeypatch.context() as context:
            context.setattr(type(store.rows), "put", refuse)
            with pytest.raises(StoreError):
                workers.write(store.rows, [])
        evaluated = rows.evaluate(dspy.Predict("question -> answer"), sums(1))
        return await asyncio.wait_for(evaluated, 30)

    with pytest.raises(StoreError, match="the server is away"):
        run_to_completion(work(), workers)


def test_a_store_that_is_away_is_no_fault_of_a_program() -> None:
    """A retry that the failed write ends raises the write's error."""

    def evaluate() -> RunResult:
        throttle = current_throttle()
        throttle.pause(60)
        throttle.stop_because(StoreError("the server is away"))
        evaluator = evaluator_of(settings={"lm": scripted_lm()})
        return evaluator.run(dspy.Predict("question -> answer"), sums(1)[0])

    with pytest.raises(StoreError, match="the server is away"):
        throttled(Throttle(), evaluate)
