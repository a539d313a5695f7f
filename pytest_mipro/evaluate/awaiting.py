"""Run async programs and metrics to their end, in the thread that evaluates their row.

Each run has an event loop of its own, so that rows are as independent as those of other programs.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import dspy

from pytest_mipro.canonical import canonical_json, plain
from pytest_mipro.evaluate.thread_pool import ContextThreadPool
from pytest_mipro.task import is_async_only

if TYPE_CHECKING:
    from collections.abc import Awaitable

Step: TypeAlias = tuple[object, dict[str, Any], dspy.Prediction]
"""A predictor call as DSPy traces it: predictor, inputs, prediction."""

T = TypeVar("T")


def result_of(value: object) -> object:
    """Return ``value``, or its result if it is a coroutine or can be awaited otherwise."""
    return _run(value) if inspect.isawaitable(value) else value


def call_program(program: dspy.Module, inputs: dict[str, Any]) -> tuple[object, tuple[Step, ...]]:
    """Return the prediction of ``program``, and its predictor calls.

    A program without ``forward`` is called by its ``aforward``.
    """
    call = program.acall if is_async_only(program) else program
    prediction = call(**inputs)
    if inspect.isawaitable(prediction):
        return _run(_traced(program, prediction))
    return prediction, tuple(dspy.settings.trace)


async def _traced(
    program: dspy.Module, prediction: Awaitable[object]
) -> tuple[object, tuple[Step, ...]]:
    trace = _TaskTrace()
    with dspy.context(trace=trace):
        result = await prediction
    return result, trace.ordered(program)


class _TaskTrace(list[Step]):  # ruff: ignore[subclass-builtin] - DSPy expects a list
    """A trace that is in the order of the calls, or of their content if they are concurrent.

    Concurrent calls end in an order that differs from run to run.
    """

    def __init__(self) -> None:
        super().__init__()
        self._task = _current_task()
        self._is_concurrent = False

    def append(self, step: Step) -> None:
        """Add a call, which belongs to the task or to the thread that runs this."""
        # Not whether calls overlap, which depends on how long they take.
        self._is_concurrent |= _current_task() is not self._task
        super().append(step)

    def ordered(self, program: dspy.Module) -> tuple[Step, ...]:
        """Return the calls in an order that is the same in all runs."""
        if not self._is_concurrent:
            return tuple(self)
        predictors = [id(predictor) for predictor in program.predictors()]
        places = {identity: place for place, identity in enumerate(predictors)}

        def place_and_content(step: Step) -> tuple[int, str]:
            predictor, *content = step
            text = canonical_json(plain(content, fallback=repr))
            return places.get(id(predictor), len(places)), text

        return tuple(sorted(self, key=place_and_content))


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # This thread has no event loop.
        return None


def _run(awaitable: Awaitable[T]) -> T:
    if _current_task() is None:
        result, error = asyncio.run(_outcome(awaitable))
    else:  # The executor is a user's, and runs its work in the thread of an event loop.
        threads = ContextThreadPool(1)
        result, error = threads.submit(asyncio.run, _outcome(awaitable)).result()
        threads.shutdown(wait=False)
    if error is not None:
        raise error
    return cast("T", result)


async def _outcome(awaitable: Awaitable[T]) -> tuple[T | None, BaseException | None]:
    """Return the result or the error, whose traceback then has no frames of asyncio."""
    try:
        return await awaitable, None
    # ruff: ignore[blind-except]: the caller raises it.
    except BaseException as error:
        return None, error
