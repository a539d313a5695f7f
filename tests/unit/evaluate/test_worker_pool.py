from __future__ import annotations

import pickle
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from scripted import scripted_lm
from sums import Function, evaluator_of, sums

from pytest_mipro.evaluate.event_loop import run_to_completion
from pytest_mipro.evaluate.retry_policy import DEFAULT
from pytest_mipro.evaluate.stored_rows import StoredRows, evaluate_row
from pytest_mipro.evaluate.throttle import throttled
from pytest_mipro.evaluate.worker_pool import WorkerPool
from pytest_mipro.records import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mipro.store import Store

pytestmark = pytest.mark.uses("dspy")


def test_any_executor_runs_work(store: Store) -> None:
    """The pool submits a function with arguments that can be pickled, as a cluster needs it."""
    submissions: list[tuple[object, ...]] = []

    class Recording(ThreadPoolExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            submissions.append((fn, *args))
            return super().submit(fn, *args, **kwargs)

    workers = WorkerPool(Recording(2))
    rows = StoredRows(evaluator_of(), store, workers)
    evaluated = run_to_completion(rows.evaluate(Function(), sums(2)), workers)
    assert [row.score for row in evaluated] == [1.0, 1.0]
    assert [submission[2] for submission in submissions] == [evaluate_row] * 2
    function, throttle, *_ = pickle.loads(pickle.dumps(submissions[0][:2]))
    assert (function, throttle.policy) == (throttled, DEFAULT)


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
