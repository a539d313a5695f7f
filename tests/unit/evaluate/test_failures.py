from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import dspy
import faulty
import pytest
from dspy.utils import exceptions
from dspy.utils.exceptions import (
    AdapterParseError,
    ContextWindowExceededError,
    LMAuthError,
    LMRateLimitError,
    LMTransportError,
)
from scripted import ScriptedEngine, scripted_lm

from pytest_mipro.errors import InfrastructureError, ProgramError
from pytest_mipro.evaluate.evaluator import Evaluator
from pytest_mipro.evaluate.failures import (
    CallWatch,
    blame_program,
    infrastructure_cause,
    is_passing,
    is_rate_limit,
    refuse_broken,
    retry_after,
    surface,
)
from pytest_mipro.records import Failure, Row, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dspy import lm15

pytestmark = pytest.mark.uses("dspy")

RATE = LMRateLimitError("slow down", model="openai/gpt-test", status=429)
LONG = ContextWindowExceededError(model="openai/gpt-test")
SIGNATURE: Any = dspy.ensure_signature("a -> b")
PARSE = AdapterParseError("ChatAdapter", SIGNATURE, "nonsense")


def caused(error: Exception, cause: BaseException) -> Exception:
    """Return ``error`` as raised from ``cause``."""
    error.__cause__, error.__suppress_context__ = cause, True
    return error


def during(error: Exception, other: BaseException) -> Exception:
    """Return ``error`` as raised while ``other`` was handled."""
    error.__context__ = other
    return error


def hidden(error: Exception, other: BaseException) -> Exception:
    """Return ``error`` as raised ``from None`` while ``other`` was handled."""
    error.__context__, error.__suppress_context__ = other, True
    return error


# --- Whose fault ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error, cause",
    [
        (RATE, RATE),
        (InfrastructureError("gone"), None),
        (caused(ValueError("x"), RATE), RATE),
        (during(ValueError("x"), RATE), RATE),
        (hidden(ValueError("x"), RATE), RATE),
        (caused(KeyError("y"), caused(ValueError("x"), RATE)), RATE),
        (during(KeyError("y"), caused(ValueError("x"), RATE)), RATE),
    ],
    ids=["itself", "ours", "cause", "context", "from None", "cause of a cause", "mixed"],
)
def test_language_model_error_is_found(error: Exception, cause: Exception | None) -> None:
    """However the program wraps it, the error behind it is the provider's."""
    assert infrastructure_cause(error) is (cause or error)


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(exceptions).values()
        if isinstance(kind, type)
        and issubclass(kind, dspy.LMError)
        and not issubclass(kind, ContextWindowExceededError)
    ],
)
def test_every_language_model_error_counts(kind: type[dspy.LMError]) -> None:
    """Rate limits, dead keys, outages and unknown failures are never the program's."""
    error = kind("no answer")

    assert infrastructure_cause(error) is error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no number in the answer"),
        PARSE,
        LONG,
        caused(ValueError("x"), LONG),
        during(ValueError("x"), PARSE),
        TimeoutError("the program's own"),
        ConnectionError("the program's own database"),
    ],
    ids=["value", "parse", "long", "caused by long", "during parse", "timeout", "connection"],
)
def test_other_errors_are_the_programs(error: Exception) -> None:
    """Answers that cannot be parsed and prompts that are too long are the candidate's doing."""
    assert infrastructure_cause(error) is None


def test_cycle_of_causes_ends() -> None:
    """Errors that name each other as cause are looked at once."""
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one

    assert infrastructure_cause(one) is None


def test_error_behind_both_a_cause_and_a_context_is_found() -> None:
    """An error raised from another one while a model error is handled does not hide it."""
    error = during(ValueError("x"), RATE)
    error.__cause__ = KeyError("not the reason")

    assert infrastructure_cause(error) is RATE


def test_error_in_a_group_is_found() -> None:
    """A program that asks in a task group fails with a group."""
    group = getattr(builtins, "ExceptionGroup", None)
    if group is None:
        pytest.skip("Python 3.10 has no exception groups")

    assert infrastructure_cause(group("asked", [ValueError("x"), RATE])) is RATE


@pytest.fixture(scope="module")
def server() -> Iterator[faulty.Server]:
    """Return a server that fails as it is told to."""
    with faulty.Server.running() as running:
        yield running


PASSING = [
    *("LIMITED", "LIMITED_WITHOUT_HINT", "BROKEN", "UNAVAILABLE"),
    *("DROPPED", "HANGING", "CUT", "GARBAGE", "HTML"),
]
LASTING = ["NO_QUOTA", "REVOKED", "FORBIDDEN", "REFUSED", "NOT_FOUND"]


def caught_from(server: faulty.Server, reply: faulty.Reply) -> Exception:
    """Return what DSPy raises when a server replies like that."""
    server.reset(lambda _: reply)
    lm = dspy.LM(
        "openai/faulty",
        api_base=server.address,
        api_key="x",
        engine="lm15",
        cache=False,
        num_retries=0,
        timeout=0.5,
    )
    with pytest.raises(dspy.LMError) as caught:
        lm("hello")
    return caught.value


@pytest.mark.parametrize("name", [*PASSING, *LASTING])
def test_what_a_server_can_do(server: faulty.Server, name: str) -> None:
    """Each way to fail, as it comes over the wire, is the provider's, and passes or lasts."""
    error = caught_from(server, getattr(faulty, name))

    assert infrastructure_cause(error) is error
    assert is_passing(error) == (name in PASSING)
    assert is_rate_limit(error) == name.startswith("LIMITED")
    hint = float(faulty.HINT["Retry-After"])
    hinted = name in {"LIMITED", "BROKEN", "UNAVAILABLE"}
    assert retry_after(error) == (hint if hinted else None)


def test_a_prompt_too_long_is_none_of_the_servers_faults(server: faulty.Server) -> None:
    """The one refusal that is the candidate's own doing, as it comes over the wire."""
    assert infrastructure_cause(caught_from(server, faulty.TOO_LONG)) is None


def test_name_that_does_not_resolve_may_pass() -> None:
    """Where DNS fails, the network is to blame."""
    lm = dspy.LM(
        "openai/faulty",
        api_base="http://nowhere.invalid/v1",
        api_key="x",
        engine="lm15",
        cache=False,
        num_retries=0,
    )
    with pytest.raises(dspy.LMError) as caught:
        lm("hello")

    assert is_passing(caught.value)


@pytest.mark.parametrize("hint", [None, "soon", -1, 0, float("inf"), float("nan")])
def test_what_is_no_time_is_no_hint(hint: Any) -> None:
    """A provider's hint that cannot be waited for is left aside."""
    error = LMRateLimitError("slow down")
    error.retry_after = hint

    assert retry_after(error) is None


def test_the_models_error_is_named_not_our_wrapping_of_it() -> None:
    """An error that stops a run and comes by again still shows the provider's words."""
    assert infrastructure_cause(caused(InfrastructureError("ours"), RATE)) is RATE


# --- Watching calls ------------------------------------------------------------------------


class Unreachable(ScriptedEngine):
    """Fails with the given errors, one per call, then answers."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(base=100)
        self._errors = list(errors)

    def complete(self, request: lm15.Request) -> lm15.Response:
        response = super().complete(request)
        if self._errors:
            raise self._errors.pop(0)
        return response


def ask(*errors: Exception) -> tuple[CallWatch, list[Exception]]:
    """Ask a model once per error and once more, swallowing; return what was seen."""
    watch = CallWatch()
    lm = dspy.LM("scripted", engine=Unreachable(*errors), cache=False, num_retries=0)
    raised: list[Exception] = []
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(), callbacks=[watch]):
        for _ in range(len(errors) + 1):
            raised += _raised_by_asking()
    return watch, raised


def _raised_by_asking() -> list[Exception]:
    try:
        dspy.Predict("question -> answer")(question="1 + 1")
    except dspy.LMError as error:
        return [error]
    return []


def test_swallowed_error_is_remembered() -> None:
    """A program that goes on after a model error does not hide it."""
    watch, raised = ask(RATE)

    assert isinstance(watch.error, LMRateLimitError)
    assert len(raised) == 1


def test_first_error_is_kept() -> None:
    """Later errors do not replace the one that began it."""
    watch, raised = ask(LMAuthError("dead key"), LMTransportError("reset"))

    assert isinstance(watch.error, LMAuthError)
    assert len(raised) == 2


def test_answers_leave_no_error() -> None:
    """Nothing is remembered of calls that were answered."""
    watch, raised = ask()

    assert watch.error is None
    assert raised == []


def test_long_prompt_is_not_remembered() -> None:
    """A prompt that is too long is no reason to stop, and hides no later reason."""
    watch = CallWatch()

    watch.on_lm_end("1", None, LONG)
    assert watch.error is None
    watch.on_lm_end("2", {"answer": "yes"})
    assert watch.error is None
    watch.on_lm_end("3", None, RATE)
    assert watch.error is RATE


def test_watch_sees_only_its_own_context() -> None:
    """Rows that run at the same time do not share their errors."""
    mine, other = CallWatch(), CallWatch()
    with dspy.context(lm=scripted_lm(), callbacks=[mine]):
        dspy.Predict("question -> answer")(question="1 + 1")
    lm = dspy.LM("scripted", engine=Unreachable(RATE), cache=False, num_retries=0)
    with dspy.context(lm=lm, callbacks=[other]), pytest.raises(LMRateLimitError):
        dspy.Predict("question -> answer")(question="1 + 1")

    assert mine.error is None
    assert isinstance(other.error, LMRateLimitError)


def test_watch_holds_calls_and_hears_answers() -> None:
    """Before each call it waits until the model may be asked; after an answer it says so."""
    heard: list[str] = []
    watch = CallWatch(heard.append, lambda: heard.append("answered"))
    lm = dspy.LM("scripted", engine=Unreachable(RATE), cache=False, num_retries=0)
    with dspy.context(lm=lm, callbacks=[watch]):
        _raised_by_asking()
        _raised_by_asking()

    assert heard == ["scripted", "scripted", "answered"]


# --- What is said --------------------------------------------------------------------------


def test_surface_says_what_happened_and_how_to_go_on() -> None:
    """The error names what was done, what failed, that it is no score, and the next step."""
    message = str(surface(RATE, "evaluating Router"))

    assert "failed while evaluating Router: LMRateLimitError: " in message
    assert "slow down" in message
    assert "no score" in message
    assert "the same command goes on from there" in message


def test_surface_leaves_our_own_error_alone() -> None:
    """What already stops a run is not wrapped again."""
    error = InfrastructureError("the model is gone")

    assert surface(error, "evaluating Router") is error


def fail_deeply(depth: int) -> None:
    """Raise below ``depth`` frames."""
    if depth:
        fail_deeply(depth - 1)
    raise ValueError("no number in 'many'")


def blamed(call: Any) -> Any:
    """Return the failure of a call."""
    try:
        call()
    except Exception as error:  # ruff: ignore[blind-except]  # as the runner does
        return blame_program(error)
    raise AssertionError("it did not fail")


def test_blame_says_type_message_and_place() -> None:
    """A failure is text that shows where the program broke."""
    failure = blamed(lambda: fail_deeply(0))

    assert failure.type == "ValueError"
    assert failure.message == "no number in 'many'"
    assert failure.traceback.rstrip().endswith("ValueError: no number in 'many'")
    assert "in fail_deeply" in failure.traceback
    assert "test_failures.py" in failure.traceback


def test_blame_of_a_deep_failure_is_short_and_ends_at_the_error() -> None:
    """Only the innermost frames are kept."""
    failure = blamed(lambda: fail_deeply(200))

    assert 1 <= failure.traceback.count("in fail_deeply") <= 8
    assert 'raise ValueError("no number' in failure.traceback
    assert len(failure.traceback) < 1500


def test_blame_shows_the_cause() -> None:
    """An error raised from another one keeps it."""

    def fail() -> None:
        try:
            {}["queue"]  # type: ignore[index]  # that is the failure
        except KeyError as error:
            raise ValueError("no queue") from error

    failure = blamed(fail)

    assert failure.type == "ValueError"
    assert "KeyError: 'queue'" in failure.traceback


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_blame_of_an_error_without_words() -> None:
    """An exception that cannot be printed is a failure like others."""

    def fail() -> None:
        raise Unspeakable

    failure = blamed(fail)

    assert failure.type == "Unspeakable"
    assert type(failure).from_dict(failure.to_dict()) == failure


def test_blame_begins_with_the_program() -> None:
    """Frames that lead from us to the program are not shown."""
    bench = Evaluator(lambda *_: True, {}, "key")

    class Broken(dspy.Module):
        def forward(self, question: str) -> None:
            raise ValueError(question)

    run = bench.run(Broken(), dspy.Example(question="?").with_inputs("question"))

    assert run.failure is not None
    assert "in forward" in run.failure.traceback
    assert "runner.py" not in run.failure.traceback
    assert "tenacity" not in run.failure.traceback


# --- Broken programs -----------------------------------------------------------------------


def rows(*types: str | None) -> list[Row]:
    """Return rows that failed with exceptions of these types, or did not fail."""
    return [
        Row(
            str(n),
            0.0 if kind else 1.0,
            None,
            Usage(),
            Failure(kind, f"no. {n}", f"trace {n}\n") if kind else None,
        )
        for n, kind in enumerate(types)
    ]


@pytest.mark.parametrize(
    "types",
    [
        (),
        (None,),
        ("KeyError", None),
        ("KeyError", "KeyError", None, None),
        ("KeyError", "ValueError", "KeyError", "ValueError"),
        ("KeyError", "ValueError", "TypeError"),
    ],
)
def test_a_bad_program_has_a_score(types: tuple[str | None, ...]) -> None:
    """Up to half of the rows may fail alike, and all in ways of their own."""
    refuse_broken("the baseline program", rows(*types))


@pytest.mark.parametrize(
    "types, count",
    [
        (("KeyError",), 1),
        ((None, "KeyError", "KeyError"), 2),
        (("ValueError", *["KeyError"] * 3), 3),
    ],
)
def test_a_broken_program_has_none(types: tuple[str | None, ...], count: int) -> None:
    """More than half failing alike is an error that says how many, with what, and shows one."""
    with pytest.raises(ProgramError) as caught:
        refuse_broken("the compiled program", rows(*types))

    message = str(caught.value)
    assert f"the compiled program failed on {count} of {len(types)} held-out examples" in message
    assert "with KeyError" in message
    assert message.endswith(f"trace {types.index('KeyError')}")


def test_infrastructure_error_says_what_is_safe_and_how_to_go_on() -> None:
    """Whoever knows the count and the command can fill them in."""
    error = surface(RATE, "running Router", "asked 3 times, over 9 s")
    error.stored = 41
    error.command = "pytest --mipro tests/test_router.py"

    *_, tried, rest = str(error).splitlines()
    assert tried == "asked 3 times, over 9 s"
    assert rest == (
        "this is no score; everything finished so far is safe in the store, which holds 41 rows, "
        "and `pytest --mipro tests/test_router.py` goes on from there"
    )
