"""
Whose fault is an exception: the program's, the provider's or the metric's.

The one place that decides it, for bootstrapping, proposals, search and verdict:

=================================================  ============================================
what happened                                      what becomes of it
=================================================  ============================================
429, 5xx, timeout, reset, DNS, no JSON             the provider's, and passing: asked again, see
                                                   ``retries.py``; then the run stops
key, billing, configuration, a request refused     the provider's, and lasting: the run stops
prompt too long, answer unreadable, an exception   the program's: a failure of the row, score 0
in the user's module
the metric raises or returns no score              the metric's: the run stops
=================================================  ============================================

An error that a language model call ended with counts however the program goes
on, also if it swallows it.
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
from pytest_mipro.redaction import credentials, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from pytest_mipro.records import Row

_NO_LM = "No LM is loaded"
"""How DSPy begins its error where its settings name no model; ours always name one."""
_FRAMES = 8
_ROOM = str(Path(__file__).parent)
_TOO_MANY_REQUESTS = 429
_PASSING_STATUS = {408, _TOO_MANY_REQUESTS, *range(500, 600)}
_NETWORK = (ConnectionError, TimeoutError, asyncio.TimeoutError, socket.gaierror)


def _nothing(*_: object) -> None:
    pass


class CallWatch(BaseCallback):
    """
    Remembers language model errors, also those a program goes on to swallow.

    Args:
        hold: Called with the name of the model before each call, which does not begin before
            this returns.
        answered: Called after each call that was answered.

    """

    def __init__(
        self, hold: Callable[[str], object] = _nothing, answered: Callable[[], object] = _nothing
    ) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._hold = hold
        self._answered = answered

    def on_lm_start(
        self,
        call_id: str,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        instance: object,
        inputs: dict[str, Any],  # ruff: ignore[unused-method-argument]  # the same
    ) -> None:
        """Wait until a call may begin."""
        self._hold(str(getattr(instance, "model", "")))

    def on_lm_end(
        self,
        call_id: str,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        outputs: dict[str, Any] | None,  # ruff: ignore[unused-method-argument]  # the same
        exception: BaseException | None = None,
    ) -> None:
        """Keep the first error the program is not to blame for."""
        if exception is None:
            self._answered()
        if self.error is not None or not isinstance(exception, Exception):
            return
        behind = list(_behind(exception, set()))
        # Whatever else a model of the user's own class raises is no answer either.
        self.error = infrastructure_cause(exception) or (exception if behind else None)


def infrastructure_cause(error: BaseException) -> BaseException | None:
    """
    Return the language model error behind ``error``, if there is one.

    A prompt that is too long for the model is the candidate's own doing, so
    it does not count.
    """
    behind = list(_behind(error, set()))
    for kind in (dspy.LMError, InfrastructureError):
        for each in behind:
            if isinstance(each, kind):
                return each
    return None


def _behind(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """Yield ``error``, what it groups, and what it was raised from or during."""
    if id(error) in seen or isinstance(error, ContextWindowExceededError):
        return
    seen.add(id(error))
    yield error
    # By name, because Python 3.10 has groups only from a package.
    grouped = getattr(error, "exceptions", ())
    around = (error.__cause__, error.__context__)
    for each in (*(grouped if isinstance(grouped, tuple) else ()), *around):
        if isinstance(each, BaseException):
            yield from _behind(each, seen)


def is_passing(error: BaseException) -> bool:
    """Whether a language model error may be gone when the same is asked again."""
    if isinstance(error, Exception) and is_retryable_lm_error(error):
        return True
    if isinstance(error, LMStreamAssemblyError):
        return True  # The connection broke off in the middle of the answer.
    if type(error) is dspy.LMProviderError:
        # Something came that was no answer: a gateway's page, for the most part.
        return error.status is None or error.status in {200, *_PASSING_STATUS}
    if isinstance(error, dspy.LMError):
        return isinstance(error, dspy.LMUnexpectedError) and _is_network(error.__cause__)
    return _is_network(error)


def _is_network(error: BaseException | None) -> bool:
    """Whether an exception that DSPy did not sort is one of the network's or the server's."""
    return isinstance(error, _NETWORK) or getattr(error, "status_code", None) in _PASSING_STATUS


def is_rate_limit(error: BaseException) -> bool:
    """Whether the provider asked to be asked less often."""
    status = getattr(error, "status_code", None)
    return isinstance(error, dspy.LMRateLimitError) or status == _TOO_MANY_REQUESTS


def retry_after(error: BaseException) -> float | None:
    """Return for how many seconds the provider asked to be left alone, if it did."""
    hint = getattr(error, "retry_after", None)
    usable = isinstance(hint, int | float) and math.isfinite(hint) and hint > 0
    return hint if usable else None


def surface(error: BaseException, doing: str, tried: str = "") -> InfrastructureError:
    """Return ``error`` as what stops a run, naming what was being done, and how often."""
    if isinstance(error, InfrastructureError):
        return error
    message = f"the language model failed while {doing}: {named(error)}"
    return InfrastructureError("\n".join(filter(None, [message, tried])))


def named(error: BaseException) -> str:
    """Return the type and the message of ``error``."""
    return f"{type(error).__name__}: {_message(error)}"


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    # ruff: ignore[blind-except]: the user's class may raise anything; its error is what counts.
    except Exception:
        return "<exception str() failed>"
    return _veiled(text)


def _veiled(text: str) -> str:
    """Return ``text``, which is logged and stored, without credentials, such as one in a URL."""
    lm = dspy.settings.lm
    return str(redact(text, credentials([lm] if isinstance(lm, dspy.BaseLM) else [])))


def frames_of(function: object, error: BaseException) -> str:
    """Return where ``function`` raised ``error``: the last line of its file, then the innermost."""
    trace = traceback.extract_tb(error.__traceback__)
    frames = [each for each in trace if not each.filename.startswith(_ROOM)]
    if not frames:
        code = getattr(function, "__code__", None)
        return f"at {code.co_filename}:{code.co_firstlineno}" if code else "at an unknown place"
    own = [each for each in frames if each.filename == frames[0].filename]
    shown = [own[-1], frames[-1]]
    lines = (f"at {each.filename}:{each.lineno} in {each.name}: {each.line}" for each in shown)
    return "\n".join(dict.fromkeys(lines))


def blame_program(error: BaseException) -> Failure:
    """Return ``error`` as the failure of one row."""
    trace = _from_the_program_on(error.__traceback__)
    frames = traceback.format_exception(type(error), error, trace, limit=-_FRAMES)
    return Failure(type(error).__name__, _message(error), _veiled("".join(frames)))


def _from_the_program_on(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames that lead from us to the program."""
    start = trace
    while trace is not None:
        if trace.tb_next and trace.tb_frame.f_code.co_filename.startswith(_ROOM):
            start = trace.tb_next
        trace = trace.tb_next
    return start


def refuse_broken(program: str, rows: Sequence[Row]) -> None:
    """
    Raise ProgramError if a program failed on more than half of ``rows`` in the same way.

    Such a program is broken, and no score says how bad it is.

    Args:
        program: What the message calls it, such as ``"the baseline program"``.
        rows: Its held-out rows.

    """
    failures = [row.failure for row in rows if row.failure is not None]
    for kind, count in Counter(failure.type for failure in failures).most_common(1):
        if 2 * count <= len(rows):
            return
        first = next(failure for failure in failures if failure.type == kind)
        message = (
            f"{program} failed on {count} of {len(rows)} held-out examples with {kind}: it is "
            f"broken, which is no score; make it answer at least half of them. The first "
            f"failure:\n{first.traceback.rstrip()}{_advice(first)}"
        )
        raise ProgramError(message)


def _advice(failure: Failure) -> str:
    if not failure.message.startswith(_NO_LM):
        return ""
    return (
        "\na thread that the program starts itself does not know the model; let dspy.Parallel "
        "start it, or run it with contextvars.copy_context().run"
    )
