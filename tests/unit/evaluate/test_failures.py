from __future__ import annotations

import builtins
import http.client
import urllib.error
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dspy
import faulty
import pytest
from dspy.utils import exceptions
from dspy.utils.exceptions import (
    AdapterParseError,
    ContextWindowExceededError,
    LMRateLimitError,
)

from pytest_mipro.errors import InfrastructureError, ProgramError
from pytest_mipro.evaluate.evaluator import Evaluator
from pytest_mipro.evaluate.failures import (
    check_not_broken,
    failure_of,
    infrastructure_cause,
    infrastructure_error,
    is_caused_by_prompt,
    is_rate_limit,
    is_temporary,
    retry_after,
)
from pytest_mipro.records import Failure, Row, Usage

if TYPE_CHECKING:
    from pytest_mipro.records import FailureReason


pytestmark = pytest.mark.uses("dspy")

RATE = LMRateLimitError("slow down", model="openai/gpt-test", status=429)
LONG = ContextWindowExceededError(model="openai/gpt-test")
SIGNATURE: Any = dspy.ensure_signature("a -> b")
FILTERED = exceptions.LMInvalidRequestError("filtered", provider_code="content_filter", status=400)
PARSE = AdapterParseError("ChatAdapter", SIGNATURE, "nonsense")


def caused(error: Exception, cause: BaseException) -> Exception:
    """Return ``error`` as raised from ``cause``."""
    error.__cause__, error.__suppress_context__ = cause, True
    return error


def during(error: Exception, context: BaseException) -> Exception:
    """Return ``error`` as raised while ``context`` was handled."""
    error.__context__ = context
    return error


def hidden(error: Exception, context: BaseException) -> Exception:
    """Return ``error`` as raised ``from None`` while ``context`` was handled."""
    error.__context__, error.__suppress_context__ = context, True
    return error


# --- Causes --------------------------------------------------------------------------------


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
    """The cause is the provider's error, in whatever way the program wraps it."""
    assert infrastructure_cause(error) is (cause or error)


@pytest.mark.parametrize(
    "error_type",
    [
        error_type
        for error_type in vars(exceptions).values()
        if isinstance(error_type, type)
        and issubclass(error_type, dspy.LMError)
        and not issubclass(error_type, ContextWindowExceededError)
    ],
)
def test_every_language_model_error_is_a_cause(error_type: type[dspy.LMError]) -> None:
    """No class of DSPy's errors is a failure of the program."""
    error = error_type("no response")

    assert infrastructure_cause(error) is error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no number in the answer"),
        PARSE,
        LONG,
        FILTERED,
        caused(ValueError("x"), LONG),
        during(ValueError("x"), PARSE),
        TimeoutError("the program's own"),
        ConnectionError("the program's own database"),
    ],
    ids=[
        "value",
        "parse",
        "long",
        "filtered",
        "caused by long",
        "during parse",
        "timeout",
        "connection",
    ],
)
def test_other_errors_are_the_programs(error: Exception) -> None:
    """Unparsable responses, long prompts and the program's own exceptions have no such cause."""
    assert infrastructure_cause(error) is None


def test_cycle_of_causes_ends() -> None:
    """Two errors that have each other as cause do not loop."""
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first

    assert infrastructure_cause(first) is None


def test_error_behind_both_a_cause_and_a_context_is_found() -> None:
    """A cause does not hide the model error in the context."""
    error = during(ValueError("x"), RATE)
    error.__cause__ = KeyError("not the reason")

    assert infrastructure_cause(error) is RATE


def test_error_in_a_group_is_found() -> None:
    """A program that calls models in a task group raises a group."""
    group = getattr(builtins, "ExceptionGroup", None)
    if group is None:
        pytest.skip("Python 3.10 has no exception groups")

    assert infrastructure_cause(group("calls failed", [ValueError("x"), RATE])) is RATE


TEMPORARY = [
    *("LIMITED", "LIMITED_WITHOUT_HINT", "BROKEN", "UNAVAILABLE"),
    *("DROPPED", "HANGING", "CUT", "GARBAGE", "HTML"),
]
PERMANENT = ["NO_QUOTA", "REVOKED", "FORBIDDEN", "REFUSED", "NOT_FOUND"]


def caught_from(server: faulty.Server, reply: faulty.Reply) -> Exception:
    """Return the error that DSPy raises for a reply of the server."""
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


@pytest.mark.parametrize("name", [*TEMPORARY, *PERMANENT])
def test_errors_over_the_wire(server: faulty.Server, name: str) -> None:
    """An error reply of a server is the provider's, and either temporary or permanent."""
    error = caught_from(server, getattr(faulty, name))

    assert infrastructure_cause(error) is error
    assert is_temporary(error) == (name in TEMPORARY)
    assert is_rate_limit(error) == name.startswith("LIMITED")
    seconds = float(faulty.HINT["Retry-After"])
    has_time = name in {"LIMITED", "BROKEN", "UNAVAILABLE"}
    assert retry_after(error) == (seconds if has_time else None)


@pytest.mark.parametrize("name", ["TOO_LONG", "FILTERED_PROMPT"])
def test_a_prompt_that_is_rejected_over_the_wire(server: faulty.Server, name: str) -> None:
    """The candidate caused this reply of a server, so it has no provider's error as cause."""
    error = caught_from(server, getattr(faulty, name))

    assert infrastructure_cause(error) is None
    assert is_caused_by_prompt(error)


def test_a_host_name_that_does_not_resolve_is_temporary() -> None:
    """A failure of DNS is an error of the network."""
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

    assert is_temporary(caught.value)


@pytest.mark.parametrize("value", [None, "soon", -1, 0, float("inf"), float("nan")])
def test_a_retry_after_that_is_no_time_is_ignored(value: Any) -> None:
    """Only a positive finite number is a time to wait."""
    error = LMRateLimitError("slow down")
    error.retry_after = value

    assert retry_after(error) is None


def test_the_providers_error_precedes_our_wrapper() -> None:
    """The cause of a wrapped provider's error is the provider's error."""
    assert infrastructure_cause(caused(InfrastructureError("ours"), RATE)) is RATE


# --- Messages ------------------------------------------------------------------------------


def test_an_infrastructure_error_has_the_cause_and_the_next_step() -> None:
    """Its message has the work, the provider's error, that it is no score, and the next step."""
    message = str(infrastructure_error(RATE, "evaluating Router"))

    assert "failed while evaluating Router: LMRateLimitError: " in message
    assert "slow down" in message
    assert "no score" in message
    assert "the same command goes on from there" in message


def test_an_error_of_a_key_says_what_to_check() -> None:
    """Asking again alone does not mend it."""
    message = str(infrastructure_error(dspy.LMAuthError("the key was revoked"), "running Router"))

    first, next_step, _ = message.splitlines()
    assert first.endswith("LMAuthError: the key was revoked")
    assert next_step == "check the API key of the model, and that it may use this model"


def test_an_infrastructure_error_is_not_wrapped() -> None:
    """An error that already stops the run is the same object."""
    error = InfrastructureError("the model is gone")

    assert infrastructure_error(error, "evaluating Router") is error


def fail_deeply(depth: int) -> None:
    """Raise below ``depth`` frames."""
    if depth:
        fail_deeply(depth - 1)
    raise ValueError("no number in 'many'")


def failure_from(call: Any) -> Any:
    """Return the failure of a call."""
    try:
        call()
    except Exception as error:  # ruff: ignore[blind-except]  # as the evaluator does
        return failure_of(error)
    raise AssertionError("it did not fail")


def test_a_failure_has_type_message_and_traceback() -> None:
    """The traceback has the function and the file that raised."""
    failure = failure_from(lambda: fail_deeply(0))

    assert failure.type == "ValueError"
    assert failure.message == "no number in 'many'"
    assert failure.traceback.rstrip().endswith("ValueError: no number in 'many'")
    assert "in fail_deeply" in failure.traceback
    assert "test_failures.py" in failure.traceback


def test_a_deep_traceback_is_shortened() -> None:
    """A failure has the innermost frames only."""
    failure = failure_from(lambda: fail_deeply(200))

    assert 1 <= failure.traceback.count("in fail_deeply") <= 8
    assert 'raise ValueError("no number' in failure.traceback
    assert len(failure.traceback) < 1500


def test_a_failure_has_the_cause() -> None:
    """The traceback includes that of the error's cause."""

    def fail() -> None:
        try:
            {}["queue"]  # type: ignore[index]  # that is the failure
        except KeyError as error:
            raise ValueError("no queue") from error

    failure = failure_from(fail)

    assert failure.type == "ValueError"
    assert "KeyError: 'queue'" in failure.traceback


class ConnectTimeout(Exception):
    """An error as client libraries raise it, of a class that we do not know."""


@pytest.mark.parametrize(
    "error, faults, reason",
    [
        (ValueError("x"), [], ""),
        (ValueError("x"), ["token limit"], "token limit"),
        (PARSE, ["filter", "token limit"], "token limit"),
        (PARSE, ["refusal"], "refusal"),
        (PARSE, ["no answer"], "unreadable"),
        (PARSE, [], "unreadable"),
        (caused(ValueError("x"), PARSE), [], "unreadable"),
        (LONG, ["token limit"], "context window"),
        (caused(KeyError("x"), FILTERED), [], "filter"),
        (ConnectionRefusedError("database"), [], "connection"),
        (TimeoutError(), [], "connection"),
        (ConnectTimeout(), [], "connection"),
        (urllib.error.URLError("no route"), [], "connection"),
        (http.client.RemoteDisconnected("gone"), [], "connection"),
        (during(RuntimeError("search"), ConnectTimeout()), [], "connection"),
        (FileNotFoundError("x"), [], ""),
        (DeprecationWarning("old"), [], "warning"),
    ],
)
def test_a_failure_has_a_reason(error: Exception, faults: list[Any], reason: str) -> None:
    """It comes from the prompt, the last faulty reply, or a service of the program."""
    failure = failure_of(error, faults)

    assert failure.reason == reason
    assert failure.type == type(error).__name__
    assert type(failure).from_dict(failure.to_dict()) == failure


def test_a_failure_says_what_to_change() -> None:
    """The advice precedes the message, and follows the traceback."""
    failure = failure_of(PARSE, ["token limit"])

    assert failure.message.startswith("the answer was cut at the model's token limit: raise its ")
    assert "nonsense" in failure.message
    assert failure.traceback.endswith("raise its max_tokens\n")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_that_cannot_be_printed_is_a_failure() -> None:
    """An exception whose ``str`` raises has a failure with its type."""

    def fail() -> None:
        raise UnprintableError

    failure = failure_from(fail)

    assert failure.type == "UnprintableError"
    assert type(failure).from_dict(failure.to_dict()) == failure


def test_the_traceback_begins_with_the_program() -> None:
    """It has no frame of this package or of tenacity."""
    evaluator = Evaluator(lambda *_: True, {}, "key")

    class Broken(dspy.Module):
        def forward(self, question: str) -> None:
            raise ValueError(question)

    run = evaluator.run(Broken(), dspy.Example(question="?").with_inputs("question"))

    assert run.failure is not None
    assert "in forward" in run.failure.traceback
    assert "evaluator.py" not in run.failure.traceback
    assert "tenacity" not in run.failure.traceback


# --- Broken programs -----------------------------------------------------------------------


def rows(*error_types: str | None) -> list[Row]:
    """Return rows that failed with exceptions of these types, or with None did not fail."""
    return [
        Row(
            str(n),
            0.0 if error_type else 1.0,
            None,
            Usage(),
            Failure(error_type, f"no. {n}", f"trace {n}\n") if error_type else None,
        )
        for n, error_type in enumerate(error_types)
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
def test_a_bad_program_is_not_refused(types: tuple[str | None, ...]) -> None:
    """Up to half of the rows may fail with one type of exception, and all with several."""
    check_not_broken("the baseline program", rows(*types))


@pytest.mark.parametrize(
    "types, count",
    [
        (("KeyError",), 1),
        ((None, "KeyError", "KeyError"), 2),
        (("ValueError", *["KeyError"] * 3), 3),
    ],
)
def test_a_broken_program_is_refused(types: tuple[str | None, ...], count: int) -> None:
    """The error has the number of failures, their type and the first traceback."""
    with pytest.raises(ProgramError) as caught:
        check_not_broken("the compiled program", rows(*types))

    message = str(caught.value)
    assert f"the compiled program failed on {count} of {len(types)} held-out examples" in message
    assert "with KeyError" in message
    assert message.endswith(f"trace {types.index('KeyError')}")


def test_unreadable_answers_of_all_kinds_count_together() -> None:
    """A model that gives no readable answer fails in one way, however its replies are wrong."""
    reasons: list[FailureReason] = ["unreadable", "token limit", "context window", ""]
    failed = [
        replace(row, failure=Failure(f"Error{number}", "message", f"trace {number}\n", reason))
        for number, (row, reason) in enumerate(zip(rows(*"abcd"), reasons, strict=True))
    ]

    with pytest.raises(ProgramError, match=r"failed on 3 of 4 .* with no readable answer"):
        check_not_broken("the baseline program", failed)


def test_an_infrastructure_error_has_the_stored_rows_and_the_command() -> None:
    """The number of stored rows and the command are added after the error was made."""
    error = infrastructure_error(RATE, "running Router", "3 attempts in 9 s")
    error.stored = 41
    error.command = "pytest --mipro tests/test_router.py"

    *_, attempts, rest = str(error).splitlines()
    assert attempts == "3 attempts in 9 s"
    assert rest == (
        "this is no score; everything finished so far is safe in the store, which holds 41 rows, "
        "and `pytest --mipro tests/test_router.py` goes on from there"
    )
