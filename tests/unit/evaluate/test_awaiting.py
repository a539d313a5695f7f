from __future__ import annotations

import asyncio
import contextvars
import traceback
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from scripted import ScriptedEngine
from sums import add, engine_lm, evaluate, exact, failing_lm, sums

from pytest_mipro.errors import BudgetExceeded, InfrastructureError, MetricError
from pytest_mipro.evaluate.awaiting import call_program, result_of
from pytest_mipro.spending import Account, limits_of
from pytest_mipro.task import Budget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.store import Store

pytestmark = pytest.mark.uses("dspy")

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")


async def value_of_variable() -> str:
    """Return the value of a variable after another task has run."""
    await asyncio.sleep(0)
    return VARIABLE.get()


class TestResults:
    def test_a_value_that_is_not_awaitable_is_its_own_result(self) -> None:
        """Predictions and scores come back unchanged."""
        prediction = dspy.Prediction(answer="2")
        assert result_of(prediction) is prediction
        assert result_of(None) is None

    def test_a_coroutine_has_the_context_of_its_caller(self) -> None:
        """Settings of DSPy are context variables."""
        token = VARIABLE.set("of the caller")
        assert result_of(value_of_variable()) == "of the caller"
        VARIABLE.reset(token)

    def test_a_coroutine_runs_where_a_loop_is_running(self) -> None:
        """A user's executor may run its work in the thread of an event loop."""

        async def run() -> object:
            await asyncio.sleep(0)
            VARIABLE.set("of the task")
            return result_of(value_of_variable())

        assert asyncio.run(run()) == "of the task"

    def test_an_error_has_no_frames_of_asyncio(self) -> None:
        """A traceback shows the user's code, and this module as the caller."""

        async def fail() -> None:
            await asyncio.sleep(0)
            message = "no service"
            raise OSError(message)

        with pytest.raises(OSError, match="no service") as caught:
            result_of(fail())
        frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert frames[-1] == "fail"
        assert "run_until_complete" not in frames


class Awaiting(dspy.Module):
    """A program whose only method is ``aforward``; it asks about each part at once, or in turn."""

    def __init__(self, *, at_once: bool = True) -> None:
        super().__init__()
        self.check = dspy.Predict("question -> answer")
        self.answer = dspy.Predict("question -> answer")
        self.at_once = at_once

    async def aforward(self, question: str) -> object:
        parts = [f"{question} [{part}]" for part in "dbac"]
        if self.at_once:
            await asyncio.gather(*[self.check.acall(question=part) for part in parts])
        else:
            for part in parts:
                await self.check.acall(question=part)
        return await self.answer.acall(question=question)


class AsyncForward(dspy.Module):
    """A program whose ``forward`` is a coroutine function."""

    async def forward(self, question: str) -> object:
        await asyncio.sleep(0)
        return add(question)


class Both(AsyncForward):
    """A program with both methods."""

    def forward(self, question: str) -> object:  # type: ignore[override]
        return add(question)

    async def aforward(self, question: str) -> object:
        raise AssertionError(question)


async def exact_later(
    example: dspy.Example, prediction: dspy.Prediction, trace: object = None
) -> bool:
    """Score like ``exact``, after another task has run."""
    await asyncio.sleep(0)
    return exact(example, prediction, trace)


class Judge:
    """A metric whose ``__call__`` is a coroutine function."""

    async def __call__(self, example: dspy.Example, prediction: dspy.Prediction) -> dspy.Prediction:
        return dspy.Prediction(score=await exact_later(example, prediction))


def steps_of(program: dspy.Module, latencies: Sequence[float] = (0.0,)) -> list[tuple[int, str]]:
    """Return the predictor and the question of each call while calls take these seconds in turn."""
    waits = iter([*latencies] * 5)

    class Slow:
        async def complete(self, request: Any) -> Any:
            await asyncio.sleep(next(waits))
            return ScriptedEngine().complete(request)

    lm = dspy.LM("scripted", engine=ScriptedEngine(), async_engine=Slow(), cache=False)
    with dspy.context(lm=lm, trace=[]):
        _, steps = call_program(program, {"question": "1 + 1"})
    predictors = program.predictors()
    return [(predictors.index(predictor), inputs["question"]) for predictor, inputs, _ in steps]


class TestPrograms:
    @pytest.mark.parametrize("program", [AsyncForward(), Both()], ids=["async", "both"])
    @pytest.mark.parametrize("metric", [exact_later, Judge(), exact], ids=["async", "call", "sync"])
    def test_async_programs_and_metrics_are_scored(
        self, program: dspy.Module, metric: Any, store: Store
    ) -> None:
        """A program with ``forward`` is called by it; all scores are those of a sync metric."""
        rows = evaluate(program, sums(3), store, metric=metric)
        assert [(row.score, row.failure) for row in rows] == [(1.0, None)] * 3

    @pytest.mark.parametrize("threads", [1, 4])
    def test_rows_are_the_same_at_any_parallelism(self, threads: int, store: Store) -> None:
        """Calls are counted and rows are stored, also where a loop is running, as in a test."""

        async def run() -> list[Any]:
            await asyncio.sleep(0)
            lm = engine_lm(ScriptedEngine(base=60))
            return evaluate(Awaiting(), sums(6), store, metric=exact_later, threads=threads, lm=lm)

        rows = asyncio.run(run())
        assert [row.score for row in rows] == [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
        assert [row.usage.calls for row in rows] == [5] * 6
        assert store.rows.count() == 6

    def test_concurrent_calls_are_traced_in_one_order(self) -> None:
        """How long each call takes does not change what becomes a demo."""
        expected = [*((0, f"1 + 1 [{part}]") for part in "abcd"), (1, "1 + 1")]
        assert steps_of(Awaiting(), [0.03, 0.02, 0.01, 0.0]) == expected
        assert steps_of(Awaiting(), [0.0, 0.01, 0.02, 0.03]) == expected

    def test_calls_in_turn_are_traced_in_turn(self) -> None:
        """A metric may look at the last call."""
        expected = [*((0, f"1 + 1 [{part}]") for part in "dbac"), (1, "1 + 1")]
        assert steps_of(Awaiting(at_once=False)) == expected

    def test_failed_calls_are_made_again(self, store: Store, clock: object) -> None:
        """A rate limit in one of several concurrent calls discards the attempt, not the row."""
        assert clock

        class Limited(ScriptedEngine):
            def complete(self, request: Any) -> Any:
                response = super().complete(request)
                if self.calls == 3:
                    raise dspy.LMRateLimitError(message="slow down")
                return response

        engine = Limited(base=100)
        (row,) = evaluate(Awaiting(), sums(1), store, lm=engine_lm(engine))
        assert (row.score, row.failure) == (1.0, None)
        assert engine.calls >= 8

    def test_lasting_errors_stop_the_run(self, store: Store) -> None:
        """The error of an awaited call is the provider's."""
        lm = failing_lm(dspy.LMAuthError(message="no key"))
        with pytest.raises(InfrastructureError, match="no key"):
            evaluate(Awaiting(), sums(2), store, lm=lm)

    def test_a_budget_stops_the_run(self, store: Store) -> None:
        """Awaited calls are charged, and no row begins after the limit."""
        account = Account(limits_of(Budget(lm_calls=6)))
        lm = engine_lm(ScriptedEngine())
        with account.current(), pytest.raises(BudgetExceeded):
            evaluate(Awaiting(), sums(6), store, threads=1, lm=lm)
        assert 6 <= account.usage.calls <= 10

    def test_an_exception_of_the_program_is_a_failed_row(self, store: Store) -> None:
        """The traceback begins with the program."""

        class Broken(dspy.Module):
            async def aforward(self, question: str) -> object:
                return (await asyncio.sleep(0, question)).anwser  # type: ignore[attr-defined]

        (row,) = evaluate(Broken(), sums(1), store)
        assert row.failure is not None
        assert row.failure.type == "AttributeError"
        assert "in aforward" in row.failure.traceback
        assert "asyncio" not in row.failure.traceback.replace("asyncio.sleep", "")

    def test_an_exception_of_the_metric_names_its_line(self, store: Store) -> None:
        """The error of an async metric has the place in the user's code."""

        async def broken(example: dspy.Example, prediction: dspy.Prediction) -> bool:
            await asyncio.sleep(0)
            return bool(example.anwser == prediction.answer)

        with pytest.raises(
            MetricError, match=r"AttributeError(.|\n)*test_awaiting.py:\d+ in broken"
        ):
            evaluate(AsyncForward(), sums(1), store, metric=broken)
