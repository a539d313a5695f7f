"""Decide whether the program, the provider or the metric caused an exception.

Bootstrapping, proposals, search and verdict all use this module:

==================================================  ==========================================
exception                                           consequence
==================================================  ==========================================
429, 5xx, timeout, reset, DNS, response not JSON    the provider's, and temporary: retried, see
                                                    ``retrying.py``; then the run stops
key, billing, configuration, invalid request        the provider's, and permanent: the run
                                                    stops
prompt too long, response that cannot be parsed,    the program's: a failure of the row,
an exception in the user's module                   score 0
the metric raises or returns no score               the metric's: the run stops
==================================================  ==========================================

The error of a language model call counts even if the program catches it.
"""

from __future__ import annotations

import asyncio
import math
import socket
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMStreamAssemblyError,
    is_retryable_lm_error,
)

from pytest_mipro.errors import InfrastructureError, ProgramError
from pytest_mipro.records import Failure
from pytest_mipro.redaction import SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from pytest_mipro.records import Row

_NO_LM = "No LM is loaded"
"""The beginning of DSPy's error if its settings have no model; those of a row have one."""
_FRAMES = 8
"""Innermost frames of a traceback that a failure shows."""
_FOLDER = str(Path(__file__).parent)
_TOO_MANY_REQUESTS = 429
_TEMPORARY_STATUS = {408, _TOO_MANY_REQUESTS, *range(500, 600)}
_NETWORK = (ConnectionError, TimeoutError, asyncio.TimeoutError, socket.gaierror)


def _do_nothing(*_: object) -> None:
    pass


class CallWatch(BaseCallback):
    """Records the first error of a language model call, even if the program catches it.

    Args:
        before_call: Called with the name of the model before each call, which begins when this
            returns.
        after_response: Called after each call that succeeded.
    """

    def __init__(
        self,
        before_call: Callable[[str], object] = _do_nothing,
        after_response: Callable[[], object] = _do_nothing,
    ) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._before_call = before_call
        self._after_response = after_response

    def on_lm_start(
        self,
        call_id: str,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        instance: object,
        inputs: dict[str, Any],  # ruff: ignore[unused-method-argument]  # the same
    ) -> None:
        """Report a call that is about to begin."""
        SECRETS.add_from_model(instance)  # An error of the provider may cite them.
        self._before_call(str(getattr(instance, "model", "")))

    def on_lm_end(
        self,
        call_id: str,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        outputs: dict[str, Any] | None,  # ruff: ignore[unused-method-argument]  # the same
        exception: BaseException | None = None,
    ) -> None:
        """Report a response, or keep the first error that the program did not cause."""
        if exception is None:
            self._after_response()
        if self.error is not None or not isinstance(exception, Exception):
            return
        is_too_long = not list(_chain(exception, set()))
        # DSPy does not convert the errors of a model of the user's own class.
        self.error = infrastructure_cause(exception) or (None if is_too_long else exception)


def infrastructure_cause(error: BaseException) -> BaseException | None:
    """Return the language model error that caused ``error``, or None.

    A prompt that is too long for the model does not count: the candidate caused it.
    """
    chain = list(_chain(error, set()))
    for error_type in (dspy.LMError, InfrastructureError):
        for cause in chain:
            if isinstance(cause, error_type):
                return cause
    return None


def _chain(error: BaseException, visited: set[int]) -> Iterator[BaseException]:
    """Yield ``error`` and the errors in its group, its cause and its context."""
    if id(error) in visited or isinstance(error, ContextWindowExceededError):
        return
    visited.add(id(error))
    yield error
    # By name, because Python 3.10 has groups only from a package.
    group = getattr(error, "exceptions", ())
    members = group if isinstance(group, tuple) else ()
    for related in (*members, error.__cause__, error.__context__):
        if isinstance(related, BaseException):
            yield from _chain(related, visited)


def is_temporary(error: BaseException) -> bool:
    """Whether a retry of the call may succeed."""
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


def is_rate_limit(error: BaseException) -> bool:
    """Whether the provider limits the rate of calls."""
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
    message = f"the language model failed while {description}: {type_and_message(error)}"
    return InfrastructureError("\n".join(filter(None, [message, attempts])))


def type_and_message(error: BaseException) -> str:
    """Return the type and the message of ``error``."""
    return f"{type(error).__name__}: {_message(error)}"


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    # ruff: ignore[blind-except]: ``str`` of a user's class may raise; only its error matters.
    except Exception:
        return "<exception str() failed>"
    return SECRETS.redact_error(text, error)


def frames_of(function: object, error: BaseException) -> str:
    """Return the last line of the file of ``function`` that raised ``error``, and the innermost."""
    trace = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in trace if not frame.filename.startswith(_FOLDER)]
    if not frames:
        code = getattr(function, "__code__", None)
        return f"at {code.co_filename}:{code.co_firstlineno}" if code else "at an unknown place"
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    shown = [own[-1], frames[-1]]
    lines = (f"at {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in shown)
    return "\n".join(dict.fromkeys(lines))


def failure_of(error: BaseException) -> Failure:
    """Return the failure of a row whose program raised ``error``."""
    trace = _from_program(error.__traceback__)
    frames = traceback.format_exception(type(error), error, trace, limit=-_FRAMES)
    text = SECRETS.redact_error("".join(frames), error)
    return Failure(type(error).__name__, _message(error), text)


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
    """Raise if a program failed on more than half of ``rows`` with the same exception.

    Such a program is broken, and its score would not be a measurement.

    Args:
        program: Its name in the message, such as ``"the baseline program"``.
        rows: Its rows.
        examples: The name of their examples in the message.

    Raises:
        ProgramError: It is broken.
    """
    failures = [row.failure for row in rows if row.failure is not None]
    most_common = Counter(failure.type for failure in failures).most_common(1)
    if not most_common or 2 * most_common[0][1] <= len(rows):
        return
    ((error_type, count),) = most_common
    first = next(failure for failure in failures if failure.type == error_type)
    message = (
        f"{program} failed on {count} of {len(rows)} {examples} with {error_type}: it is "
        f"broken, which is no score; make it answer at least half of them. The first "
        f"failure:\n{first.traceback.rstrip()}{_advice(first)}"
    )
    raise ProgramError(message)


def _advice(failure: Failure) -> str:
    if not failure.message.startswith(_NO_LM):
        return ""
    return (
        "\na thread that the program starts itself has no model in its settings; let dspy.Parallel "
        "start it, or run it with contextvars.copy_context().run"
    )
