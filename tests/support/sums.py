"""Examples that are sums, and programs that add them, for tests of evaluation."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dspy
from dspy.signatures import make_signature
from scripted import AsyncScriptedEngine, ScriptedEngine

from pytest_mipro.evaluate import (
    Evaluator,
    FailureLimit,
    StoredRows,
    WorkerPool,
    run_to_completion,
)
from pytest_mipro.evaluate.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dspy import lm15
    from dspy.lm15 import FinishReason

    from pytest_mipro.records import Row
    from pytest_mipro.store import Store
    from pytest_mipro.task import ExecutorSource, Metric

# DSPy builds a class for each signature, which takes longer than a call.
_ANSWER = make_signature("question -> answer")
_THINK = make_signature("question -> thought")
_REPLY = make_signature("question, thought -> answer")
SHORT = RetryPolicy(attempts=3, first_wait=0.005, total=0.5)


def sums(count: int) -> list[dspy.Example]:
    """Return ``count`` sums with their results."""
    return [
        dspy.Example(question=f"{number} + 1", answer=f"{number + 1}").with_inputs("question")
        for number in range(count)
    ]


def exact(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Return whether the prediction has the example's answer."""
    return bool(example.answer == prediction.answer)


def add(question: str) -> dspy.Prediction:
    """Answer a sum without a language model."""
    left, right = question.split(" + ")
    return dspy.Prediction(answer=str(int(left) + int(right)))


def fail_on_one(question: str) -> dspy.Prediction:
    """Add, but raise on the sum that begins with 1."""
    if question.startswith("1 "):
        message = "no ones"
        raise ValueError(message)
    return add(question)


def add_slowly(question: str) -> dspy.Prediction:
    """Answer a sum in 20 ms."""
    time.sleep(0.02)
    return add(question)


class Function(dspy.Module):
    """A program without a language model that counts its calls by question."""

    def __init__(self, function: Callable[[str], object] = add) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.function = function
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def forward(self, question: str) -> object:
        with self._lock:
            self.calls[question] += 1
        return self.function(question)


class Asking(dspy.Module):
    """A program that calls a language model, and may catch its error and add by itself."""

    def __init__(self, *, catches: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.predict = dspy.Predict(_ANSWER)
        self.catches = catches

    def forward(self, question: str) -> object:
        try:
            return self.predict(question=question)
        except Exception:
            if not self.catches:
                raise
            return add(question)


class TwoSteps(dspy.Module):
    """Thinks first."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # DSPy has no types for it
        self.think = dspy.Predict(_THINK)
        self.reply = dspy.Predict(_REPLY)

    def forward(self, question: str) -> object:
        thought = self.think(question=question).thought
        return self.reply(question=question, thought=thought)


class FailingEngine(ScriptedEngine):
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


class ReplyingEngine(ScriptedEngine):
    """Gives the ``replies``, each a text and why it ended, and then answers."""

    def __init__(self, *replies: tuple[str, FinishReason]) -> None:
        super().__init__(base=100)
        self._replies = list(replies)

    def complete(self, request: lm15.Request) -> lm15.Response:
        response = super().complete(request)
        if not self._replies:
            return response
        text, reason = self._replies.pop(0)
        message = type(response.message).assistant(text)
        return replace(response, message=message, finish_reason=reason)


def failing_lm(error: Exception, first: int = 1) -> dspy.LM:
    """Return a model that raises ``error`` from the ``first`` call on."""
    return engine_lm(FailingEngine(error, first))


def engine_lm(engine: ScriptedEngine) -> dspy.LM:
    """Return a model of ``engine`` that neither caches nor retries."""
    return dspy.LM(
        "scripted",
        engine=engine,
        async_engine=AsyncScriptedEngine(engine),
        cache=False,
        num_retries=0,
    )


def evaluator_of(metric: Metric = exact, settings: Mapping[str, Any] | None = None) -> Evaluator:
    """Return an evaluator that does not share predictions."""
    return Evaluator(metric, settings or {}, "key")


def evaluate(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    store: Store,
    *,
    metric: Metric = exact,
    threads: int = 4,
    failure_limit: FailureLimit | None = None,
    executor: ExecutorSource | None = None,
    **settings: object,
) -> list[Row]:
    """Return the rows of ``program`` on ``examples``."""
    workers = WorkerPool(threads, SHORT, executor=executor)
    rows = StoredRows(evaluator_of(metric, settings), store, workers, failure_limit)
    return run_to_completion(rows.evaluate(program, examples), workers)
