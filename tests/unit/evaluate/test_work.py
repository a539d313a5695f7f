"""What holds for work wherever it runs: each runner runs the same tests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import dspy
import pytest
from executors import calls_in, logged_lm
from sums import Asking, Function, evaluate, evaluator_of, exact, fail_on_one, sums

from pytest_mipro.errors import BudgetExceeded, InfrastructureError, MetricError, ProgramError
from pytest_mipro.evaluate import StoredRows, WorkerPool, cached_responses, run_to_completion
from pytest_mipro.optimize.mipro.first_rows import CallerWatch
from pytest_mipro.records import Usage
from pytest_mipro.spending import Account, Limit
from pytest_mipro.task import ExecutorSource

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor
    from pathlib import Path

    from pytest_mipro.records import Row
    from pytest_mipro.store import Store

pytestmark = pytest.mark.uses("cloudpickle", "dspy")


def leave(question: str) -> dspy.Prediction:
    """End the process."""
    raise SystemExit(3)


def broken(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Raise."""
    return bool(prediction.nothing)


def by_setting(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
    """Return a number from the settings of DSPy."""
    return float(dspy.settings.strictness)


class Endless(dspy.Module):
    """Calls its model without end, whatever is raised."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question: str) -> object:
        while True:
            try:
                self.predict(question=question)
            except Exception:  # ruff: ignore[blind-except, try-except-in-loop] - that is the point
                continue


class AsyncAdder(dspy.Module):
    """Has to be awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    async def aforward(self, question: str) -> object:
        return await self.predict.acall(question=question)


class Hidden(dspy.Module):
    """Calls a predictor that is none of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question: str) -> object:
        dspy.Predict("question -> thought")(question=question)
        return self.predict(question=question)


class WorkRunnerContract:
    """The tests."""

    @pytest.fixture
    def executor(self) -> ExecutorSource | None:
        """Return where rows run."""
        raise NotImplementedError

    def test_rows_are_scored_and_stored(self, store: Store, executor: ExecutorSource) -> None:
        """Each row has its prediction and score; a second evaluation takes them from the store."""
        program = Function()
        rows = evaluate(program, sums(4), store, executor=executor)
        assert [(row.prediction, row.score) for row in rows] == [
            ({"answer": f"{number + 1}"}, 1.0) for number in range(4)
        ]
        assert evaluate(Function(leave), [], store, executor=executor) == []
        assert store.rows.count() == 4

    def test_calls_are_counted_and_charged(
        self, store: Store, executor: ExecutorSource, tmp_path: Path
    ) -> None:
        """Rows have the usage of their calls, and the account of the driver is charged."""
        account = Account()
        with account.current():
            lm = logged_lm(tmp_path / "log")
            rows = evaluate(Asking(catches=False), sums(3), store, executor=executor, lm=lm)
        assert [row.usage for row in rows] == [Usage(1, 10, 2)] * 3
        assert account.spent == {"search": Usage(3, 30, 6)}
        assert all(row.seconds is not None for row in rows)

    def test_an_exception_of_the_program_is_a_failed_row(
        self, store: Store, executor: ExecutorSource
    ) -> None:
        """It has the traceback from the program on, and is not stored."""
        rows = evaluate(Function(fail_on_one), sums(3), store, executor=executor)
        assert [row.score for row in rows] == [1.0, 0.0, 1.0]
        failure = rows[1].failure
        assert failure is not None
        assert (failure.type, failure.message) == ("ValueError", "no ones")
        assert "in fail_on_one" in failure.traceback
        assert "pytest_mipro/evaluate" not in failure.traceback
        assert store.rows.count() == 2

    @pytest.mark.parametrize(
        "error", [dspy.LMServerError("busy"), dspy.LMRateLimitError("slow down")], ids=repr
    )
    def test_a_temporary_error_is_retried(
        self, store: Store, executor: ExecutorSource, tmp_path: Path, error: Exception
    ) -> None:
        """The row of the second attempt counts, and the calls of both."""
        log = tmp_path / "log"
        lm = logged_lm(log, error, failures=1)
        rows = evaluate(Asking(catches=True), sums(1), store, executor=executor, lm=lm)
        assert [row.score for row in rows] == [1.0]
        assert calls_in(log) == 2

    def test_a_permanent_error_stops_the_run(
        self, store: Store, executor: ExecutorSource, tmp_path: Path
    ) -> None:
        """It names the error and what failed, and is no score."""
        lm = logged_lm(tmp_path / "log", dspy.LMBillingError("no credit"), failures=99)
        with pytest.raises(InfrastructureError) as caught:
            evaluate(Asking(catches=True), sums(4), store, executor=executor, lm=lm)
        assert str(caught.value).startswith(
            "the language model failed while running Asking: LMBillingError: no credit\n"
        )
        assert store.rows.count() == 0

    def test_retries_come_to_an_end(
        self, store: Store, executor: ExecutorSource, tmp_path: Path
    ) -> None:
        """The error says how often the row was tried."""
        lm = logged_lm(tmp_path / "log", dspy.LMServerError("busy"), failures=99)
        with pytest.raises(InfrastructureError, match=r"LMServerError: busy\n3 attempts in \d+ s"):
            evaluate(Asking(catches=True), sums(1), store, executor=executor, lm=lm)
        assert calls_in(tmp_path / "log") == 3

    def test_a_broken_metric_stops_the_run(self, store: Store, executor: ExecutorSource) -> None:
        """The error names the metric's line and the example."""
        with pytest.raises(MetricError, match=r"(?s)the metric raised .*in broken: .*0 \+ 1"):
            evaluate(Function(), sums(1), store, metric=broken, executor=executor)

    def test_a_program_that_ends_the_process(self, store: Store, executor: ExecutorSource) -> None:
        """It is an error of the program."""
        with pytest.raises(ProgramError, match="Function raised SystemExit: 3, which would end"):
            evaluate(Function(leave), sums(1), store, executor=executor)

    def test_an_endless_row_obeys_the_limit(
        self, store: Store, executor: ExecutorSource, tmp_path: Path
    ) -> None:
        """No call begins once the limit is spent, but those that run in other rows."""
        account, log = Account([Limit("calls", 20, "lm_calls")]), tmp_path / "log"
        with account.current(), pytest.raises(BudgetExceeded, match="lm_calls=20 is spent"):
            evaluate(Endless(), sums(4), store, executor=executor, lm=logged_lm(log))
        assert 20 <= account.usage.calls == calls_in(log) < 20 + self.excess

    excess = 4
    """The number of rows in flight, each of which may make a call."""

    def test_responses_are_paid_once(
        self, store: Store, executor: ExecutorSource, tmp_path: Path
    ) -> None:
        """A program with other code and the same prompts takes the stored responses."""
        log = tmp_path / "log"
        lm = logged_lm(log, cache=True)
        rows: list[list[Row]] = []
        for key in ("before", "after"):
            evaluator = evaluator_of(exact, {"lm": lm})
            workers = WorkerPool(2, executor=executor)
            evaluated = StoredRows(replace(evaluator, key=key), store, workers)
            with cached_responses(store):
                work = evaluated.evaluate(Asking(catches=False), sums(3))
                rows.append(run_to_completion(work, workers))
        assert calls_in(log) == 3
        assert [row.usage.calls for row in rows[1]] == [0, 0, 0]
        assert [row.spent for row in rows[1]] == [row.spent for row in rows[0]]

    def test_a_retry_asks_for_what_failed(
        self, store: Store, executor: ExecutorSource, tmp_path: Path
    ) -> None:
        """The response to the first call of the row is in the store by then."""
        log = tmp_path / "log"
        lm = logged_lm(log, dspy.LMServerError("busy"), failures=1, first=2, cache=True)
        with cached_responses(store):
            rows = evaluate(Hidden(), sums(1), store, executor=executor, lm=lm)
        assert [row.score for row in rows] == [1.0]
        assert calls_in(log) == 3
        assert rows[0].spent == Usage(2, 20, 4)

    def test_settings_of_dspy_hold(self, store: Store, executor: ExecutorSource) -> None:
        """A metric sees the settings of the driver."""
        with dspy.context(strictness=0.25):
            rows = evaluate(Function(), sums(2), store, metric=by_setting, executor=executor)
        assert [row.score for row in rows] == [0.25, 0.25]

    def test_secrets_are_redacted(
        self,
        store: Store,
        executor: ExecutorSource,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Those of the driver's environment, too, which a worker need not have."""
        monkeypatch.setenv("SERVICE_API_KEY", "hush-hush-12345")
        rows = evaluate(Function(tell_secret), sums(1), store, executor=executor)
        failure = rows[0].failure
        assert failure is not None
        assert "hush-hush" not in failure.message + failure.traceback

    def test_an_async_program(self, store: Store, executor: ExecutorSource, tmp_path: Path) -> None:
        """It is awaited where it runs."""
        lm = logged_lm(tmp_path / "log")
        rows = evaluate(AsyncAdder(), sums(2), store, executor=executor, lm=lm)
        assert [row.score for row in rows] == [1.0, 1.0]

    def test_calls_of_foreign_predictors_are_seen(
        self, store: Store, executor: ExecutorSource, tmp_path: Path
    ) -> None:
        """The watch of the driver has the counts of all workers."""
        program = Hidden()
        watch = CallerWatch(program)
        with dspy.context(callbacks=[watch]):
            lm = logged_lm(tmp_path / "log")
            evaluate(program, sums(3), store, executor=executor, lm=lm)
        assert watch.counts == {"question -> thought": 3}


def tell_secret(question: str) -> dspy.Prediction:
    """Raise an error that cites a secret."""
    parts = ["hush", "hush", "12345"]
    raise ValueError("-".join(parts))


class TestThreads(WorkRunnerContract):
    """Threads of this process."""

    @pytest.fixture
    def executor(self) -> ExecutorSource | None:
        """See the contract."""
        return None


class TestProcesses(WorkRunnerContract):
    """Two other processes."""

    excess = 1

    @pytest.fixture
    def executor(self, processes: ProcessPoolExecutor) -> ExecutorSource | None:
        """See the contract."""
        return ExecutorSource.of(processes)


class TestThreadsOfAnotherExecutor(WorkRunnerContract):
    """An executor whose work is in the driver's own process."""

    excess = 1

    @pytest.fixture
    def executor(self) -> ExecutorSource | None:
        """See the contract."""
        from concurrent.futures import ThreadPoolExecutor

        return ExecutorSource.of(ThreadPoolExecutor(2))
