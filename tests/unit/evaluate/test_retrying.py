from __future__ import annotations

import random
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError, ContextWindowExceededError
from scripted import ScriptedEngine, scripted_lm

from pytest_mipro.errors import BudgetExceeded, InfrastructureError, MetricError
from pytest_mipro.evaluate import retrying
from pytest_mipro.evaluate import throttle as throttle_module
from pytest_mipro.evaluate.response_cache import cached_responses
from pytest_mipro.evaluate.retry_policy import RetryPolicy
from pytest_mipro.evaluate.retrying import retry_lm_errors
from pytest_mipro.evaluate.throttle import Throttle, throttled
from pytest_mipro.records import Usage
from pytest_mipro.spending import Account, Limit, UsageMeter
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from dspy import lm15
    from retry_clock import Clock

pytestmark = pytest.mark.uses("tenacity")

SHORT = RetryPolicy(attempts=4, first_wait=0.01, longest_wait=0.1, total=1.0)


def rate_limit(hint: float | None = None) -> dspy.LMRateLimitError:
    """Return a rate limit error, with or without a time to wait."""
    return dspy.LMRateLimitError("slow down", status=429, retry_after=hint)


class FlakyEngine(ScriptedEngine):
    """Raises one of ``errors`` per call, and then responds; records the times of its calls."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(base=100)
        self.errors = list(errors)
        self.times: list[float] = []

    def complete(self, request: lm15.Request) -> lm15.Response:
        response = super().complete(request)
        self.times.append(vars(retrying)["time"].monotonic())  # or a ``Clock``
        if self.errors:
            raise self.errors.pop(0)
        return response

    @property
    def waits(self) -> list[float]:
        """The seconds between consecutive calls."""
        return [end - start for start, end in zip(self.times, self.times[1:], strict=False)]


def call_of(engine: ScriptedEngine, *, catches: bool = False) -> Callable[[], str]:
    """Return work that calls ``engine`` once, and may catch its error."""
    lm = dspy.LM("scripted", engine=engine, cache=False, num_retries=0)

    def work() -> str:
        with dspy.context(lm=lm):
            try:
                return str(dspy.Predict("question -> answer")(question="1 + 1").answer)
            except Exception:
                if not catches:
                    raise
                return "made up"

    return work


def retried(
    work: Callable[[], str], policy: RetryPolicy = SHORT, throttle: Throttle | None = None
) -> str:
    """Return the result of work that is retried by ``policy``."""
    return throttled(throttle or Throttle(policy), retry_lm_errors, work, "testing")


# --- What a call for several completions counts as ---------------------------------------------


def completions_of(engine: ScriptedEngine, count: int = 3, *, cache: bool = False) -> UsageMeter:
    """Return the meter of work that asks ``engine`` once for ``count`` completions."""
    lm = dspy.LM("scripted", engine=engine, cache=cache, num_retries=0, n=count)
    meter = UsageMeter()

    def work() -> str:
        meter.begin_attempt()
        with dspy.context(lm=lm, usage_tracker=meter):
            return str(dspy.Predict("question -> answer")(question="1 + 1").answer)

    with suppress(InfrastructureError):
        retried(work)
    return meter


def test_a_completion_counts_as_a_call() -> None:
    """DSPy asks an engine once for each of them, and reports their tokens together."""
    engine = ScriptedEngine()
    meter = completions_of(engine)
    assert engine.calls == 3
    assert meter.usage == meter.spent == Usage(3, 30, 6)


@pytest.mark.usefixtures("clock")
def test_completions_before_an_error_count() -> None:
    """Of a call that fails at its second completion, the first was paid for."""
    engine = ScriptedEngine()
    engine.credit = 1
    assert completions_of(engine).usage == Usage(1, 10, 2)


def test_stored_completions_are_not_charged() -> None:
    """They count in what an answer takes, and not in what the run has spent."""
    with closing(Store.in_memory()) as store, cached_responses(store):
        engine = ScriptedEngine()
        first, second = (completions_of(engine, cache=True) for _ in range(2))
    assert engine.calls == 3
    assert second.usage == Usage()
    assert first.spent == second.spent == Usage(3, 30, 6)


def test_a_limit_refuses_more_completions_than_it_has_calls_left() -> None:
    """No completion is asked for, where not all of them are allowed."""
    engine = ScriptedEngine()
    account = Account([Limit("calls", 2, "lm_calls")])
    with account.current(), pytest.raises(BudgetExceeded, match="lm_calls=2 is not enough"):
        completions_of(engine)
    assert engine.calls == 0
    with account.current():
        completions_of(engine, 2)
    assert (engine.calls, account.usage.calls) == (2, 2)


# --- Which errors are retried ------------------------------------------------------------------


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    "error",
    [
        rate_limit(),
        dspy.LMServerError("503", status=503),
        dspy.LMTimeoutError("408", status=408),
        dspy.LMTransportError("reset"),
        dspy.LMProviderError("the reply is not JSON", status=200),
        ConnectionResetError("an engine of the user's own"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("catches", [False, True])
def test_a_temporary_error_is_retried(error: Exception, catches: bool) -> None:
    """The result is that of a call without errors, even if the program catches them."""
    engine = FlakyEngine(error, error)

    assert retried(call_of(engine, catches=catches)) == "2"
    assert engine.calls == 3


@pytest.mark.parametrize(
    "error",
    [
        dspy.LMAuthError("revoked"),
        dspy.LMBillingError("no quota"),
        dspy.LMConfigurationError("no provider"),
        dspy.LMInvalidRequestError("no such parameter"),
        dspy.LMProviderError("I am a teapot", status=418),
        RuntimeError("a bug in the engine"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("catches", [False, True])
def test_a_permanent_error_is_not_retried(error: Exception, catches: bool) -> None:
    """The run stops with the provider's message after one call."""
    engine = FlakyEngine(error)

    with pytest.raises(InfrastructureError, match=str(error)) as caught:
        retried(call_of(engine, catches=catches))

    assert engine.calls == 1
    assert "failed while testing" in str(caught.value)
    assert "attempts" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the program's own"),
        MetricError("the metric's own"),
        ConnectionError("the program's own database"),
        ContextWindowExceededError(message="too long"),
        AdapterParseError("ChatAdapter", dspy.ensure_signature("a -> b"), "hm"),  # type: ignore[arg-type]  # of no interest
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_program_is_raised_unchanged(error: BaseException) -> None:
    """The same object is raised after one attempt."""
    attempts: list[int] = []

    def work() -> str:
        attempts.append(1)
        raise error

    with pytest.raises(type(error)) as caught:
        retried(work)

    assert caught.value is error
    assert len(attempts) == 1


@pytest.mark.parametrize("message, runs", [("AST … recursion depth mismatch", 3), ("else", 1)])
def test_a_fault_of_the_parser_is_none_of_the_work(message: str, runs: int) -> None:
    """The work is run again at once, as no other error of Python's own is."""
    errors = [SystemError(message)] * 2
    attempts: list[int] = []

    def work() -> str:
        attempts.append(len(dspy.settings.trace))
        dspy.settings.trace.append("a step")
        if errors:
            raise errors.pop()
        return "done"

    if runs > 1:
        assert retry_lm_errors(work, "adding") == "done"
    else:
        with pytest.raises(SystemError, match=message):
            retry_lm_errors(work, "adding")
    assert attempts == [0] * runs


class UsersModel(dspy.BaseLM):
    """A model of the user's own class, whose errors DSPy does not convert."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(model="users-model")
        self.errors = list(errors)

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        raise self.errors.pop(0)


class StatusError(Exception):
    """An error with a status code, as SDKs raise it."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code


@pytest.mark.usefixtures("clock")
@pytest.mark.filterwarnings("ignore:.*forward.*:DeprecationWarning")
@pytest.mark.parametrize(
    "error, calls",
    [(StatusError(429), 4), (StatusError(502), 4), (TimeoutError(), 4), (StatusError(401), 1)],
)
def test_errors_of_a_users_model_are_retried(error: Exception, calls: int) -> None:
    """The status code or the type tells whether an unconverted error is temporary."""
    lm = UsersModel(*[error] * 20)

    def work() -> str:
        try:
            lm("hello")
        except Exception:  # ruff: ignore[blind-except]  # the program catches its error
            return "made up"
        return "response"

    with pytest.raises(InfrastructureError, match=type(error).__name__):
        retried(work, RetryPolicy(attempts=4, first_wait=0.001, total=0.02 if calls > 1 else 1))

    assert 20 - len(lm.errors) >= calls


@pytest.mark.usefixtures("clock")
def test_each_attempt_begins_with_an_empty_trace() -> None:
    """The trace has no calls of a failed attempt."""
    engine = FlakyEngine()
    call = call_of(engine)

    def work() -> str:
        call()
        if engine.calls < 3:
            raise dspy.LMServerError("503")
        return str(len(dspy.settings.trace))

    assert retried(work) == "1"


# --- How long they are retried -----------------------------------------------------------------


@pytest.mark.usefixtures("clock")
def test_the_number_of_attempts_is_limited() -> None:
    """The error has the number and the duration of the attempts, and the next step."""
    engine = FlakyEngine(*[dspy.LMServerError("overloaded")] * 9)

    with pytest.raises(InfrastructureError) as caught:
        retried(call_of(engine))

    assert engine.calls == 4
    assert "LMServerError: overloaded\n4 attempts in 0 s\n" in str(caught.value)
    assert "the same command goes on" in str(caught.value)


@pytest.mark.usefixtures("clock")
def test_the_total_time_is_limited() -> None:
    """No wait begins that would end after ``total`` seconds."""
    engine = FlakyEngine(*[dspy.LMServerError("overloaded")] * 99)
    policy = RetryPolicy(attempts=99, first_wait=0.05, longest_wait=0.05, total=0.2)

    with pytest.raises(InfrastructureError):
        retried(call_of(engine), policy)

    assert 2 <= engine.calls <= 4
    assert engine.times[-1] - engine.times[0] <= 0.2


@pytest.mark.usefixtures("clock")
def test_waits_double_at_least_and_are_random() -> None:
    """Waits have at least the lengths 1, 2 and 4, and differ between two runs."""
    waits = []
    for _ in range(2):
        engine = FlakyEngine(*[dspy.LMServerError("overloaded")] * 3)
        retried(call_of(engine))
        waits.append(engine.waits)

    for run in waits:
        assert all(low <= wait for low, wait in zip([0.01, 0.02, 0.04], run, strict=True))
    assert waits[0] != waits[1]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    "hint, low, high",
    [(0.1, 0.1, 0.4), (3600.0, 0.1, 0.4), (0.0, 0.01, 0.2), (float("nan"), 0.01, 0.2)],
    ids=["honoured", "capped", "zero", "nan"],
)
def test_a_retry_waits_for_the_time_of_the_provider(hint: float, low: float, high: float) -> None:
    """``Retry-After`` sets the first wait, up to ``longest_wait``, unless it is no time."""
    engine = FlakyEngine(rate_limit(hint))

    retried(call_of(engine), RetryPolicy(first_wait=0.01, longest_wait=0.1))

    (wait,) = engine.waits
    assert low <= wait < high


def test_rate_limits_are_retried_while_other_calls_succeed(clock: Clock) -> None:
    """A slow provider makes a run slow, and does not end it while any call succeeds."""
    engine = FlakyEngine(*[rate_limit()] * 25)
    throttle = Throttle(RetryPolicy(attempts=2, first_wait=0.02, longest_wait=0.02, total=0.2))
    clock.during_wait = throttle.record_response

    assert retried(call_of(engine), throttle=throttle) == "2"
    assert engine.calls == 26


@pytest.mark.usefixtures("clock")
def test_rate_limits_end_the_run_if_no_call_succeeds() -> None:
    """The run stops after ``total`` seconds without a response."""
    engine = FlakyEngine(*[rate_limit()] * 99)

    with pytest.raises(InfrastructureError, match="slow down"):
        retried(
            call_of(engine), RetryPolicy(attempts=2, first_wait=0.02, longest_wait=0.02, total=0.6)
        )

    assert 3 < engine.calls <= 30


def test_the_throttle_has_the_error_during_retries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other threads can read the error until the call succeeds, unless other calls succeed."""
    throttle = Throttle(RetryPolicy(first_wait=0.01, longest_wait=0.01))
    engine = FlakyEngine(*[rate_limit()] * 100_000)
    thread = threading.Thread(
        target=retried, args=(call_of(engine),), kwargs={"throttle": throttle}
    )
    assert not throttle.provider_error
    thread.start()
    while not throttle.provider_error:
        time.sleep(0.001)

    assert throttle.provider_error == "LMRateLimitError: slow down"
    throttle.record_response()
    assert not throttle.provider_error
    monkeypatch.setattr(throttle_module, "_SILENCE", 0)
    assert throttle.provider_error == "LMRateLimitError: slow down"
    engine.errors.clear()
    thread.join()
    assert not throttle.provider_error


# --- Pauses of all threads ---------------------------------------------------------------------


def test_a_rate_limit_delays_the_calls_of_all_threads(clock: Clock) -> None:
    """Calls of other threads begin after the pause, at different times."""
    throttle = Throttle(RetryPolicy(first_wait=0.01, longest_wait=1))
    first, delayed = FlakyEngine(rate_limit(0.3)), [FlakyEngine() for _ in range(5)]

    def call_together() -> None:
        clock.during_wait = clock.do_nothing
        start = clock.now
        for engine in delayed:
            clock.now = start
            retried(call_of(engine), throttle=throttle)
        clock.now = start

    clock.during_wait = call_together
    retried(call_of(first), throttle=throttle)

    delays = [engine.times[0] - first.times[0] for engine in delayed]
    assert min(delays) >= 0.3
    assert max(delays) - min(delays) > 0.005


@pytest.mark.usefixtures("clock")
def test_a_pause_delays_later_calls_of_a_row() -> None:
    """The second call of a program waits for a pause that begins after the first."""
    throttle = Throttle()
    engine = FlakyEngine()
    call = call_of(engine)

    def work() -> str:
        call()
        throttle.pause(0.2)
        return call()

    retried(work, throttle=throttle)

    assert engine.waits[0] >= 0.2


def test_other_errors_delay_no_other_thread(clock: Clock) -> None:
    """A broken connection delays its own row alone."""
    throttle = Throttle(RetryPolicy(first_wait=2.0))
    flaky, working = FlakyEngine(dspy.LMTransportError("reset")), FlakyEngine()
    clock.during_wait = lambda: working.times or retried(call_of(working), throttle=throttle)
    retried(call_of(flaky), throttle=throttle)

    assert working.times == flaky.times[:1]


# --- Stopping ----------------------------------------------------------------------------------


class Interrupted(Throttle):
    """A throttle that another thread stops at the first wait."""

    def wait(self, seconds: float) -> bool:
        threading.Thread(target=self.stop).start()
        return super().wait(seconds)


@pytest.mark.parametrize("reason", ["retry", "pause"])
def test_stopping_ends_all_waits(reason: str) -> None:
    """A stop of the run ends a wait of any length."""
    throttle = Interrupted(RetryPolicy(first_wait=3600, longest_wait=3600, total=9999))
    engine = FlakyEngine(*([dspy.LMServerError("503")] if reason == "retry" else []))
    if reason == "pause":
        throttle.pause(3600)

    with pytest.raises(InfrastructureError, match="stopping"):
        retried(call_of(engine), throttle=throttle)

    assert engine.calls == (reason == "retry")


def test_a_call_that_runs_during_a_stop_finishes() -> None:
    """A row whose call succeeds is returned; one whose call fails is not retried."""
    throttle = Throttle()
    succeeding, failing = call_of(FlakyEngine()), call_of(engine := FlakyEngine(rate_limit(9.0)))

    def stop_and_succeed() -> str:
        throttle.stop()
        return retry_lm_errors(succeeding, "testing")

    def stop_and_fail() -> str:
        throttle.stop()
        return retry_lm_errors(failing, "testing")

    assert throttled(throttle, stop_and_succeed) == "2"
    throttle = Throttle()
    with pytest.raises(InfrastructureError, match="slow down"):
        throttled(throttle, stop_and_fail)
    assert engine.calls == 1


def test_no_call_begins_after_a_permanent_error() -> None:
    """Later work raises the same error without a call."""
    throttle = Throttle()
    with pytest.raises(InfrastructureError, match="no credit") as first:
        retried(call_of(FlakyEngine(dspy.LMBillingError("no credit"))), throttle=throttle)
    engine = FlakyEngine()
    with pytest.raises(InfrastructureError, match="no credit") as second:
        retried(call_of(engine), throttle=throttle)
    assert engine.calls == 0
    assert str(second.value) == str(first.value)


@pytest.mark.usefixtures("clock")
def test_waits_do_not_use_the_seeded_generator() -> None:
    """The random part of a wait does not change the state of ``random``."""
    errors = [rate_limit(0.01), dspy.LMServerError("503")]

    def work() -> str:
        if errors:
            raise errors.pop()
        return "done"

    random.seed(5)
    state = random.getstate()

    assert retried(work) == "done"
    assert random.getstate() == state


def test_work_outside_of_a_pool_is_retried() -> None:
    """Work in the caller's thread has a throttle of its own."""
    with dspy.context(lm=scripted_lm(base=100)):
        prediction = retry_lm_errors(
            lambda: dspy.Predict("question -> answer")(question="1 + 1"), "testing"
        )

    assert prediction.answer == "2"


def test_an_attempt_has_one_callback() -> None:
    """DSPy takes its time for each callback of each module, adapter and model that it calls."""
    with dspy.context(callbacks=[]):
        assert retried(lambda: str(len(dspy.settings.callbacks))) == "1"
