from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sums import Function, evaluate, evaluator_of, sums

from pytest_mipro.errors import ProgramError
from pytest_mipro.evaluate.event_loop import run_to_completion
from pytest_mipro.evaluate.failure_limit import FailureLimit
from pytest_mipro.evaluate.stored_rows import StoredRows
from pytest_mipro.evaluate.worker_pool import WorkerPool

if TYPE_CHECKING:
    import dspy

    from pytest_mipro.store import Store

pytestmark = pytest.mark.uses("dspy")


def fail(question: str) -> dspy.Prediction:
    """Fail on any question."""
    message = f"cannot add {question}"
    raise ValueError(message)


def test_too_many_failed_rows_are_an_error(store: Store) -> None:
    """The error has the limit and the last failure."""
    with pytest.raises(ProgramError, match="max_errors=2") as caught:
        evaluate(Function(fail), sums(5), store, failure_limit=FailureLimit(2))
    assert "ValueError: cannot add" in str(caught.value)


def test_the_allowed_number_of_failures_is_no_error(store: Store) -> None:
    """The limit is the largest number that is allowed."""
    rows = evaluate(Function(fail), sums(2), store, failure_limit=FailureLimit(2))
    assert [row.score for row in rows] == [0.0, 0.0]


def test_each_evaluation_of_too_many_failures_raises(store: Store) -> None:
    """A second evaluation of the same rows raises as the first does."""
    failure_limit = FailureLimit(2)
    for _ in range(2):
        with pytest.raises(ProgramError, match="max_errors=2"):
            evaluate(Function(fail), sums(5), store, failure_limit=failure_limit)


def test_a_row_counts_once(store: Store) -> None:
    """A failed row that is evaluated again is not another failure."""
    workers = WorkerPool(2)
    rows = StoredRows(evaluator_of(), store, workers, FailureLimit(2))
    program = Function(fail)

    async def evaluate_three_times() -> None:
        for _ in range(3):
            await rows.evaluate(program, sums(2))

    run_to_completion(evaluate_three_times(), workers)


def test_tracebacks_are_logged_on_demand(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The log has each failure, and its traceback only with ``provide_traceback``."""
    program = Function(fail)
    evaluate(program, sums(1), store, failure_limit=FailureLimit())
    assert "cannot add 0 + 1" in caplog.text
    assert "in fail\n" not in caplog.text
    evaluate(program, sums(1), store, failure_limit=FailureLimit(provide_traceback=True))
    assert "in fail\n" in caplog.text
