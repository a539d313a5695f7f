from __future__ import annotations

import asyncio
import decimal
import enum
import gc
import json
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.signatures import make_signature
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import ContextWindowExceededError
from scripted import ScriptedEngine, scripted_lm

from pytest_mipro.errors import InfrastructureError, MetricError, ProgramError
from pytest_mipro.evaluate.evaluator import (
    Evaluator,
    FailureLimit,
    StoredRows,
    evaluate_row,
    original_usage,
    unscored,
)
from pytest_mipro.evaluate.executor import ContextThreadPool, WorkerPool, gather, run_to_completion
from pytest_mipro.evaluate.retry_policy import DEFAULT, RetryPolicy, throttled
from pytest_mipro.records import Row, Usage
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dspy import lm15

    from pytest_mipro.task import Metric

pytestmark = pytest.mark.uses("dspy")


BRIEF = RetryPolicy(attempts=3, first_wait=0.005, total=0.5)


def examples(count: int) -> list[dspy.Example]:
    """Return ``count`` sums with their answers."""
    return [
        dspy.Example(question=f"{number} + 1", answer=f"{number + 1}").with_inputs("question")
        for number in range(count)
    ]


def exact(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Say whether the prediction has the example's answer."""
    return bool(example.answer == prediction.answer)


def adds(question: str) -> dspy.Prediction:
    """Answer a sum without a language model."""
    left, right = question.split(" + ")
    return dspy.Prediction(answer=str(int(left) + int(right)))


def slowly(question: str) -> dspy.Prediction:
    """Answer a sum in 20 ms."""
    time.sleep(0.02)
    return adds(question)


class Function(dspy.Module):
    """A program without a language model, which counts what it is asked."""

    def __init__(self, function: Callable[[str], object] = adds) -> None:
        super().__init__()
        self.function = function
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def forward(self, question: str) -> object:
        with self._lock:
            self.asked[question] += 1
        return self.function(question)


class Failing(ScriptedEngine):
    """Raises ``error`` from the ``first`` call on."""

    def __init__(self, error: Exception, first: int = 1) -> None:
        super().__init__(base=100)
        self._error = error
        self._first = first

    def complete(self, request: lm15.Request) -> lm15.Response:
        response = super().complete(request)
        if self.calls >= self._first:
            raise self._error
        return response


def failing_lm(error: Exception, first: int = 1) -> dspy.LM:
    """Return a model that raises ``error`` from the ``first`` call on."""
    return dspy.LM("scripted", engine=Failing(error, first), cache=False, num_retries=0)


class Answer(dspy.Module):
    """A program that asks a language model, and knows the answer if that fails."""

    def __init__(self, *, swallow: bool) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")
        self.swallow = swallow

    def forward(self, question: str) -> object:
        try:
            return self.predict(question=question)
        except Exception:
            if not self.swallow:
                raise
            return adds(question)


def bench_of(metric: Metric = exact, settings: Mapping[str, Any] | None = None) -> Evaluator:
    """Return what rows are evaluated with."""
    return Evaluator(metric, settings or {}, "bench")


def evaluate(
    program: dspy.Module,
    rows: Sequence[dspy.Example],
    store: Store,
    *,
    metric: Metric = exact,
    threads: int = 4,
    tolerance: FailureLimit | None = None,
    **settings: object,
) -> list[Row]:
    """Return the rows of ``program`` on ``rows``."""
    workers = WorkerPool(ContextThreadPool(threads), BRIEF)
    evaluator = StoredRows(bench_of(metric, settings), store, workers, tolerance)
    return run_to_completion(evaluator.evaluate(program, rows), workers)


class TestRows:
    def test_in_the_order_of_the_examples(self, store: Store) -> None:
        """Rows are in the order of the examples, though the first is the slowest."""

        def slow(question: str) -> dspy.Prediction:
            time.sleep(0.05 / (1 + int(question.split(" + ", maxsplit=1)[0])))
            return adds(question)

        rows = evaluate(Function(slow), examples(20), store, threads=8)
        assert [row.prediction["answer"] for row in rows] == [str(n + 1) for n in range(20)]
        assert {row.score for row in rows} == {1.0}

    def test_runs_in_parallel(self, store: Store) -> None:
        """As many rows are under way as there are threads."""
        meeting = threading.Barrier(6, timeout=10)

        def meet(question: str) -> dspy.Prediction:
            meeting.wait()
            return adds(question)

        rows = evaluate(Function(meet), examples(6), store, threads=6)
        assert [row.failure for row in rows] == [None] * 6

    def test_an_example_twice_is_evaluated_once(self, store: Store) -> None:
        """A repeated example has its row twice and costs once."""
        program = Function()
        first, second = examples(2)
        rows = evaluate(program, [first, second, first], store)
        assert rows[0] == rows[2] != rows[1]
        assert program.asked == {"0 + 1": 1, "1 + 1": 1}

    def test_asked_concurrently_evaluated_once(self, store: Store) -> None:
        """Who asks for rows that are being worked on waits for the same work."""
        program = Function(slowly)
        workers = WorkerPool(ContextThreadPool(8))
        evaluator = StoredRows(bench_of(), store, workers)

        async def ask_often() -> list[list[Row]]:
            return await gather([evaluator.evaluate(program, examples(10)) for _ in range(5)])

        answers = run_to_completion(ask_often(), workers)
        assert all(rows == answers[0] for rows in answers)
        assert set(program.asked.values()) == {1}
        assert len(program.asked) == 10

    def test_stored_before_it_is_used(self, store: Store) -> None:
        """What the caller holds is in the store already."""
        workers = WorkerPool(ContextThreadPool(4))
        evaluator = StoredRows(bench_of(), store, workers)

        async def look() -> tuple[list[Row], dict[str, Row]]:
            rows = await evaluator.evaluate(Function(), examples(5))
            return rows, store.rows.get_many(row.key for row in rows)

        rows, stored = run_to_completion(look(), workers)
        assert [stored[row.key] for row in rows] == rows

    def test_a_second_evaluator_finds_them(self, store: Store) -> None:
        """The same rows in another process, so to say, cost nothing and are the same."""
        lm = scripted_lm()
        program = dspy.Predict("question -> answer")
        first = evaluate(program, examples(12), store, lm=lm)
        calls = lm._engine_spec.calls
        second = evaluate(program, examples(12), store, lm=lm)
        assert second == first
        assert calls == 12
        assert lm._engine_spec.calls == calls

    def test_what_is_missing_is_counted(self, store: Store) -> None:
        """An example counts once, if the row of any of the programs is not stored."""
        lm = scripted_lm()
        program = dspy.Predict("question -> answer")
        other = dspy.Predict(make_signature("question -> answer", "Think."))
        bench = bench_of(settings={"lm": lm})
        assert unscored(bench, store, [program, other], examples(5)) == 5
        evaluate(program, examples(4), store, lm=lm)
        evaluate(other, examples(3), store, lm=lm)
        assert unscored(bench, store, [program, other], examples(5)) == 2
        assert unscored(bench, store, [program], examples(5)) == 1
        assert unscored(bench, store, [program, other], examples(3)) == 0

    def test_another_instruction_is_another_row(self, store: Store) -> None:
        """What the program says decides which row it is."""
        program = dspy.Predict("question -> answer")
        other = dspy.Predict(make_signature("question -> answer", "Think."))
        lm = scripted_lm()
        rows = [evaluate(each, examples(3), store, lm=lm) for each in (program, other)]
        assert not {row.key for row in rows[0]} & {row.key for row in rows[1]}
        assert lm._engine_spec.calls == 6

    def test_another_bench_is_another_row(self, store: Store) -> None:
        """Rows that were evaluated with something else are not taken for these."""
        program = Function()
        for key in ("one", "other"):
            workers = WorkerPool(ContextThreadPool(2))
            evaluator = StoredRows(Evaluator(exact, {}, key), store, workers)
            run_to_completion(evaluator.evaluate(program, examples(3)), workers)
        assert set(program.asked.values()) == {2}

    def test_usage_is_of_real_calls(self, store: Store) -> None:
        """Rows and workers know calls and tokens; rows from the store cost this run nothing."""
        lm = scripted_lm()
        totals = []
        for _ in range(2):
            workers = WorkerPool(ContextThreadPool(4))
            evaluator = StoredRows(bench_of(settings={"lm": lm}), store, workers)
            rows = run_to_completion(
                evaluator.evaluate(dspy.Predict("question -> answer"), examples(5)), workers
            )
            totals.append(workers.usage)
        assert [row.usage for row in rows] == [Usage(1, 10, 2)] * 5
        assert totals == [Usage(5, 50, 10), Usage()]

    def test_predictions_without_json_form(self, store: Store) -> None:
        """A prediction that holds an arbitrary object still makes a row."""
        program = Function(lambda _: dspy.Prediction(answer="1", extra=object()))
        (row,) = evaluate(program, examples(1), store)
        assert row.prediction["answer"] == "1"
        assert "object" in row.prediction["extra"]

    def test_callers_settings_reach_the_rows(self, store: Store) -> None:
        """DSPy's settings of the caller hold in the threads, callbacks included."""
        ended: list[object] = []

        class Count(BaseCallback):
            def on_module_end(
                self, call_id: str, outputs: object, exception: BaseException | None = None
            ) -> None:
                ended.append(outputs)

        lm = scripted_lm(base=100)
        with dspy.context(lm=lm, callbacks=[Count()], my_own_setting="here"):
            program = Function(lambda _: dspy.Prediction(answer=dspy.settings.my_own_setting))
            own = evaluate(program, examples(1), store)
            rows = evaluate(dspy.Predict("question -> answer"), examples(4), store)
        assert own[0].prediction == {"answer": "here"}
        assert lm._engine_spec.calls == 4
        assert {row.score for row in rows} == {1.0}
        assert len(ended) == 5

    def test_the_benchs_settings_win(self, store: Store) -> None:
        """The model of the task answers, not the one the caller happens to have configured."""
        configured, task = scripted_lm(), scripted_lm(base=100)
        with dspy.context(lm=configured):
            rows = evaluate(dspy.Predict("question -> answer"), examples(3), store, lm=task)
        assert {row.score for row in rows} == {1.0}
        assert (configured._engine_spec.calls, task._engine_spec.calls) == (0, 3)

    def test_the_callers_settings_are_left_alone(self, store: Store) -> None:
        """Evaluating changes nothing about DSPy outside of it."""
        before = dict(dspy.settings.config)
        evaluate(dspy.Predict("question -> answer"), examples(3), store, lm=scripted_lm())
        assert dict(dspy.settings.config) == before

    def test_any_executor_will_do(self, store: Store) -> None:
        """Work is submitted as a function with plain arguments, as a cluster needs it."""
        submitted: list[tuple[object, ...]] = []

        class Recording(ThreadPoolExecutor):
            def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
                submitted.append((fn, *args))
                return super().submit(fn, *args, **kwargs)

        workers = WorkerPool(Recording(2))
        evaluator = StoredRows(bench_of(), store, workers)
        rows = run_to_completion(evaluator.evaluate(Function(), examples(2)), workers)
        assert [row.score for row in rows] == [1.0, 1.0]
        assert [call[2] for call in submitted] == [evaluate_row] * 2
        function, pace, *_ = pickle.loads(pickle.dumps(submitted[0][:2]))
        assert (function, pace.patience) == (throttled, DEFAULT)


class Word(str, enum.Enum):
    YES = "yes"


class TestAnswers:
    """A prediction is asked for once, whatever the metric makes of it."""

    def rows(
        self,
        program: dspy.Module,
        store: Store,
        *,
        key: str,
        metric: Metric = exact,
        lm: dspy.LM | None = None,
        rows: Sequence[dspy.Example] | None = None,
    ) -> tuple[list[Row], Usage]:
        """Return rows under a bench of that key whose predictions are named alike."""
        workers = WorkerPool(ContextThreadPool(2))
        evaluator = StoredRows(Evaluator(metric, {"lm": lm}, key, "answers"), store, workers)
        found = run_to_completion(evaluator.evaluate(program, rows or examples(3)), workers)
        return found, workers.usage

    def given(self, prediction: object) -> object:
        """Return what a metric gets when a stored ``prediction`` is scored again."""
        got: list[object] = []

        def look(example: dspy.Example, prediction: object, trace: object = None) -> bool:
            got.append(prediction)
            return True

        store = Store.in_memory()
        program = Function(lambda _: prediction)
        self.rows(program, store, key="one", metric=lambda *_: True, rows=examples(1))
        self.rows(program, store, key="other", metric=look, rows=examples(1))
        store.close()
        assert len(got) == 1
        return None if sum(program.asked.values()) > 1 else got[0]

    def test_another_metric_asks_no_model(self, store: Store) -> None:
        """Under another metric the same predictions get other scores, without a call."""
        program, lm = dspy.Predict("question -> answer"), scripted_lm(base=50)
        first, _ = self.rows(program, store, key="one", lm=lm)
        second, usage = self.rows(
            program, store, key="other", lm=lm, metric=lambda e, p, trace=None: len(p.answer) / 4
        )
        assert [row.score for row in second] == [len(row.prediction["answer"]) / 4 for row in first]
        assert [row.prediction for row in second] == [row.prediction for row in first]
        assert not {row.key for row in first} & {row.key for row in second}
        assert lm._engine_spec.calls == 3
        assert usage == Usage()

    def test_scored_again_is_stored(self, store: Store) -> None:
        """A row that was scored again is found like any other."""
        program = Function()
        self.rows(program, store, key="one")
        second, _ = self.rows(program, store, key="other", metric=lambda *_: 0.5)
        third, _ = self.rows(program, store, key="other", metric=lambda *_: 0.75)
        assert third == second == [store.rows.get(row.key) for row in second]
        assert set(program.asked.values()) == {1}

    def test_scored_again_any_number_of_times(self, store: Store) -> None:
        """A row that was scored again is as good as the one that was answered."""
        program, lm = dspy.Predict("question -> answer"), scripted_lm()
        for number in range(3):
            rows, _ = self.rows(program, store, key=str(number), lm=lm)
        assert lm._engine_spec.calls == 3
        assert {row.answer for row in rows} == set(store.rows.by_answer(_answers(rows)))

    def test_what_it_took_to_answer_stays_known(self, store: Store) -> None:
        """Scoring again is no measurement of the program: the first row keeps what it cost."""
        program, lm = dspy.Predict("question -> answer"), scripted_lm()
        first, _ = self.rows(program, store, key="one", lm=lm)
        second, _ = self.rows(program, store, key="other", lm=lm)
        assert {row.usage for row in second} == {Usage()}
        assert store.rows.by_answer(_answers(second)) == {row.answer: row for row in first}
        assert {row.usage for row in first} == {Usage(1, 10, 2)}
        assert original_usage(store, second) == original_usage(store, first) == Usage(3, 30, 6)

    def test_usage_of_answers_without_a_name(self, store: Store) -> None:
        """Rows whose predictions do not survive have their own usage."""
        rows = evaluate(dspy.Predict("question -> answer"), examples(3), store, lm=scripted_lm())
        assert original_usage(store, rows) == Usage(3, 30, 6)

    def test_a_judges_calls_count(self, store: Store) -> None:
        """A metric that asks a model under the bench's settings costs what it asks."""
        program, lm = Function(), scripted_lm()

        def judged(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> int:
            judge = dspy.Predict("answer -> good")
            return len(judge(answer=f"{prediction.answer} + 1").good)

        self.rows(program, store, key="one")
        rows, usage = self.rows(program, store, key="other", metric=judged, lm=lm)
        assert [row.usage for row in rows] == [Usage(1, 10, 2)] * 3
        assert usage == Usage(3, 30, 6)
        assert set(program.asked.values()) == {1}

    def test_a_judge_that_cannot_be_asked(self, store: Store) -> None:
        """Scoring again makes no row of an LM error either, also of one that was swallowed."""
        program = Function()
        self.rows(program, store, key="one")

        def judged(example: dspy.Example, prediction: object, trace: object = None) -> bool:
            with suppress(Exception):
                dspy.Predict("question -> good")(question="?")
            return True

        with pytest.raises(InfrastructureError, match="dead key"):
            self.rows(
                program,
                store,
                key="other",
                metric=judged,
                lm=failing_lm(dspy.LMAuthError("dead key")),
            )
        rows, _ = self.rows(program, store, key="other", metric=lambda *_: 0.5)
        assert {row.score for row in rows} == {0.5}

    def test_a_metric_sees_the_same_both_times(self, store: Store) -> None:
        """Model, adapter and trace in DSPy's settings do not tell a stored prediction."""
        seen: list[object] = []

        def look(example: dspy.Example, prediction: object, trace: object = None) -> bool:
            settings = dspy.settings
            seen.append((trace, settings.lm, settings.adapter, list(settings.trace)))
            return True

        program, lm = dspy.Predict("question -> answer"), scripted_lm()
        for key in ("one", "other"):
            self.rows(program, store, key=key, metric=look, lm=lm, rows=examples(1))
        assert seen == [(None, lm, None, [])] * 2
        assert lm._engine_spec.calls == 1

    def test_a_corrected_label_asks_no_model(self, store: Store) -> None:
        """What a program is asked does not depend on the labels."""
        program = Function()
        wrong = [example.copy(answer="?").with_inputs("question") for example in examples(3)]
        before, _ = self.rows(program, store, key="one", rows=wrong)
        after, _ = self.rows(program, store, key="one")
        assert [row.score for row in before + after] == [0.0] * 3 + [1.0] * 3
        assert set(program.asked.values()) == {1}

    def test_another_instruction_is_another_answer(self, store: Store) -> None:
        """What the program says decides the prediction."""
        lm = scripted_lm()
        other = dspy.Predict(make_signature("question -> answer", "Think."))
        self.rows(dspy.Predict("question -> answer"), store, key="one", lm=lm)
        self.rows(other, store, key="other", lm=lm)
        assert lm._engine_spec.calls == 6

    def test_without_a_name_nothing_is_shared(self, store: Store) -> None:
        """A bench that names no answers keeps its predictions to its own rows."""
        program = Function()
        first = evaluate(program, examples(2), store)
        self.rows(program, store, key="other", rows=examples(2))
        assert {row.answer for row in first} == {None}
        assert set(program.asked.values()) == {2}

    def test_a_failure_is_run_again(self, store: Store) -> None:
        """A program that failed has no prediction to be scored."""

        def fail(question: str) -> object:
            raise ValueError(question)

        program = Function(fail)
        first, _ = self.rows(program, store, key="one")
        self.rows(program, store, key="other")
        assert {row.answer for row in first} == {None}
        assert set(program.asked.values()) == {2}

    def test_a_metric_that_changes_the_prediction(self, store: Store) -> None:
        """What is kept is what the program answered, not what a metric made of it."""

        def shout(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
            prediction.answer = "changed"
            prediction.tags.append("seen")
            return len(prediction.tags) == 1

        program = Function(lambda _: dspy.Prediction(answer="1", tags=[]))
        for key in ("one", "two", "three"):
            rows, _ = self.rows(program, store, key=key, metric=shout, rows=examples(1))
            assert [(row.prediction, row.score) for row in rows] == [
                ({"answer": "1", "tags": []}, 1.0)
            ]
        assert set(program.asked.values()) == {1}

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"answer": "1"},
            {"n": 1, "x": 0.5, "yes": True, "none": None, "text": "\ud800\u2028"},
            {"deep": [{"a": [1, [2]], "b": {}}]},
            {"score": 10**30},
            {"dspy_uuid": "1"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("completed", [False, True])
    def test_what_survives(self, fields: dict[str, Any], completed: bool) -> None:
        """A prediction of JSON data comes back as it was, its one completion included."""
        make = dspy.Prediction.from_completions if completed else dspy.Prediction
        again = self.given(make([fields] if completed else fields))
        assert type(again) is dspy.Prediction
        assert dict(again.items(include_dspy=True)) == fields
        assert (again.completions is not None) is completed
        if completed:
            assert dict(again.completions.items()) == {name: [fields[name]] for name in fields}

    @pytest.mark.parametrize(
        "prediction",
        [
            "1",
            {"answer": "1"},
            None,
            dspy.Example(answer="1"),
            type("Own", (dspy.Prediction,), {})(answer="1"),
            dspy.Prediction(answer=("1",)),
            dspy.Prediction(answer={"1"}),
            dspy.Prediction(answer={1: "1"}),
            dspy.Prediction(answer=Word.YES),
            dspy.Prediction(answer=float("nan")),
            dspy.Prediction(answer=b"1"),
            dspy.Prediction(answer=[dspy.Example(a=1)]),
            dspy.Prediction(answer=decimal.Decimal(1)),
            dspy.Prediction.from_completions({"answer": ["1", "2"]}),
        ],
        ids=repr,
    )
    def test_what_does_not_survive(self, prediction: object) -> None:
        """What a metric could tell from what is stored is asked for again."""
        assert self.given(prediction) is None

    def test_what_was_added_to_a_prediction_does_not_survive(self) -> None:
        """Usage, other attributes and later changes are not in the fields."""
        used, marked, changed = (
            dspy.Prediction.from_completions({"answer": ["1"]}) for _ in range(3)
        )
        used.set_lm_usage({"model": {}})
        marked._mark = 1
        changed.answer = "2"
        assert [self.given(each) for each in (used, marked, changed)] == [None] * 3

    def test_a_prediction_that_holds_itself_does_not_survive(self) -> None:
        """A cycle is no JSON data."""
        held: list[object] = []
        held.append(held)
        assert self.given(dspy.Prediction(answer=held)) is None


def _answers(rows: Sequence[Row]) -> list[str]:
    return [row.answer for row in rows if row.answer is not None]


class TestFailures:
    def test_a_program_that_raises(self, store: Store) -> None:
        """The program's own exception makes a row with the failure, and others go on."""

        def pick(question: str) -> dspy.Prediction:
            if question.startswith("1 "):
                message = "no ones"
                raise ValueError(message)
            return adds(question)

        rows = evaluate(Function(pick), examples(3), store)
        assert [row.score for row in rows] == [1.0, 0.0, 1.0]
        failure = rows[1].failure
        assert failure is not None
        assert (failure.type, failure.message) == ("ValueError", "no ones")
        assert "in pick" in failure.traceback
        assert rows[1].prediction is None
        assert store.rows.get(rows[1].key) == rows[1]

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
    def test_an_lm_error_is_no_row(self, store: Store, error: Exception) -> None:
        """When the model cannot be asked, there is an error that says how to go on, and no row."""
        with pytest.raises(InfrastructureError) as caught:
            evaluate(Answer(swallow=False), examples(3), store, lm=failing_lm(error))
        assert str(error) in str(caught.value)
        assert "Answer" in str(caught.value)
        assert "the same command goes on" in str(caught.value)
        assert isinstance(caught.value.__cause__, Exception)

    def test_rows_before_an_lm_error_stay(self, store: Store) -> None:
        """What was paid for before the model failed is not paid for again."""
        program = Answer(swallow=False)
        lm = failing_lm(dspy.LMAuthError("dead key"), first=4)
        with pytest.raises(InfrastructureError):
            evaluate(program, examples(8), store, threads=1, lm=lm)
        good = scripted_lm(base=100)
        rows = evaluate(program, examples(8), store, lm=good)
        assert {row.score for row in rows} == {1.0}
        assert good._engine_spec.calls == 5

    def test_a_swallowed_lm_error_is_no_row(self, store: Store) -> None:
        """A program that catches the model's error does not turn it into a score."""
        with pytest.raises(InfrastructureError, match="dead key"):
            evaluate(
                Answer(swallow=True),
                examples(3),
                store,
                lm=failing_lm(dspy.LMAuthError("dead key")),
            )
        rows = evaluate(Answer(swallow=True), examples(3), store, lm=scripted_lm(base=100))
        assert {(row.score, row.usage.calls) for row in rows} == {(1.0, 1)}

    def test_a_swallowed_lm_error_and_then_another(self, store: Store) -> None:
        """A program that trips over what it swallowed is not to blame either."""

        class Trips(Answer):
            def forward(self, question: str) -> object:
                with suppress(Exception):
                    self.predict(question=question)
                raise KeyError(question)

        with pytest.raises(InfrastructureError, match="dead key"):
            evaluate(
                Trips(swallow=True), examples(1), store, lm=failing_lm(dspy.LMAuthError("dead key"))
            )

    def test_a_retry_that_worked_is_no_error(self, store: Store) -> None:
        """An LM error that DSPy's own retries got over leaves no trace."""

        class Flaky(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                if self.calls % 2:
                    message = "503"
                    raise dspy.LMServerError(message, retry_after=0.01)
                return response

        lm = dspy.LM("scripted", engine=Flaky(base=100), cache=False)
        rows = evaluate(Answer(swallow=False), examples(3), store, threads=1, lm=lm)
        assert [(row.score, row.failure) for row in rows] == [(1.0, None)] * 3

    @pytest.mark.parametrize("swallow", [False, True])
    def test_passing_trouble_leaves_no_trace(self, store: Store, swallow: bool) -> None:
        """Rows are those of a run without trouble, also where the program hides it."""

        class Flaky(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                if self.calls % 3:
                    message = "slow down"
                    raise dspy.LMRateLimitError(message, retry_after=0.001)
                return response

        lm = dspy.LM("scripted", engine=Flaky(), cache=False, num_retries=0)
        program = Answer(swallow=swallow)
        rows = evaluate(program, examples(9), store, lm=lm, threads=1)
        assert lm._engine_spec.calls == 27
        other = Store.in_memory()
        assert rows == evaluate(program, examples(9), other, lm=scripted_lm())
        other.close()

    def test_what_a_failed_attempt_cost_is_counted(self, store: Store) -> None:
        """A row of two calls whose second failed once has cost three answers."""

        class Twice(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.predict = dspy.Predict("question -> answer")

            def forward(self, question: str) -> object:
                self.predict(question=question)
                return self.predict(question=f"{question} + 1")

        class Hiccup(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                if self.calls == 2:
                    message = "503"
                    raise dspy.LMServerError(message)
                return response

        lm = dspy.LM("scripted", engine=Hiccup(), cache=False, num_retries=0)
        (row,) = evaluate(Twice(), examples(1), store, lm=lm)
        assert (row.failure, row.usage.calls) == (None, 3)

    def test_an_overloaded_judge_is_asked_again_without_the_program(self, store: Store) -> None:
        """A metric that meets a rate limit is tried again on the same prediction."""

        class Busy(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                if self.calls < 3:
                    message = "slow down"
                    raise dspy.LMRateLimitError(message)
                return response

        judge = dspy.LM("scripted", engine=Busy(), cache=False, num_retries=0)

        def judged(example: dspy.Example, prediction: object, trace: object = None) -> bool:
            with dspy.context(lm=judge):
                return bool(dspy.Predict("question -> verdict")(question="?").verdict)

        program = Function()
        (row,) = evaluate(program, examples(1), store, metric=judged)
        assert (row.score, row.usage.calls) == (1.0, 1)
        assert judge._engine_spec.calls == 3
        assert program.asked == {"0 + 1": 1}

    def test_whoever_waits_to_ask_again_gives_up_when_the_run_stops(self, store: Store) -> None:
        """A dead key ends the run though other rows would wait for an hour."""

        class Both(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                if self.calls == 4:
                    time.sleep(0.2)
                    message = "dead key"
                    raise dspy.LMAuthError(message)
                message = "reset"
                raise dspy.LMTransportError(message) if self.calls < 4 else AssertionError(response)

        lm = dspy.LM("scripted", engine=Both(), cache=False, num_retries=0)
        patience = RetryPolicy(first_wait=3600, longest_wait=3600, total=9999)
        workers = WorkerPool(ContextThreadPool(4), patience)
        evaluator = StoredRows(bench_of(settings={"lm": lm}), store, workers)
        with pytest.raises(InfrastructureError, match="dead key"):
            run_to_completion(evaluator.evaluate(Answer(swallow=False), examples(4)), workers)

    def test_a_prompt_too_long_is_the_candidates_own_doing(self, store: Store) -> None:
        """A candidate with too many demos for the model fails its row, and the run goes on."""
        lm = failing_lm(ContextWindowExceededError(message="too long"))
        (row,) = evaluate(Answer(swallow=False), examples(1), store, lm=lm)
        assert not row.score
        assert row.failure is not None
        assert row.failure.type == "ContextWindowExceededError"

    def test_an_unreadable_answer_is_the_programs_failure(self, store: Store) -> None:
        """A model that answers in no readable form was asked; the row failed."""

        class Mumbles(ScriptedEngine):
            def complete(self, request: lm15.Request) -> lm15.Response:
                response = super().complete(request)
                message = type(response.message).assistant("hm")
                return dataclass_replace(response, message)

        lm = dspy.LM("scripted", engine=Mumbles(), cache=False)
        (row,) = evaluate(
            dspy.Predict("question -> answer: int, other: int"), examples(1), store, lm=lm
        )
        assert row.failure is not None
        assert row.failure.type == "AdapterParseError"
        assert row.usage.calls == lm._engine_spec.calls > 0

    @pytest.mark.parametrize("value", [None, "1.0", float("nan"), float("inf"), [1], object()])
    def test_a_metric_that_gives_no_score(self, store: Store, value: object) -> None:
        """What is no score is an error that shows the value and the example, and no row."""
        program = Function()
        with pytest.raises(MetricError) as caught:
            evaluate(program, examples(1), store, metric=lambda *_: value)
        assert repr(value)[:20] in str(caught.value)
        assert "0 + 1" in str(caught.value)
        evaluate(program, examples(1), store)
        assert program.asked["0 + 1"] == 2

    def test_a_metric_that_raises(self, store: Store) -> None:
        """The metric's exception is the metric's error, with the exception and the example."""

        def broken(
            example: dspy.Example, prediction: dspy.Prediction, trace: object = None
        ) -> bool:
            return bool(prediction.nothing == example.answer)

        with pytest.raises(MetricError, match="AttributeError") as caught:
            evaluate(Function(), examples(1), store, metric=broken)
        assert "0 + 1" in str(caught.value)

    @pytest.mark.parametrize(
        "value, score",
        [(True, 1.0), (0, 0.0), (0.25, 0.25), (dspy.Prediction(score=0.5, feedback="so so"), 0.5)],
    )
    def test_what_is_a_score(self, store: Store, value: object, score: float) -> None:
        """Everything DSPy takes for a score is one."""
        (row,) = evaluate(Function(), examples(1), store, metric=lambda *_: value)
        assert row.score == score

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_a_judge_model_that_cannot_be_asked(self, store: Store, wrapped: bool) -> None:
        """A metric whose model fails is not a broken metric, even if it renames the error."""
        judge = failing_lm(dspy.LMAuthError("dead key"))

        def judged(example: dspy.Example, prediction: object, trace: object = None) -> bool:
            with dspy.context(lm=judge):
                try:
                    return bool(dspy.Predict("question -> good: bool")(question="?").good)
                except dspy.LMError as error:
                    if not wrapped:
                        raise
                    message = "the judge is ill"
                    raise RuntimeError(message) from error

        with pytest.raises(InfrastructureError, match="dead key"):
            evaluate(Function(), examples(1), store, metric=judged)

    def test_an_error_stops_the_rest(self, store: Store) -> None:
        """After the first error only what was under way runs out."""

        def broken(question: str) -> dspy.Prediction:
            time.sleep(0.01)
            return adds(question)

        program = Function(broken)
        with pytest.raises(MetricError):
            evaluate(program, examples(300), store, metric=lambda *_: None, threads=2)
        assert len(program.asked) < 100

    def test_further_errors_make_no_noise(
        self, store: Store, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Rows that fail after the first error was raised are not printed or logged."""
        workers = WorkerPool(ContextThreadPool(4))
        raised = threading.Event()

        def late(question: str) -> object:
            if not question.startswith("0"):
                raised.wait(10)
            return adds(question)

        async def fail() -> None:
            evaluator = StoredRows(bench_of(lambda *_: None), store, workers)
            with pytest.raises(MetricError):
                await evaluator.evaluate(Function(late), examples(4))
            raised.set()
            await workers.finish()

        gc.freeze()  # What other tests have left is not looked at.
        try:
            run_to_completion(fail(), workers)
            gc.collect()  # asyncio complains when it drops an error that nobody looked at.
        finally:
            gc.unfreeze()
        assert [record.getMessage() for record in caplog.records] == []
        assert capfd.readouterr() == ("", "")


def dataclass_replace(response: lm15.Response, message: lm15.Message) -> lm15.Response:
    """Return ``response`` with another message."""
    return type(response)(
        id=response.id,
        model=response.model,
        message=message,
        finish_reason=response.finish_reason,
        usage=response.usage,
    )


class TestTolerance:
    def failing(self, question: str) -> dspy.Prediction:
        message = f"cannot add {question}"
        raise ValueError(message)

    def test_stops_when_too_many_rows_fail(self, store: Store) -> None:
        """More failed rows than allowed are an error that names the last failure."""
        with pytest.raises(ProgramError, match="max_errors=2") as caught:
            evaluate(Function(self.failing), examples(5), store, tolerance=FailureLimit(2))
        assert "ValueError: cannot add" in str(caught.value)

    def test_as_many_as_allowed_are_fine(self, store: Store) -> None:
        """Exactly the allowed number of failures does not stop the run."""
        rows = evaluate(Function(self.failing), examples(2), store, tolerance=FailureLimit(2))
        assert [row.score for row in rows] == [0.0, 0.0]

    def test_too_many_are_too_many_for_everyone(self, store: Store) -> None:
        """Whoever asks for the same rows hears of it, not only who asked first."""
        tolerance = FailureLimit(2)
        for _ in range(2):
            with pytest.raises(ProgramError, match="max_errors=2"):
                evaluate(Function(self.failing), examples(5), store, tolerance=tolerance)

    def test_the_same_row_counts_once(self, store: Store) -> None:
        """A failed row that is looked at again is no further failure."""
        workers = WorkerPool(ContextThreadPool(2))
        evaluator = StoredRows(bench_of(), store, workers, FailureLimit(2))
        program = Function(self.failing)

        async def thrice() -> None:
            for _ in range(3):
                await evaluator.evaluate(program, examples(2))

        run_to_completion(thrice(), workers)

    def test_tracebacks_are_logged_on_demand(
        self, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log names each failure, and shows where it happened if asked to."""
        program = Function(self.failing)
        evaluate(program, examples(1), store, tolerance=FailureLimit())
        assert "cannot add 0 + 1" in caplog.text
        assert "in failing" not in caplog.text
        evaluate(program, examples(1), store, tolerance=FailureLimit(provide_traceback=True))
        assert "in failing" in caplog.text


INTERRUPTED = """
import json, signal, sys, time
import dspy
from pytest_mipro.evaluate.evaluator import Evaluator, StoredRows, FailureLimit, evaluate_row
from pytest_mipro.evaluate.retry_policy import DEFAULT, RetryPolicy, throttled
from pytest_mipro.evaluate.executor import ContextThreadPool, WorkerPool, run_to_completion, gather
from pytest_mipro.store import Store

class Slow(dspy.Module):
    def forward(self, question):
        print(question, flush=True)
        time.sleep(0.1)
        return dspy.Prediction(answer="1")

signal.signal(signal.SIGINT, signal.default_int_handler)  # Who runs the tests may ignore it.
store = Store.open(sys.argv[1])
workers = WorkerPool(ContextThreadPool(2))
rows = StoredRows(Evaluator(lambda *_: 1.0, {}, "bench"), store, workers)
examples = [dspy.Example(question=str(n)).with_inputs("question") for n in range(1000)]
try:
    run_to_completion(rows.evaluate(Slow(), examples), workers)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


class TestComplete:
    def test_returns_the_result(self) -> None:
        """What the work returns is returned."""

        async def work() -> str:
            await asyncio.sleep(0)
            return "done"

        assert run_to_completion(work(), WorkerPool(ContextThreadPool(1))) == "done"

    def test_raises_the_works_error(self) -> None:
        """What the work raises is raised, with the traceback of where it was."""

        async def work() -> None:
            await asyncio.sleep(0)
            message = "here"
            raise KeyError(message)

        with pytest.raises(KeyError, match="here") as caught:
            run_to_completion(work(), WorkerPool(ContextThreadPool(1)))
        assert caught.traceback[-1].name == "work"

    def test_inside_a_running_loop(self, store: Store) -> None:
        """In a notebook or an async test, where a loop is running, it works all the same."""

        async def notebook() -> list[Row]:
            await asyncio.sleep(0)
            return evaluate(Function(), examples(3), store)

        assert [row.score for row in asyncio.run(notebook())] == [1.0] * 3

    def test_leaves_no_thread_behind(self, store: Store) -> None:
        """Afterwards no thread of ours is running."""
        before = set(threading.enumerate())
        evaluate(Function(), examples(10), store)
        deadline = time.monotonic() + 5
        while set(threading.enumerate()) - before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert set(threading.enumerate()) <= before

    def test_ctrl_c_stops_promptly(self, tmp_path: Any) -> None:
        """Ctrl-C reaches the caller as such within seconds, and finished rows are kept."""
        url = f"sqlite:///{tmp_path / 'store.db'}"
        with subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            started = [process.stdout.readline() for _ in range(6)]
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        assert out.splitlines()[-1] == "interrupted"
        assert not err
        store = Store.open(url)
        with store.connection() as connection:
            count = connection.exec_driver_sql("SELECT count(*) FROM rows").scalar_one()
        store.close()
        assert 4 <= count <= len(started) + len(out.splitlines()) < 100


class TestTogether:
    def test_in_order(self) -> None:
        """Results are in the order of the work, whatever finished first."""

        async def work(number: int) -> int:
            await asyncio.sleep(0.01 * (5 - number))
            return number

        async def run() -> list[int]:
            return await gather([work(number) for number in range(5)])

        assert asyncio.run(run()) == list(range(5))

    def test_an_error_cancels_the_rest(self) -> None:
        """After an error the other work does not go on."""
        finished: list[int] = []

        async def work(number: int) -> None:
            await asyncio.sleep(0.01 * number)
            if number == 1:
                raise KeyError(number)
            finished.append(number)

        async def run() -> None:
            with pytest.raises(KeyError):
                await gather([work(number) for number in range(4)])
            await asyncio.sleep(0.1)

        asyncio.run(run())
        assert finished == [0]


def test_a_stored_row_is_plain_json(tmp_path: Any) -> None:
    """A row in the database is text that any tool can read."""
    import sqlite3

    path = tmp_path / "store.db"
    store = Store.open(f"sqlite:///{path}")
    (row,) = evaluate(Function(), examples(1), store)
    store.close()
    connection = sqlite3.connect(path)
    ((key, value),) = connection.execute("SELECT key, value FROM rows").fetchall()
    connection.close()
    assert key == row.key
    assert json.loads(value) == row.to_dict()
