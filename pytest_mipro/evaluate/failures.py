"""Decide whether the program, the provider or the metric caused an exception.

Bootstrapping, proposals, search and verdict all use this module:

==================================================  ==========================================
exception                                           consequence
==================================================  ==========================================
429, 5xx, timeout, reset, DNS, response not JSON,   the provider's, and temporary: retried, see
a reply without an answer                           ``retrying.py``; then the run stops
key, billing, configuration, invalid request        the provider's, and permanent: the run
                                                    stops
prompt too long, a reply that was cut, filtered or  the program's: a failure of the row,
refused or cannot be parsed, an exception in the    score 0; the next run asks again
user's module
the metric raises or returns no score               the metric's: the run stops
==================================================  ==========================================

The error of a language model call counts even if the program catches it.
"""

from __future__ import annotations

import asyncio
import math
import re
import signal
import socket
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import dspy
from dspy import (
    AdapterParseError,
    ContextWindowExceededError,
    LMInvalidRequestError,
    LMStreamAssemblyError,
    is_retryable_lm_error,
)

from pytest_mipro.canonical import plain, readable_json
from pytest_mipro.errors import InfrastructureError, ProgramError
from pytest_mipro.evaluate.reported_error import ReportedError
from pytest_mipro.records import Failure, ReplyReason
from pytest_mipro.redaction import SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from pytest_mipro.evaluate.replies import ReplyFault
    from pytest_mipro.records import FailureReason, Row

_NO_LM = "No LM is loaded"
"""The beginning of DSPy's error if its settings have no model; those of a row have one."""
_FRAMES = 8
"""Innermost frames of a traceback that a failure shows."""
_FOLDER = str(Path(__file__).parent)
_TOO_MANY_REQUESTS = 429
_TEMPORARY_STATUS = {408, _TOO_MANY_REQUESTS, *range(500, 600)}
_NETWORK = (ConnectionError, TimeoutError, asyncio.TimeoutError, socket.gaierror)
_SERVICE = re.compile(r"connect|timeout|http|urlerror|transport|unavailable", re.IGNORECASE)
"""The class names of client libraries for a service that cannot be reached or fails."""
_HALF_CHARACTER = re.compile(r"lone surrogate|surrogates not allowed")
"""What DSPy and Python say of a text that cannot be sent."""
_FILTERED = {"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"}
"""The codes of providers that refuse a request because of its content."""
_EXPLANATIONS: dict[FailureReason, str] = {
    "token limit": "the answer was cut at the model's token limit: raise its max_tokens",
    "filter": (
        "the provider's content filter withheld the answer: change the example, the instruction "
        "or the filter's settings"
    ),
    "refusal": "the model refused to answer: change the example or the instruction",
    "context window": (
        "the prompt is longer than the model's context window: ask for fewer demos, shorten the "
        "inputs, or take another model"
    ),
    "connection": "a service that the program uses failed; the next run asks again",
    "warning": "a warning filter turned a warning into this exception: see filterwarnings",
}
_NEXT_STEPS = {
    "LMAuthError": "check the API key of the model, and that it may use this model",
    "LMBillingError": "check the account that pays for the model",
}
"""What to do about errors that asking again does not mend, by the names of their types."""
_REPLY_REASONS = get_args(ReplyReason)


def infrastructure_cause(error: BaseException) -> BaseException | None:
    """Return the language model error that caused ``error``, or None.

    A prompt that is too long for the model, or that its provider filters, does not count: the
    candidate or the example caused it.
    """
    chain = list(_chain(error, set()))
    for error_type in (dspy.LMError, InfrastructureError):
        for cause in chain:
            if isinstance(cause, error_type):
                return cause
    return None


def _chain(error: BaseException, visited: set[int]) -> Iterator[BaseException]:
    """Yield ``error`` and the errors behind it, without those that a prompt caused."""
    if id(error) in visited or is_caused_by_prompt(error):
        return
    visited.add(id(error))
    yield error
    for related in _behind(error):
        yield from _chain(related, visited)


def _behind(error: BaseException) -> list[BaseException]:
    """Return the errors in the group of ``error``, its cause and its context."""
    # By name, because Python 3.10 has groups only from a package.
    group = getattr(error, "exceptions", ())
    members = group if isinstance(group, tuple) else ()
    related = (*members, error.__cause__, error.__context__)
    return [item for item in related if isinstance(item, BaseException)]


def is_caused_by_prompt(error: BaseException) -> bool:
    """Whether a model rejected a prompt for its length or its content."""
    return _prompt_reason(error) is not None or _is_unencodable(error)


def _prompt_reason(error: BaseException) -> FailureReason | None:
    if isinstance(error, ContextWindowExceededError):
        return "context window"
    is_filtered = isinstance(error, LMInvalidRequestError) and error.provider_code in _FILTERED
    return "filter" if is_filtered else None


def _is_unencodable(error: BaseException) -> bool:
    """Whether a prompt has half of a character, such as one that another reply was cut in."""
    return isinstance(error, ValueError) and bool(_HALF_CHARACTER.search(str(error)))


def is_temporary(error: BaseException) -> bool:
    """Whether a retry of the call may succeed."""
    if isinstance(error, ReportedError):
        return error.is_temporary
    if isinstance(error, Exception) and is_retryable_lm_error(error):
        return True
    if isinstance(error, LMStreamAssemblyError):
        return True  # The connection broke during the response.
    if type(error) is dspy.LMProviderError:
        # The response was not the provider's; most often it is the page of a gateway.
        return error.status is None or error.status in {200, *_TEMPORARY_STATUS}
    if isinstance(error, dspy.LMError):
        return isinstance(error, dspy.LMUnexpectedError) and _is_network(error.__cause__)
    return _is_network(error)


def _is_network(error: BaseException | None) -> bool:
    """Whether an exception that DSPy did not convert comes from the network or the server."""
    return isinstance(error, _NETWORK) or getattr(error, "status_code", None) in _TEMPORARY_STATUS


def overdue_error() -> dspy.LMTimeoutError:
    """Return the error of a call that took longer than it may, although bytes arrive."""
    message = "the response was not complete in time, so the call was given up"
    return dspy.LMTimeoutError(message)


def is_rate_limit(error: BaseException) -> bool:
    """Whether the provider limits the rate of calls."""
    if isinstance(error, ReportedError):
        return error.is_rate_limit
    status = getattr(error, "status_code", None)
    return isinstance(error, dspy.LMRateLimitError) or status == _TOO_MANY_REQUESTS


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that the provider asks to wait, or None."""
    seconds = getattr(error, "retry_after", None)
    is_time = isinstance(seconds, int | float) and math.isfinite(seconds) and seconds > 0
    return seconds if is_time else None


def infrastructure_error(
    error: BaseException, description: str, attempts: str = ""
) -> InfrastructureError:
    """Return the error that stops the run because of ``error``.

    Args:
        error: The error of a language model call.
        description: The work that made the call, such as ``"scoring with the metric"``.
        attempts: The number of attempts, in words.
    """
    if isinstance(error, InfrastructureError):
        return error
    source = error.source if isinstance(error, ReportedError) else "the language model"
    message = f"{source} failed while {description}: {type_and_message(error)}"
    next_step = _NEXT_STEPS.get(_type_name(error), "")
    return InfrastructureError("\n".join(filter(None, [message, attempts, next_step])))


def type_and_message(error: BaseException) -> str:
    """Return the type and the message of ``error``."""
    return f"{_type_name(error)}: {message_of(error)}"


def _type_name(error: BaseException) -> str:
    return error.type_name if isinstance(error, ReportedError) else type(error).__name__


def message_of(error: BaseException) -> str:
    """Return the message of ``error``, without secrets."""
    try:
        text = str(error)
    except Exception:  # ruff: ignore[blind-except] - `__str__` of a user may raise anything
        return "<exception str() failed>"
    return SECRETS.redact_error(text, error)


def frames_of(function: object, error: BaseException) -> str:
    """Return the last line of the file of ``function`` that raised ``error``, and the innermost."""
    code = getattr(function, "__code__", None)
    # Pytest hides the frames of its own ``skip`` and ``fail`` in this way.
    visible = (
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_locals.get("__tracebackhide__")
    )
    trace = traceback.StackSummary.extract(visible)
    frames = [frame for frame in trace if not frame.filename.startswith(_FOLDER)]
    if not frames:
        return f"at {code.co_filename}:{code.co_firstlineno}" if code else "at an unknown place"
    files = {frames[0].filename} if code is None else {code.co_filename, frames[0].filename}
    own = [frame for frame in frames if frame.filename in files]
    lines = (
        f"at {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in (own[-1], frames[-1])
    )
    return "\n".join(dict.fromkeys(lines))


def failure_of(error: BaseException, faults: Sequence[ReplyFault] = ()) -> Failure:
    """Return the failure of a row whose program raised ``error`` after replies with ``faults``."""
    trace = _from_program(error.__traceback__)
    frames = traceback.format_exception(type(error), error, trace, limit=-_FRAMES)
    reason = _reason(error, faults)
    explanation = _EXPLANATIONS.get(reason, "")
    message = "; ".join(filter(None, [explanation, message_of(error)]))
    shown = "".join(frames) + (f"{explanation}\n" if explanation else "")
    return Failure(type(error).__name__, message, SECRETS.redact_error(shown, error), reason)


def _reason(error: BaseException, faults: Sequence[ReplyFault]) -> FailureReason:
    """Return why a program failed: the prompt, the last faulty reply, or its own service."""
    errors = list(_all_behind(error))
    for reason in map(_prompt_reason, errors):
        if reason is not None:
            return reason
    for fault in reversed(faults):
        if fault != "no answer":
            return fault
    if any(isinstance(related, AdapterParseError) for related in errors):
        return "unreadable"
    if any(isinstance(related, Warning) for related in errors):
        return "warning"
    return "connection" if any(map(_is_of_service, errors)) else ""


def _all_behind(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and all errors behind it."""
    visited, pending = set[int](), [error]
    while pending:
        error = pending.pop()
        if id(error) not in visited:
            visited.add(id(error))
            yield error
            pending += _behind(error)


def _is_of_service(error: BaseException) -> bool:
    """Whether an exception of the program comes from a service or the way to it."""
    names = (error_type.__name__ for error_type in type(error).__mro__)
    return _is_network(error) or any(map(_SERVICE.search, names))


def program_error(
    program: dspy.Module, error: BaseException, example: dspy.Example
) -> ProgramError:
    """Return the error that ``program`` raised something that would end the test run."""
    where = frames_of(getattr(type(program), "forward", None), error)
    message = (
        f"{type(program).__name__} raised {type_and_message(error)}{advice_on_exits(error)}\n"
        f"{where}\n{shown(example)}"
    )
    return ProgramError(message)


def would_end_run(error: BaseException) -> bool:
    """Whether an exception ends or skips a test run where nobody catches it."""
    # That of ``pytest.exit`` is the only such ``Exception``.
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    return not isinstance(error, Exception) or name == "_pytest.outcomes.Exit"


def is_from_signal(error: BaseException) -> bool:
    """Whether the handler of a signal raised, in whatever code was just running.

    The time limit of pytest-timeout does.
    """
    handlers = map(signal.getsignal, signal.valid_signals())
    codes = {getattr(handler, "__code__", None) for handler in handlers} - {None}
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


def advice_on_exits(error: BaseException) -> str:
    """Return what to do about an exception that would end or skip the test run, if it is one."""
    if not would_end_run(error):
        return ""
    return (
        ", which would end or skip the test run and is no score; raise an Exception where an "
        "answer fails, and skip the test itself before it asks for the outcome"
    )


def shown(example: dspy.Example) -> str:
    """Return an example in a line of a message."""
    return f"on the example {readable_json(plain(example.toDict(), fallback=repr)):.300}"


def _from_program(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of this package that call the program."""
    start = trace
    while trace is not None:
        if trace.tb_next and trace.tb_frame.f_code.co_filename.startswith(_FOLDER):
            start = trace.tb_next
        trace = trace.tb_next
    return start


def check_not_broken(
    program: str, rows: Sequence[Row], examples: str = "held-out examples"
) -> None:
    """Raise if a program failed on more than half of ``rows`` in the same way.

    Such a program is broken, and its score would not be a measurement. Replies that give no
    readable answer are one way, and each type of exception is another.

    Args:
        program: Its name in the message, such as ``"the baseline program"``.
        rows: Its rows.
        examples: The name of their examples in the message.

    Raises:
        ProgramError: It is broken.
    """
    failures = [row.failure for row in rows if row.failure is not None]
    most_common = Counter(map(_way, failures)).most_common(1)
    if not most_common or 2 * most_common[0][1] <= len(rows):
        return
    ((way, count),) = most_common
    first = next(failure for failure in failures if _way(failure) == way)
    message = (
        f"{program} failed on {count} of {len(rows)} {examples} with {way}: it is "
        f"broken, which is no score; make it answer at least half of them. The first "
        f"failure:\n{traceback_with_advice(first)}"
    )
    raise ProgramError(message)


def _way(failure: Failure) -> str:
    return "no readable answer" if failure.reason in _REPLY_REASONS else failure.type


def traceback_with_advice(failure: Failure) -> str:
    """Return the traceback of a failure, and what to do about it if that is not obvious."""
    shown = failure.traceback.rstrip()
    if not failure.message.startswith(_NO_LM):
        return shown
    return (
        f"{shown}\na thread that the program starts itself has no model in its settings; let "
        "dspy.Parallel start it, or run it with contextvars.copy_context().run"
    )
