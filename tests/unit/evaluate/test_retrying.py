from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError, ContextWindowExceededError
from scripted import ScriptedEngine, scripted_lm

from pytest_mipro.errors import InfrastructureError, MetricError
from pytest_mipro.evaluate import retrying
from pytest_mipro.evaluate import throttle as throttle_module
from pytest_mipro.evaluate.retry_policy import RetryPolicy
from pytest_mipro.evaluate.retrying import retry_lm_errors
from pytest_mipro.evaluate.throttle import Throttle, throttled

if TYPE_CHECKING:
    from collections.abc import Callable

    from dspy import lm15
    from retry_clock import Clock

pytestmark = pytest.mark.uses("tenacity")

SHORT = RetryPolicy(attempts=4, first_wait=0.01, longest_wait=0.1, total=1.0)


def limited(hint: float | None = None) -> dspy.LMRateLimitError:
    """Return a rate limit, with or without a time to wait."""
    return dspy.LMRateLimitError("slow down", status=429, retry_after=hint)


class Troubled(ScriptedEngine):
    """Raises the given errors, one per call, then answers; remembers when it was called."""

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
        """The seconds between calls."""
        return [later - sooner for sooner, later in zip(self.times, self.times[1:], strict=False)]


def asking(engine: ScriptedEngine, *, swallow: bool = False) -> Callable[[], str]:
    """Return work that asks ``engine`` once, and may hide that this failed."""
    lm = dspy.LM("scripted", engine=engine, cache=False, num_retries=0)

    def work() -> str:
        with dspy.context(lm=lm):
            try:
                return str(dspy.Predict("question -> answer")(question="1 + 1").answer)
            except Exception:
                if not swallow:
                    raise
                return "made up"

    return work


def tried(
    work: Callable[[], str], policy: RetryPolicy = SHORT, throttle: Throttle | None = None
) -> str:
    """Return what comes of asking persistently."""
    return throttled(throttle or Throttle(policy), retry_lm_errors, work, "testing")


# --- What is asked again -----------------------------------------------------------------------


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    "error",
    [
        limited(),
        dspy.LMServerError("503", status=503),
        dspy.LMTimeoutError("408", status=408),
        dspy.LMTransportError("reset"),
        dspy.LMProviderError("the reply is not JSON", status=200),
        ConnectionResetError("an engine of the user's own"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("swallow", [False, True])
def test_passing_trouble_is_asked_again(error: Exception, swallow: bool) -> None:
    """The answer is that of an untroubled call, also where the program swallows the trouble."""
    engine = Troubled(error, error)

    assert tried(asking(engine, swallow=swallow)) == "2"
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
@pytest.mark.parametrize("swallow", [False, True])
def test_lasting_trouble_stops_at_once(error: Exception, swallow: bool) -> None:
    """What asking again cannot help ends the run with the provider's words."""
    engine = Troubled(error)

    with pytest.raises(InfrastructureError, match=str(error)) as caught:
        tried(asking(engine, swallow=swallow))

    assert engine.calls == 1
    assert "failed while testing" in str(caught.value)
    assert "asked" not in str(caught.value)


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
def test_other_errors_pass_as_they_are(error: BaseException) -> None:
    """What no provider is to blame for is raised at once, and is the same object."""
    raised: list[int] = []

    def work() -> str:
        raised.append(1)
        raise error

    with pytest.raises(type(error)) as caught:
        tried(work)

    assert caught.value is error
    assert len(raised) == 1


class Unsorted(dspy.BaseLM):
    """A model of the user's own class, whose errors DSPy does not sort."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(model="unsorted")
        self.errors = list(errors)

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        raise self.errors.pop(0)


class StatusError(Exception):
    """An error as SDKs have them."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code


@pytest.mark.usefixtures("clock")
@pytest.mark.filterwarnings("ignore:.*forward.*:DeprecationWarning")
@pytest.mark.parametrize(
    "error, asked",
    [(StatusError(429), 4), (StatusError(502), 4), (TimeoutError(), 4), (StatusError(401), 1)],
)
def test_a_model_of_the_users_own_is_no_exception(error: Exception, asked: int) -> None:
    """What such a model raises is no answer; status and network say whether it may pass."""
    lm = Unsorted(*[error] * 20)

    def work() -> str:
        try:
            lm("hello")
        except Exception:  # ruff: ignore[blind-except]  # a program that hides its trouble
            return "made up"
        return "answered"

    with pytest.raises(InfrastructureError, match=type(error).__name__):
        tried(work, RetryPolicy(attempts=4, first_wait=0.001, total=0.02 if asked > 1 else 1))

    assert 20 - len(lm.errors) >= asked


@pytest.mark.usefixtures("clock")
def test_each_attempt_has_a_trace_of_its_own() -> None:
    """What an attempt left in the trace before it failed is gone."""
    engine = Troubled()
    ask = asking(engine)

    def work() -> str:
        ask()
        if engine.calls < 3:
            raise dspy.LMServerError("503")
        return str(len(dspy.settings.trace))

    assert tried(work) == "1"


# --- How long ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("clock")
def test_patience_ends() -> None:
    """After the last attempt the error says how often, over how long, and how to go on."""
    engine = Troubled(*[dspy.LMServerError("overloaded")] * 9)

    with pytest.raises(InfrastructureError) as caught:
        tried(asking(engine))

    assert engine.calls == 4
    assert "LMServerError: overloaded\nasked 4 times, over 0 s\n" in str(caught.value)
    assert "the same command goes on" in str(caught.value)


@pytest.mark.usefixtures("clock")
def test_time_ends() -> None:
    """No wait begins that would end after the total."""
    engine = Troubled(*[dspy.LMServerError("overloaded")] * 99)
    policy = RetryPolicy(attempts=99, first_wait=0.05, longest_wait=0.05, total=0.2)

    with pytest.raises(InfrastructureError):
        tried(asking(engine), policy)

    assert 2 <= engine.calls <= 4
    assert engine.times[-1] - engine.times[0] <= 0.2


@pytest.mark.usefixtures("clock")
def test_waits_double_and_differ() -> None:
    """Each wait is at least twice the first of the one before, and no two runs wait the same."""
    waits = []
    for _ in range(2):
        engine = Troubled(*[dspy.LMServerError("overloaded")] * 3)
        tried(asking(engine))
        waits.append(engine.waits)

    for wait in waits:
        assert [least <= each for least, each in zip([0.01, 0.02, 0.04], wait, strict=True)] == [
            True
        ] * 3
    assert waits[0] != waits[1]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    "hint, least, most",
    [(0.1, 0.1, 0.4), (3600.0, 0.1, 0.4), (0.0, 0.01, 0.2), (float("nan"), 0.01, 0.2)],
    ids=["honoured", "capped", "zero", "nan"],
)
def test_the_providers_hint(hint: float, least: float, most: float) -> None:
    """``Retry-After`` is waited for, up to the longest wait; what is no time is no hint."""
    engine = Troubled(limited(hint))

    tried(asking(engine), RetryPolicy(first_wait=0.01, longest_wait=0.1))

    (wait,) = engine.waits
    assert least <= wait < most


def test_rate_limits_are_put_up_with_while_others_are_answered(clock: Clock) -> None:
    """A slow provider makes a run slow, not fail, for as long as it answers anything."""
    engine = Troubled(*[limited()] * 25)
    throttle = Throttle(RetryPolicy(attempts=2, first_wait=0.02, longest_wait=0.02, total=0.2))
    clock.during_wait = throttle.record_response

    assert tried(asking(engine), throttle=throttle) == "2"
    assert engine.calls == 26


@pytest.mark.usefixtures("clock")
def test_rate_limits_end_when_nothing_is_answered() -> None:
    """A provider that only ever refuses is given up after the total."""
    engine = Troubled(*[limited()] * 99)

    with pytest.raises(InfrastructureError, match="slow down"):
        tried(
            asking(engine), RetryPolicy(attempts=2, first_wait=0.02, longest_wait=0.02, total=0.6)
        )

    assert 3 < engine.calls <= 30


def test_the_trouble_is_known_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits can be told why, unless others are answered meanwhile."""
    throttle = Throttle(RetryPolicy(first_wait=0.01, longest_wait=0.01))
    engine = Troubled(*[limited()] * 100_000)
    thread = threading.Thread(target=tried, args=(asking(engine),), kwargs={"throttle": throttle})
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


# --- All together ------------------------------------------------------------------------------


def test_a_rate_limit_holds_everybody(clock: Clock) -> None:
    """While one waits for a rate limit nobody else begins a call, then they come one by one."""
    throttle = Throttle(RetryPolicy(first_wait=0.01, longest_wait=1))
    first, others = Troubled(limited(0.3)), [Troubled() for _ in range(5)]

    def ask_together() -> None:
        clock.during_wait = clock.do_nothing
        started = clock.now
        for other in others:
            clock.now = started
            tried(asking(other), throttle=throttle)
        clock.now = started

    clock.during_wait = ask_together
    tried(asking(first), throttle=throttle)

    begun = [other.times[0] - first.times[0] for other in others]
    assert min(begun) >= 0.3
    assert max(begun) - min(begun) > 0.005


@pytest.mark.usefixtures("clock")
def test_calls_in_the_middle_of_a_row_are_held_too() -> None:
    """A program of several calls does not go on asking during a pause."""
    throttle = Throttle()
    engine = Troubled()
    ask = asking(engine)

    def work() -> str:
        ask()
        throttle.pause(0.2)
        return ask()

    tried(work, throttle=throttle)

    assert engine.waits[0] >= 0.2


def test_other_trouble_holds_nobody(clock: Clock) -> None:
    """A connection that broke is the matter of one row."""
    throttle = Throttle(RetryPolicy(first_wait=2.0))
    troubled, other = Troubled(dspy.LMTransportError("reset")), Troubled()
    clock.during_wait = lambda: other.times or tried(asking(other), throttle=throttle)
    tried(asking(troubled), throttle=throttle)

    assert other.times == troubled.times[:1]


# --- Stopping ----------------------------------------------------------------------------------


class Interrupted(Throttle):
    """Is stopped by another thread as soon as somebody waits."""

    def wait(self, seconds: float) -> bool:
        threading.Thread(target=self.stop).start()
        return super().wait(seconds)


@pytest.mark.parametrize("waiting", ["to ask again", "for a pause"])
def test_stopping_ends_all_waits(waiting: str) -> None:
    """Whoever waits when the run stops gives up, however long the wait would be."""
    throttle = Interrupted(RetryPolicy(first_wait=3600, longest_wait=3600, total=9999))
    engine = Troubled(*([dspy.LMServerError("503")] if waiting == "to ask again" else []))
    if waiting == "for a pause":
        throttle.pause(3600)

    with pytest.raises(InfrastructureError, match="stopping"):
        tried(asking(engine), throttle=throttle)

    assert engine.calls == (waiting == "to ask again")


def test_what_is_under_way_when_the_run_stops_is_finished() -> None:
    """A row that is answered after that is a row; one that fails is not asked again."""
    throttle = Throttle()
    answered, refused = asking(Troubled()), asking(engine := Troubled(limited(9.0)))

    def row() -> str:
        throttle.stop()
        return retry_lm_errors(answered, "testing")

    def failing() -> str:
        throttle.stop()
        return retry_lm_errors(refused, "testing")

    assert throttled(throttle, row) == "2"
    throttle = Throttle()
    with pytest.raises(InfrastructureError, match="slow down"):
        throttled(throttle, failing)
    assert engine.calls == 1


def test_nothing_begins_after_lasting_trouble() -> None:
    """Who comes next hears the provider's words, and asks nobody."""
    throttle = Throttle()
    with pytest.raises(InfrastructureError, match="no credit") as first:
        tried(asking(Troubled(dspy.LMBillingError("no credit"))), throttle=throttle)
    engine = Troubled()
    with pytest.raises(InfrastructureError, match="no credit") as second:
        tried(asking(engine), throttle=throttle)
    assert engine.calls == 0
    assert str(second.value) == str(first.value)


@pytest.mark.usefixtures("clock")
def test_waiting_leaves_the_seeded_draws_alone() -> None:
    """Jitter does not use up the random numbers of a program that has seeded them."""
    errors = [limited(0.01), dspy.LMServerError("503")]

    def work() -> str:
        if errors:
            raise errors.pop()
        return "done"

    random.seed(5)
    before = random.getstate()

    assert tried(work) == "done"
    assert random.getstate() == before


def test_outside_of_workers_there_is_a_pace_too() -> None:
    """Work that nobody started on threads is asked again like any other."""
    with dspy.context(lm=scripted_lm(base=100)):
        answer = retry_lm_errors(
            lambda: dspy.Predict("question -> answer")(question="1 + 1"), "asking"
        )

    assert answer.answer == "2"
