from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.utils.exceptions import ContextWindowExceededError
from scripted import ScriptedEngine, scripted_lm
from sums import (
    Asking,
    Function,
    ReplyingEngine,
    TwoSteps,
    add,
    engine_lm,
    evaluate,
    evaluator_of,
    fail_on_one,
    failing_lm,
    sums,
)

from pytest_mipro.errors import BudgetExceeded, InfrastructureError, MetricError, ProgramError
from pytest_mipro.evaluate import call_watch, supervision
from pytest_mipro.evaluate.event_loop import run_to_completion
from pytest_mipro.evaluate.retry_policy import RetryPolicy
from pytest_mipro.evaluate.stored_rows import StoredRows
from pytest_mipro.evaluate.worker_pool import WorkerPool
from pytest_mipro.spending import Account, Limit
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from dspy import lm15
    from dspy.lm15 import FinishReason

pytestmark = pytest.mark.uses("dspy")


class FlakyEngine(ScriptedEngine):
    """Raises the error that a function returns for the number of a call, if it returns one."""

    def __init__(self, error_at: Callable[[int], Exception | None], base: int = 30) -> None:
        super().__init__(base=base)
        self._error_at = error_at

    def complete(self, request: lm15.Request) -> lm15.Response:
        response = super().complete(request)
        error = self._error_at(self.calls)
        if error is not None:
            raise error
        return response


class TestProgramFailures:
    def test_an_exception_of_the_program_is_a_failed_row(self, store: Store) -> None:
        """The row has score 0 and is not stored; the other rows are evaluated and stored."""
        rows = evaluate(Function(fail_on_one), sums(3), store)
        assert [row.score for row in rows] == [1.0, 0.0, 1.0]
        failure = rows[1].failure
        assert failure is not None
        assert (failure.type, failure.message) == ("ValueError", "no ones")
        assert "in fail_on_one" in failure.traceback
        assert rows[1].prediction is None
        assert [store.rows.get(row.key) for row in rows] == [rows[0], None, rows[2]]

    def test_a_prompt_that_is_too_long_is_a_failure_of_the_program(self, store: Store) -> None:
        """A candidate with too many demos for the model fails its row, and the run goes on."""
        lm = failing_lm(ContextWindowExceededError(message="too long"))
        (row,) = evaluate(Asking(catches=False), sums(1), store, lm=lm)
        assert not row.score
        assert row.failure is not None
        assert row.failure.type == "ContextWindowExceededError"

    def test_a_prompt_that_cannot_be_sent_is_a_failure_of_the_program(self, store: Store) -> None:
        """Half of a character, which one model has written, is no fault of the next one."""
        engine = ReplyingEngine(("[[ ## thought ## ]]\n\ud83d", "stop"))
        (row,) = evaluate(TwoSteps(), sums(1), store, lm=engine_lm(engine))
        assert row.failure is not None
        assert "lone surrogate U+D83D" in row.failure.message
        assert engine.calls == 1

    def test_a_response_that_cannot_be_parsed_is_a_failure_of_the_program(
        self, store: Store
    ) -> None:
        """The call succeeded, so the row failed and the run goes on."""

        class Unparsable(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                return type(response)(
                    id=response.id,
                    model=response.model,
                    message=type(response.message).assistant("hm"),
                    finish_reason=response.finish_reason,
                    usage=response.usage,
                )

        lm = dspy.LM("scripted", engine=Unparsable(), cache=False)
        program = dspy.Predict("question -> answer: int, reason: int")
        (row,) = evaluate(program, sums(1), store, lm=lm)
        assert row.failure is not None
        assert row.failure.type == "AdapterParseError"
        assert row.usage.calls == lm._engine_spec.calls > 0


class Plain(dspy.ChatAdapter):
    """Takes the first digit of a reply of any form for the answer."""

    def parse(self, _signature: object, completion: str) -> dict[str, Any]:
        """Return the only field."""
        return {"answer": next(filter(str.isdigit, completion))}


class TestReplies:
    @pytest.mark.parametrize("catches", [False, True])
    def test_a_reply_without_an_answer_is_asked_again(self, store: Store, catches: bool) -> None:
        """The row is that of the answer, and no call is made for the discarded attempt."""
        engine = ReplyingEngine(("", "stop"), (" \n", "stop"))
        (row,) = evaluate(Asking(catches=catches), sums(1), store, lm=engine_lm(engine))

        assert row.score
        assert row.failure is None
        assert engine.calls == row.usage.calls == 3

    def test_no_answer_at_all_is_an_error(self, store: Store) -> None:
        """A provider that never answers makes no row."""
        replies: list[tuple[str, FinishReason]] = [("", "stop")] * 9
        lm = engine_lm(ReplyingEngine(*replies))
        with pytest.raises(InfrastructureError, match="the reply has no answer"):
            evaluate(Asking(catches=True), sums(1), store, lm=lm)
        assert store.rows.count() == 0

    @pytest.mark.parametrize(
        "finish, reason", [("length", "token limit"), ("content_filter", "filter")]
    )
    def test_a_reply_that_was_cut_is_a_failure_that_is_asked_again(
        self, store: Store, finish: FinishReason, reason: str
    ) -> None:
        """The row has the reason, is not stored, and the next run asks again."""
        engine = ReplyingEngine(*[("[[ ##", finish)] * 2)
        (row,) = evaluate(Asking(catches=False), sums(1), store, lm=engine_lm(engine))
        assert not row.score
        assert row.failure is not None
        assert row.failure.reason == reason

        (row,) = evaluate(Asking(catches=False), sums(1), store, lm=engine_lm(engine))
        assert row.score
        assert store.rows.get(row.key) == row

    @pytest.mark.parametrize(
        "finish, reason", [("length", "token limit"), ("content_filter", "filter")]
    )
    @pytest.mark.parametrize(
        "adapter, text",
        [
            (dspy.ChatAdapter(), "[[ ## answer ## ]]\n1"),
            (dspy.JSONAdapter(), '{"answer": "1'),
            (dspy.JSONAdapter(), '{"answer": "1"'),
        ],
    )
    def test_a_part_of_an_answer_is_a_failure_that_is_asked_again(
        self, store: Store, finish: FinishReason, reason: str, adapter: dspy.Adapter, text: str
    ) -> None:
        """DSPy reads what is there of the last field, which here even looks right."""
        engine = ReplyingEngine((text, finish))
        program, lm = Asking(catches=True), engine_lm(engine)
        (row,) = evaluate(program, sums(1), store, lm=lm, adapter=adapter)
        assert not row.score
        assert row.failure is not None
        assert (row.failure.type, row.failure.reason) == ("CutAnswerError", reason)
        assert store.rows.count() == 0

        engine._replies = [(text, "stop")]
        (row,) = evaluate(program, sums(1), store, lm=lm, adapter=adapter)
        assert row.score
        assert row.failure is None

    @pytest.mark.parametrize(
        "adapter, text",
        [
            (dspy.ChatAdapter(), "[[ ## answer ## ]]\n1\n\n[[ ## completed ## ]] and so"),
            (dspy.JSONAdapter(), '```json\n{"answer": "1"}\n``` and {so'),
            (Plain(), "\\frac{1}{1} = 1 because {"),
        ],
    )
    def test_a_reply_that_was_cut_after_its_fields_is_an_answer(
        self, store: Store, adapter: dspy.Adapter, text: str
    ) -> None:
        """A model that goes on after the answer has answered."""
        lm = engine_lm(ReplyingEngine((text, "length")))
        (row,) = evaluate(Asking(catches=False), sums(1), store, lm=lm, adapter=adapter)

        assert row.score
        assert store.rows.get(row.key) == row

    def test_a_cut_reply_that_was_asked_again_is_no_failure(self, store: Store) -> None:
        """DSPy asks in another format after a reply that lacks a field."""
        replies: list[tuple[str, FinishReason]] = [
            ("[[ ## reason ## ]]\nas", "length"),
            ('{"reason": "as it is", "answer": "1"}', "stop"),
        ]
        program = dspy.Predict("question -> reason, answer")
        (row,) = evaluate(program, sums(1), store, lm=engine_lm(ReplyingEngine(*replies)))

        assert row.score
        assert row.failure is None


class GivenUp(BaseException):
    """What a user's code raises past each ``except Exception``."""


def give_up() -> None:
    """End with an exception that is no ``Exception``."""
    raise GivenUp


def test_the_handler_of_a_signal_is_no_part_of_the_program() -> None:
    """What it raises, as a time limit does, ends the test as itself."""

    def handle(*_: object) -> None:
        pytest.fail("Timeout (>1.0s)")

    def wait(question: str) -> dspy.Prediction:
        signal.raise_signal(signal.SIGTERM)
        return add(question)

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        with pytest.raises(pytest.fail.Exception, match=r"^Timeout"):
            evaluator_of().run(Function(wait), sums(1)[0])
    finally:
        signal.signal(signal.SIGTERM, previous)


class TestExits:
    @pytest.mark.parametrize(
        "leave",
        [
            partial(sys.exit, 3),
            partial(pytest.skip, "no data"),
            partial(pytest.fail, "bad"),
            partial(pytest.exit, "enough"),
            give_up,
        ],
        ids=["exit", "skip", "fail", "exit of pytest", "own class"],
    )
    def test_an_exit_of_the_program_is_an_error(
        self, store: Store, leave: Callable[[], object]
    ) -> None:
        """It names program, place and example, and ends no thread of the pool."""
        with pytest.raises(ProgramError) as caught:
            evaluate(Function(lambda _: leave()), sums(3), store)
        message = str(caught.value)
        assert message.startswith("Function raised ")
        assert "is no score; raise an Exception" in message
        assert "test_evaluator.py" in message
        assert 'on the example {"answer":' in message

    def test_ctrl_c_in_a_program_is_raised(self, store: Store) -> None:
        """A stop by the user is no error of the program."""

        def stop(question: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluator_of().run(Function(stop), sums(1)[0])


class TestLimits:
    def test_a_limit_ends_a_row_that_calls_for_ever(self, store: Store) -> None:
        """No call begins once the limit is spent, and the row is neither scored nor stored."""
        engine = ScriptedEngine(base=0)

        def ask_for_ever(question: str) -> None:
            predict = dspy.Predict("question -> answer")
            while True:
                with suppress(Exception):
                    predict(question=question)

        with (
            Account([Limit("calls", 20, "lm_calls")]).current(),
            pytest.raises(BudgetExceeded, match="lm_calls=20 is spent"),
        ):
            evaluate(Function(ask_for_ever), sums(8), store, threads=4, lm=engine_lm(engine))
        assert 20 <= engine.calls < 20 + 4
        assert store.rows.count() == 0

    def test_a_call_that_hangs_is_given_up(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The row is asked again, also if the program would have called again."""
        monkeypatch.setattr(supervision, "_INTERVAL", 0.01)
        monkeypatch.setattr(call_watch, "_GRACE_PERIOD", 0.0)
        release = threading.Event()

        class Hanging(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                if self.calls == 1:
                    release.wait(10)
                return response

        engine = Hanging(base=100)
        lm = engine_lm(engine)
        vars(lm)["kwargs"]["timeout"] = 0.2
        (row,) = evaluate(Asking(catches=True), sums(1), store, lm=lm)
        release.set()

        assert row.score
        assert engine.calls == 2


class TestLMErrors:
    @pytest.mark.usefixtures("clock")
    @pytest.mark.parametrize(
        "error",
        [
            dspy.LMAuthError("dead key"),
            dspy.LMRateLimitError("slow down"),
            dspy.LMTransportError("refused"),
            dspy.LMServerError("503"),
            RuntimeError("a bug in the engine"),
        ],
    )
    def test_an_lm_error_makes_no_row(self, store: Store, error: Exception) -> None:
        """The run stops with an error that has the provider's message and the next step."""
        with pytest.raises(InfrastructureError) as caught:
            evaluate(Asking(catches=False), sums(3), store, lm=failing_lm(error))
        assert str(error) in str(caught.value)
        assert "Asking" in str(caught.value)
        assert "the same command goes on" in str(caught.value)
        assert isinstance(caught.value.__cause__, Exception)

    def test_rows_that_finish_before_an_lm_error_are_stored(self, store: Store) -> None:
        """A later run does not pay for them again."""
        program = Asking(catches=False)
        lm = failing_lm(dspy.LMAuthError("dead key"), first=4)
        with pytest.raises(InfrastructureError):
            evaluate(program, sums(8), store, threads=1, lm=lm)
        working = scripted_lm(base=100)
        rows = evaluate(program, sums(8), store, lm=working)
        assert {row.score for row in rows} == {1.0}
        assert working._engine_spec.calls == 5

    def test_a_caught_lm_error_makes_no_row(self, store: Store) -> None:
        """A program that catches the error of a model does not turn it into a score."""
        lm = failing_lm(dspy.LMAuthError("dead key"))
        with pytest.raises(InfrastructureError, match="dead key"):
            evaluate(Asking(catches=True), sums(3), store, lm=lm)
        rows = evaluate(Asking(catches=True), sums(3), store, lm=scripted_lm(base=100))
        assert {(row.score, row.usage.calls) for row in rows} == {(1.0, 1)}

    def test_an_exception_that_follows_a_caught_lm_error_is_no_failure(self, store: Store) -> None:
        """The run stops with the LM error, which caused the exception of the program."""

        class Failing(Asking):
            def forward(self, question: str) -> object:
                with suppress(Exception):
                    self.predict(question=question)
                raise KeyError(question)

        lm = failing_lm(dspy.LMAuthError("dead key"))
        with pytest.raises(InfrastructureError, match="dead key"):
            evaluate(Failing(catches=True), sums(1), store, lm=lm)

    def test_a_retry_by_dspy_is_no_error(self, store: Store) -> None:
        """An LM error that DSPy's own retry overcomes has no effect on the row."""
        engine = FlakyEngine(
            lambda call: dspy.LMServerError("503", retry_after=0.01) if call % 2 else None, 100
        )
        lm = dspy.LM("scripted", engine=engine, cache=False)
        rows = evaluate(Asking(catches=False), sums(3), store, threads=1, lm=lm)
        assert [(row.score, row.failure) for row in rows] == [(1.0, None)] * 3

    @pytest.mark.usefixtures("clock")  # A busy machine may use up the time for retries.
    @pytest.mark.parametrize("catches", [False, True])
    def test_retried_errors_leave_the_rows_equal(self, store: Store, catches: bool) -> None:
        """Rows are those of a run without errors, even if the program catches them."""
        engine = FlakyEngine(
            lambda call: dspy.LMRateLimitError("slow down", retry_after=0.001) if call % 3 else None
        )
        program = Asking(catches=catches)
        rows = evaluate(program, sums(9), store, lm=engine_lm(engine), threads=1)
        assert engine.calls == 27
        second_store = Store.in_memory()
        assert rows == evaluate(program, sums(9), second_store, lm=scripted_lm())
        second_store.close()

    def test_a_failed_attempts_calls_count(self, store: Store) -> None:
        """A row of two calls whose second failed once has the usage of three responses."""

        class TwoCalls(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.predict = dspy.Predict("question -> answer")

            def forward(self, question: str) -> object:
                self.predict(question=question)
                return self.predict(question=f"{question} + 1")

        engine = FlakyEngine(lambda call: dspy.LMServerError("503") if call == 2 else None)
        (row,) = evaluate(TwoCalls(), sums(1), store, lm=engine_lm(engine))
        assert (row.failure, row.usage.calls) == (None, 3)

    def test_a_stop_ends_the_waits_of_retries(self, store: Store) -> None:
        """A dead key ends the run though the other rows would wait for an hour."""

        def error_at(call: int) -> Exception:
            if call == 4:
                time.sleep(0.2)
                return dspy.LMAuthError("dead key")
            return dspy.LMTransportError("reset") if call < 4 else AssertionError(call)

        policy = RetryPolicy(first_wait=3600, longest_wait=3600, total=9999)
        workers = WorkerPool(4, policy)
        settings = {"lm": engine_lm(FlakyEngine(error_at))}
        rows = StoredRows(evaluator_of(settings=settings), store, workers)
        with pytest.raises(InfrastructureError, match="dead key"):
            run_to_completion(rows.evaluate(Asking(catches=False), sums(4)), workers)


class TestMetrics:
    def test_a_judge_is_retried_without_the_program(self, store: Store) -> None:
        """A metric that meets a rate limit is called again with the same prediction."""
        engine = FlakyEngine(lambda call: dspy.LMRateLimitError("slow") if call < 3 else None)
        lm = engine_lm(engine)

        def judge(example: dspy.Example, prediction: object, trace: object = None) -> bool:
            with dspy.context(lm=lm):
                return bool(dspy.Predict("question -> verdict")(question="?").verdict)

        program = Function()
        (row,) = evaluate(program, sums(1), store, metric=judge)
        assert (row.score, row.usage.calls) == (1.0, 1)
        assert engine.calls == 3
        assert program.calls == {"0 + 1": 1}

    @pytest.mark.parametrize("value", [None, "1.0", float("nan"), float("inf"), [1], object()])
    def test_a_value_that_is_no_score_makes_no_row(self, store: Store, value: object) -> None:
        """The error has the value and the example, and a later run calls the program again."""
        program = Function()
        with pytest.raises(MetricError) as caught:
            evaluate(program, sums(1), store, metric=lambda *_: value)
        assert repr(value)[:20] in str(caught.value)
        assert "0 + 1" in str(caught.value)
        evaluate(program, sums(1), store)
        assert program.calls["0 + 1"] == 2

    def test_an_exception_of_the_metric_is_a_metric_error(self, store: Store) -> None:
        """The error has the exception and the example."""

        def broken(
            example: dspy.Example, prediction: dspy.Prediction, trace: object = None
        ) -> bool:
            return bool(prediction.nothing == example.answer)

        with pytest.raises(MetricError, match="AttributeError") as caught:
            evaluate(Function(), sums(1), store, metric=broken)
        assert "0 + 1" in str(caught.value)

    @pytest.mark.parametrize(
        "value, score",
        [(True, 1.0), (0, 0.0), (0.25, 0.25), (dspy.Prediction(score=0.5, feedback="so so"), 0.5)],
    )
    def test_a_score_is_stored(self, store: Store, value: object, score: float) -> None:
        """A row has the score of any type that DSPy accepts."""
        (row,) = evaluate(Function(), sums(1), store, metric=lambda *_: value)
        assert row.score == score

    @pytest.mark.parametrize("is_wrapped", [False, True])
    def test_an_lm_error_of_a_judge_is_no_metric_error(
        self, store: Store, is_wrapped: bool
    ) -> None:
        """A failed call of a judge stops the run as one, even if the metric wraps the error."""
        lm = failing_lm(dspy.LMAuthError("dead key"))

        def judge(example: dspy.Example, prediction: object, trace: object = None) -> bool:
            with dspy.context(lm=lm):
                try:
                    return bool(dspy.Predict("question -> good: bool")(question="?").good)
                except dspy.LMError as error:
                    if not is_wrapped:
                        raise
                    message = "the judge is ill"
                    raise RuntimeError(message) from error

        with pytest.raises(InfrastructureError, match="dead key"):
            evaluate(Function(), sums(1), store, metric=judge)
