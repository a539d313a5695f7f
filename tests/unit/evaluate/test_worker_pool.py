from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
import pytest
from scripted import scripted_lm
from sums import evaluator_of, sums

from pytest_mipro.evaluate.event_loop import run_to_completion
from pytest_mipro.evaluate.stored_rows import StoredRows
from pytest_mipro.evaluate.worker_pool import WorkerPool
from pytest_mipro.records import Usage

if TYPE_CHECKING:
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
