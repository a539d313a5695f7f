from __future__ import annotations

import gc
import json
import sqlite3
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.signatures import make_signature
from dspy.utils.callback import BaseCallback
from scripted import scripted_lm
from sums import Function, add, add_slowly, evaluate, evaluator_of, exact, failing_lm, sums

from pytest_mipro.errors import InfrastructureError, MetricError
from pytest_mipro.evaluate.async_tasks import gather
from pytest_mipro.evaluate.evaluator import Evaluator
from pytest_mipro.evaluate.event_loop import run_to_completion
from pytest_mipro.evaluate.stored_rows import StoredRows, count_missing, original_usages
from pytest_mipro.evaluate.worker_pool import WorkerPool
from pytest_mipro.records import Row, Usage
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_mipro.task import Metric

pytestmark = pytest.mark.uses("dspy")


class TestEvaluate:
    def test_rows_are_in_the_order_of_the_examples(self, store: Store) -> None:
        """The order in which rows finish has no influence: here the first is the slowest."""

        def slow(question: str) -> dspy.Prediction:
            time.sleep(0.05 / (1 + int(question.split(" + ", maxsplit=1)[0])))
            return add(question)

        rows = evaluate(Function(slow), sums(20), store, threads=8)
        assert [row.prediction["answer"] for row in rows] == [str(n + 1) for n in range(20)]
        assert {row.score for row in rows} == {1.0}

    def test_rows_run_in_parallel(self, store: Store) -> None:
        """As many rows run at the same time as there are threads."""
        barrier = threading.Barrier(6, timeout=10)

        def meet(question: str) -> dspy.Prediction:
            barrier.wait()
            return add(question)

        rows = evaluate(Function(meet), sums(6), store, threads=6)
        assert [row.failure for row in rows] == [None] * 6

    def test_a_repeated_example_is_evaluated_once(self, store: Store) -> None:
        """Its row is in the result twice, and the program runs once."""
        program = Function()
        first, second = sums(2)
        rows = evaluate(program, [first, second, first], store)
        assert rows[0] == rows[2] != rows[1]
        assert program.calls == {"0 + 1": 1, "1 + 1": 1}

    def test_concurrent_evaluations_share_their_rows(self, store: Store) -> None:
        """A row that is being evaluated is not evaluated again."""
        program = Function(add_slowly)
        workers = WorkerPool(8)
        rows = StoredRows(evaluator_of(), store, workers)

        async def evaluate_five_times() -> list[list[Row]]:
            return await gather([rows.evaluate(program, sums(10)) for _ in range(5)])

        first, *later = run_to_completion(evaluate_five_times(), workers)
        assert later == [first] * 4
        assert set(program.calls.values()) == {1}
        assert len(program.calls) == 10

    def test_rows_are_stored_before_they_are_returned(self, store: Store) -> None:
        """The store has each row that the caller has."""
        workers = WorkerPool(4)
        rows = StoredRows(evaluator_of(), store, workers)

        async def evaluate_and_read() -> tuple[list[Row], dict[str, Row]]:
            evaluated = await rows.evaluate(Function(), sums(5))
            return evaluated, store.rows.get_many(row.key for row in evaluated)

        evaluated, stored = run_to_completion(evaluate_and_read(), workers)
        assert [stored[row.key] for row in evaluated] == evaluated

    def test_a_later_run_reads_the_rows(self, store: Store) -> None:
        """The rows are equal, and the model is not called again."""
        lm = scripted_lm()
        program = dspy.Predict("question -> answer")
        first = evaluate(program, sums(12), store, lm=lm)
        calls = lm._engine_spec.calls
        second = evaluate(program, sums(12), store, lm=lm)
        assert second == first
        assert calls == 12
        assert lm._engine_spec.calls == calls

    def test_another_instruction_is_another_row(self, store: Store) -> None:
        """The instruction is part of the key of a row."""
        programs = [
            dspy.Predict("question -> answer"),
            dspy.Predict(make_signature("question -> answer", "Think.")),
        ]
        lm = scripted_lm()
        first, second = (evaluate(program, sums(3), store, lm=lm) for program in programs)
        assert not {row.key for row in first} & {row.key for row in second}
        assert lm._engine_spec.calls == 6

    def test_another_evaluator_key_is_another_row(self, store: Store) -> None:
        """Rows of another metric, model or program are not used."""
        program = Function()
        for key in ("first", "second"):
            workers = WorkerPool(2)
            rows = StoredRows(Evaluator(exact, {}, key), store, workers)
            run_to_completion(rows.evaluate(program, sums(3)), workers)
        assert set(program.calls.values()) == {2}

    def test_a_prediction_that_is_not_json_makes_a_row(self, store: Store) -> None:
        """The row has the ``repr`` of an arbitrary object."""
        program = Function(lambda _: dspy.Prediction(answer="1", extra=object()))
        (row,) = evaluate(program, sums(1), store)
        assert row.prediction["answer"] == "1"
        assert "object" in row.prediction["extra"]

    def test_a_stored_row_is_plain_json(self, tmp_path: Path) -> None:
        """The database has a row as text that any tool can read."""
        path = tmp_path / "store.db"
        store = Store.open(f"sqlite:///{path}")
        (row,) = evaluate(Function(), sums(1), store)
        store.close()
        connection = sqlite3.connect(path)
        ((key, value),) = connection.execute("SELECT key, value FROM rows").fetchall()
        connection.close()
        assert key == row.key
        assert json.loads(value) == row.to_dict()


class TestCountMissing:
    def test_an_example_counts_once(self, store: Store) -> None:
        """An example is missing if the store lacks the row of any of the programs."""
        lm = scripted_lm()
        first = dspy.Predict("question -> answer")
        second = dspy.Predict(make_signature("question -> answer", "Think."))
        evaluator = evaluator_of(settings={"lm": lm})
        assert count_missing(evaluator, store, [first, second], sums(5)) == 5
        evaluate(first, sums(4), store, lm=lm)
        evaluate(second, sums(3), store, lm=lm)
        assert count_missing(evaluator, store, [first, second], sums(5)) == 2
        assert count_missing(evaluator, store, [first], sums(5)) == 1
        assert count_missing(evaluator, store, [first, second], sums(3)) == 0


class TestSettings:
    def test_the_callers_settings_hold_in_the_threads(self, store: Store) -> None:
        """A program sees DSPy's settings of the caller, callbacks included."""
        outputs_of_modules: list[object] = []

        class Recorder(BaseCallback):
            def on_module_end(
                self, call_id: str, outputs: object, exception: BaseException | None = None
            ) -> None:
                outputs_of_modules.append(outputs)

        lm = scripted_lm(base=100)
        with dspy.context(lm=lm, callbacks=[Recorder()], my_own_setting="here"):
            program = Function(lambda _: dspy.Prediction(answer=dspy.settings.my_own_setting))
            (own,) = evaluate(program, sums(1), store)
            rows = evaluate(dspy.Predict("question -> answer"), sums(4), store)
        assert own.prediction == {"answer": "here"}
        assert lm._engine_spec.calls == 4
        assert {row.score for row in rows} == {1.0}
        assert len(outputs_of_modules) == 5

    def test_the_evaluators_settings_take_precedence(self, store: Store) -> None:
        """The model of the task is called, not the one that the caller has configured."""
        configured, task = scripted_lm(), scripted_lm(base=100)
        with dspy.context(lm=configured):
            rows = evaluate(dspy.Predict("question -> answer"), sums(3), store, lm=task)
        assert {row.score for row in rows} == {1.0}
        assert (configured._engine_spec.calls, task._engine_spec.calls) == (0, 3)

    def test_the_callers_settings_do_not_change(self, store: Store) -> None:
        """DSPy's settings are the same after an evaluation."""
        settings = dict(dspy.settings.config)
        evaluate(dspy.Predict("question -> answer"), sums(3), store, lm=scripted_lm())
        assert dict(dspy.settings.config) == settings


def evaluate_under(
    key: str,
    program: dspy.Module,
    store: Store,
    *,
    metric: Metric = exact,
    lm: dspy.LM | None = None,
    examples: Sequence[dspy.Example] | None = None,
) -> tuple[list[Row], Usage]:
    """Return the rows of an evaluator with this key; all such evaluators share predictions."""
    workers = WorkerPool(2)
    evaluator = Evaluator(metric, {"lm": lm}, key, "prediction")
    rows = StoredRows(evaluator, store, workers)
    evaluated = run_to_completion(rows.evaluate(program, examples or sums(3)), workers)
    return evaluated, workers.usage


def prediction_keys(rows: Sequence[Row]) -> list[str]:
    """Return the prediction keys of rows that have one."""
    return [row.prediction_key for row in rows if row.prediction_key is not None]


class TestSharedPredictions:
    def test_another_metric_calls_no_model(self, store: Store) -> None:
        """The same predictions have other scores, in other rows, without a call."""
        program, lm = dspy.Predict("question -> answer"), scripted_lm(base=50)
        first, _ = evaluate_under("first", program, store, lm=lm)
        second, usage = evaluate_under(
            "second", program, store, lm=lm, metric=lambda e, p, trace=None: len(p.answer) / 4
        )
        assert [row.score for row in second] == [len(row.prediction["answer"]) / 4 for row in first]
        assert [row.prediction for row in second] == [row.prediction for row in first]
        assert not {row.key for row in first} & {row.key for row in second}
        assert lm._engine_spec.calls == 3
        assert usage == Usage()

    def test_a_rescored_row_is_stored(self, store: Store) -> None:
        """A later run reads it, and does not call the metric again."""
        program = Function()
        evaluate_under("first", program, store)
        second, _ = evaluate_under("second", program, store, metric=lambda *_: 0.5)
        third, _ = evaluate_under("second", program, store, metric=lambda *_: 0.75)
        assert third == second == [store.rows.get(row.key) for row in second]
        assert set(program.calls.values()) == {1}

    def test_predictions_are_rescored_any_number_of_times(self, store: Store) -> None:
        """A rescored row has the prediction key of the first row."""
        program, lm = dspy.Predict("question -> answer"), scripted_lm()
        for number in range(3):
            rows, _ = evaluate_under(str(number), program, store, lm=lm)
        assert lm._engine_spec.calls == 3
        keys = prediction_keys(rows)
        assert {row.prediction_key for row in rows} == set(store.rows.by_prediction(keys))

    def test_the_original_usage_is_that_of_the_first_row(self, store: Store) -> None:
        """A rescored row has no usage, and the row of the program's run keeps its own."""
        program, lm = dspy.Predict("question -> answer"), scripted_lm()
        first, _ = evaluate_under("first", program, store, lm=lm)
        second, _ = evaluate_under("second", program, store, lm=lm)
        assert {row.usage for row in second} == {Usage()}
        assert store.rows.by_prediction(prediction_keys(second)) == {
            row.prediction_key: row for row in first
        }
        assert {row.usage for row in first} == {Usage(1, 10, 2)}
        assert original_usages(store, [second, first]) == [Usage(3, 30, 6)] * 2

    def test_rows_without_prediction_keys_have_their_own_usage(self, store: Store) -> None:
        """The original usage of rows that do not share predictions is their usage."""
        rows = evaluate(dspy.Predict("question -> answer"), sums(3), store, lm=scripted_lm())
        assert original_usages(store, [rows]) == [Usage(3, 30, 6)]

    def test_a_judges_calls_count(self, store: Store) -> None:
        """The usage of a rescored row is that of a metric that calls the evaluator's model."""
        program, lm = Function(), scripted_lm()

        def judge(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> int:
            predict = dspy.Predict("answer -> good")
            return len(predict(answer=f"{prediction.answer} + 1").good)

        evaluate_under("first", program, store)
        rows, usage = evaluate_under("second", program, store, metric=judge, lm=lm)
        assert [row.usage for row in rows] == [Usage(1, 10, 2)] * 3
        assert usage == Usage(3, 30, 6)
        assert set(program.calls.values()) == {1}

    def test_a_failed_call_of_a_judge_makes_no_row(self, store: Store) -> None:
        """An LM error stops the rescoring even if the metric catches it."""
        program = Function()
        evaluate_under("first", program, store)

        def judge(example: dspy.Example, prediction: object, trace: object = None) -> bool:
            with suppress(Exception):
                dspy.Predict("question -> good")(question="?")
            return True

        lm = failing_lm(dspy.LMAuthError("dead key"))
        with pytest.raises(InfrastructureError, match="dead key"):
            evaluate_under("second", program, store, metric=judge, lm=lm)
        rows, _ = evaluate_under("second", program, store, metric=lambda *_: 0.5)
        assert {row.score for row in rows} == {0.5}

    def test_a_metric_has_the_same_settings_both_times(self, store: Store) -> None:
        """Model, adapter and trace are the same for a new and for a stored prediction."""
        calls: list[object] = []

        def record(example: dspy.Example, prediction: object, trace: object = None) -> bool:
            settings = dspy.settings
            calls.append((trace, settings.lm, settings.adapter, list(settings.trace)))
            return True

        program, lm = dspy.Predict("question -> answer"), scripted_lm()
        for key in ("first", "second"):
            evaluate_under(key, program, store, metric=record, lm=lm, examples=sums(1))
        assert calls == [(None, lm, None, [])] * 2
        assert lm._engine_spec.calls == 1

    def test_a_corrected_label_calls_no_model(self, store: Store) -> None:
        """The labels are not part of the prediction key."""
        program = Function()
        wrong = [example.copy(answer="?").with_inputs("question") for example in sums(3)]
        first, _ = evaluate_under("key", program, store, examples=wrong)
        second, _ = evaluate_under("key", program, store)
        assert [row.score for row in first + second] == [0.0] * 3 + [1.0] * 3
        assert set(program.calls.values()) == {1}

    def test_another_instruction_is_another_prediction(self, store: Store) -> None:
        """The instruction is part of the prediction key."""
        lm = scripted_lm()
        changed = dspy.Predict(make_signature("question -> answer", "Think."))
        evaluate_under("first", dspy.Predict("question -> answer"), store, lm=lm)
        evaluate_under("second", changed, store, lm=lm)
        assert lm._engine_spec.calls == 6

    def test_without_a_prediction_key_predictions_are_not_shared(self, store: Store) -> None:
        """The program runs again under another evaluator."""
        program = Function()
        first = evaluate(program, sums(2), store)
        evaluate_under("second", program, store, examples=sums(2))
        assert {row.prediction_key for row in first} == {None}
        assert set(program.calls.values()) == {2}

    def test_a_failed_program_runs_again(self, store: Store) -> None:
        """A failed row has no prediction to score."""

        def fail(question: str) -> object:
            raise ValueError(question)

        program = Function(fail)
        first, _ = evaluate_under("first", program, store)
        evaluate_under("second", program, store)
        assert {row.prediction_key for row in first} == {None}
        assert set(program.calls.values()) == {2}

    def test_a_metric_cannot_change_the_stored_prediction(self, store: Store) -> None:
        """The row has the prediction as the program returned it."""

        def change(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
            prediction.answer = "changed"
            prediction.tags.append("changed")
            return len(prediction.tags) == 1

        program = Function(lambda _: dspy.Prediction(answer="1", tags=[]))
        for key in ("first", "second", "third"):
            rows, _ = evaluate_under(key, program, store, metric=change, examples=sums(1))
            assert [(row.prediction, row.score) for row in rows] == [
                ({"answer": "1", "tags": []}, 1.0)
            ]
        assert set(program.calls.values()) == {1}


class TestErrors:
    def test_an_error_stops_the_rest(self, store: Store) -> None:
        """After the first error only the rows that are running finish."""

        def slow(question: str) -> dspy.Prediction:
            time.sleep(0.01)
            return add(question)

        program = Function(slow)
        with pytest.raises(MetricError):
            evaluate(program, sums(300), store, metric=lambda *_: None, threads=2)
        assert len(program.calls) < 100

    def test_later_errors_are_not_logged(
        self, store: Store, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """An error that arrives after the first was raised prints and logs nothing."""
        workers = WorkerPool(4)
        raised = threading.Event()

        def late(question: str) -> object:
            if not question.startswith("0"):
                raised.wait(10)
            return add(question)

        async def fail() -> None:
            rows = StoredRows(evaluator_of(lambda *_: None), store, workers)
            with pytest.raises(MetricError):
                await rows.evaluate(Function(late), sums(4))
            raised.set()
            await workers.finish()

        gc.freeze()  # The collection below then ignores the garbage of other tests.
        run_to_completion(fail(), workers)
        gc.collect()  # asyncio logs an error when its task is dropped before it is retrieved.
        assert [record.getMessage() for record in caplog.records] == []
        assert capfd.readouterr() == ("", "")
