"""Whose fault is an exception: the program's, the provider's or the metric's."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import dspy
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import ContextWindowExceededError

from pytest_mipro.errors import InfrastructureError
from pytest_mipro.records import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

_FRAMES = 8


class CallWatch(BaseCallback):
    """Remembers language model errors, also those a program goes on to swallow."""

    def __init__(self) -> None:
        """Start with no error seen."""
        super().__init__()
        self.error: BaseException | None = None

    def on_lm_end(
        self,
        call_id: str,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        outputs: dict[str, Any] | None,  # ruff: ignore[unused-method-argument]  # the same
        exception: BaseException | None = None,
    ) -> None:
        """Keep the first error the program is not to blame for."""
        if self.error is None and exception is not None:
            self.error = infrastructure_cause(exception)

    def refuse(self, doing: str) -> None:
        """Raise InfrastructureError if a call failed, whoever caught that."""
        if self.error is not None:
            raise surface(self.error, doing) from self.error


def infrastructure_cause(error: BaseException) -> BaseException | None:
    """
    Return the language model error behind ``error``, if there is one.

    A prompt that is too long for the model is the candidate's own doing, so
    it does not count.
    """
    for each in _behind(error, set()):
        if isinstance(each, dspy.LMError | InfrastructureError):
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


def surface(error: BaseException, doing: str) -> InfrastructureError:
    """Return ``error`` as what stops a run, naming what was being done."""
    if isinstance(error, InfrastructureError):
        return error
    return InfrastructureError(
        f"the language model failed while {doing}: {named(error)}\n"
        "this is no score; everything finished so far is stored, "
        "and the same command goes on from there"
    )


def named(error: BaseException) -> str:
    """Return the type and the message of ``error``."""
    return f"{type(error).__name__}: {_message(error)}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # ruff: ignore[blind-except]  # it is the user's class
        return "<exception str() failed>"


def innermost_frame(error: BaseException) -> str:
    """Return where ``error`` was raised: file, line, function and the code."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "at an unknown place"
    last = frames[-1]
    return f"at {last.filename}:{last.lineno} in {last.name}: {last.line}"


def blame_program(error: BaseException) -> Failure:
    """Return ``error`` as the failure of one row."""
    frames = traceback.format_exception(type(error), error, error.__traceback__, limit=-_FRAMES)
    return Failure(type(error).__name__, _message(error), "".join(frames))
