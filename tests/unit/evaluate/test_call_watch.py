from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMAuthError,
    LMRateLimitError,
    LMTransportError,
)
from scripted import ScriptedEngine, scripted_lm

from pytest_mipro.evaluate import call_watch
from pytest_mipro.evaluate.call_watch import AttemptOver, CallWatch, longest_duration
from pytest_mipro.evaluate.failures import type_and_message

if TYPE_CHECKING:
    from dspy import lm15

pytestmark = pytest.mark.uses("dspy")

RATE = LMRateLimitError("slow down", model="openai/gpt-test", status=429)
LONG = ContextWindowExceededError(model="openai/gpt-test")


class Unreachable(ScriptedEngine):
    """Raises one of ``errors`` per call, and then responds."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(base=100)
        self._errors = list(errors)

    def complete(self, request: lm15.Request) -> lm15.Response:
        response = super().complete(request)
        if self._errors:
            raise self._errors.pop(0)
        return response


def watched(*errors: Exception) -> tuple[CallWatch, list[Exception]]:
    """Call a model until its first error, or once; return the watch and the raised errors."""
    watch = CallWatch()
    lm = dspy.LM("scripted", engine=Unreachable(*errors), cache=False, num_retries=0)
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(), callbacks=[watch]):
        raised = _errors_of_a_call()
    return watch, raised


def _errors_of_a_call() -> list[Exception]:
    try:
        dspy.Predict("question -> answer")(question="1 + 1")
    except dspy.LMError as error:
        return [error]
    return []


def test_a_caught_error_is_recorded() -> None:
    """A program that catches a model error does not hide it."""
    watch, raised = watched(RATE)

    assert isinstance(watch.error, LMRateLimitError)
    assert len(raised) == 1


def test_the_first_error_is_recorded() -> None:
    """A later error, of a call beside it, does not replace it."""
    watch = CallWatch()

    watch.on_lm_end("1", None, LMAuthError("dead key"))
    watch.on_lm_end("2", None, LMTransportError("reset"))

    assert isinstance(watch.error, LMAuthError)


def test_no_call_begins_after_an_error() -> None:
    """A program that catches errors in a loop comes to an end."""
    engine = Unreachable(RATE)
    lm = dspy.LM("scripted", engine=engine, cache=False, num_retries=0)
    with dspy.context(lm=lm, callbacks=[CallWatch()]):
        _errors_of_a_call()
        with pytest.raises(AttemptOver):
            _errors_of_a_call()

    assert engine.calls == 1
    assert not issubclass(AttemptOver, Exception)


def test_responses_record_no_error() -> None:
    """After calls that succeed there is no error."""
    watch, raised = watched()

    assert watch.error is None
    assert raised == []


def test_an_error_of_a_called_model_has_no_key() -> None:
    """A judge is known by its first call only; a provider's error may cite its key."""
    error = LMAuthError("401 Unauthorized: canary-judge-4711")
    judge = dspy.LM("scripted", engine=Unreachable(error), cache=False)
    judge.kwargs["api_key"] = "canary-judge-4711"
    with dspy.context(callbacks=[CallWatch()]), pytest.raises(LMAuthError) as caught:
        judge("Is it right?")

    assert type_and_message(caught.value) == "LMAuthError: 401 Unauthorized: ***"


def test_a_long_prompt_is_not_recorded() -> None:
    """A prompt that is too long is no error of the provider, and hides no later one."""
    watch = CallWatch()

    watch.on_lm_end("1", None, LONG)
    assert watch.error is None
    watch.on_lm_end("2", {"answer": "yes"})
    assert watch.error is None
    watch.on_lm_end("3", None, RATE)
    assert watch.error is RATE


def test_a_watch_records_its_own_context_only() -> None:
    """Rows that run at the same time do not share their errors."""
    working, failing = CallWatch(), CallWatch()
    with dspy.context(lm=scripted_lm(), callbacks=[working]):
        dspy.Predict("question -> answer")(question="1 + 1")
    lm = dspy.LM("scripted", engine=Unreachable(RATE), cache=False, num_retries=0)
    with dspy.context(lm=lm, callbacks=[failing]), pytest.raises(LMRateLimitError):
        dspy.Predict("question -> answer")(question="1 + 1")

    assert working.error is None
    assert isinstance(failing.error, LMRateLimitError)


def test_a_watch_reports_calls_and_responses() -> None:
    """It reports each call with its model and the number of its completions, and each response."""
    events: list[object] = []
    watch = CallWatch(lambda *call: events.append(call), lambda: events.append("response"))
    lm = dspy.LM("scripted", engine=Unreachable(), cache=False, num_retries=0)
    with dspy.context(lm=lm, callbacks=[watch]):
        _errors_of_a_call()
        vars(lm)["_engine_spec"] = Unreachable(RATE)
        _errors_of_a_call()

    assert events == [("scripted", 1), "response", ("scripted", 1)]


# --- How long a call may take ------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, arguments, seconds",
    [
        ({"timeout": 60}, {}, 61),
        ({"timeout": 60}, {"timeout": 5}, 6),
        ({"timeout": 0.5, "n": 4}, {}, 3),
        ({"timeout": 60, "num_retries": 2}, {}, 301),
        ({}, {}, None),
        ({"timeout": object()}, {}, None),
    ],
)
def test_the_longest_duration_of_a_call(
    options: dict[str, Any], arguments: dict[str, Any], seconds: float | None
) -> None:
    """It is the timeout and a grace period, for each candidate and for each repetition."""
    lm = dspy.LM("openai/x", **{"num_retries": 0, **options})

    assert longest_duration(lm, {**lm.kwargs, **arguments}) == seconds


@pytest.mark.parametrize(
    "of_model, of_call, completions",
    [
        ({}, {}, 1),
        ({"n": 3}, {}, 3),
        ({"n": 3}, {"n": 2}, 2),
        ({}, {"n": "2"}, 1),
        ({"n": 0}, {}, 1),
    ],
)
def test_a_watch_reports_how_many_completions_a_call_asks_for(
    of_model: dict[str, Any], of_call: dict[str, Any], completions: int
) -> None:
    """The call's own number comes before that of its model; DSPy refuses what is no number."""
    calls: list[object] = []
    watch = CallWatch(lambda *call: calls.append(call))
    watch.on_lm_start("1", dspy.LM("openai/x", **of_model), {"kwargs": of_call})
    assert calls == [("openai/x", completions)]


def test_a_call_is_overdue_after_its_longest_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another call that began later is not, and no call is after its end."""
    now = 100.0
    monkeypatch.setattr(call_watch, "time", SimpleNamespace(monotonic=lambda: now))
    watch = CallWatch()
    slow, quick = (dspy.LM("openai/x", num_retries=0, timeout=timeout) for timeout in (60, 5))
    watch.on_lm_start("slow", slow, {})
    watch.on_lm_start("quick", quick, {"kwargs": {}})
    now = 105.0
    assert not watch.is_overdue()
    now = 107.0
    watch.on_lm_end("quick", ["answer"])
    assert not watch.is_overdue()
    now = 161.5
    assert watch.is_overdue()
    assert isinstance(watch.error, dspy.LMTimeoutError)
