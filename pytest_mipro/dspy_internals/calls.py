"""How DSPy reports the calls of models in a context: to which object, on behalf of which modules.

The settings ``usage_tracker`` and ``caller_modules`` are DSPy's own: ``dspy.track_usage`` sets the
first, and a module that is called enters itself in the second. An object in either place is told of
each call, in DSPy's threads, too, and also of calls that a program makes outside of its predictors.
"""

from __future__ import annotations

from typing import Any, Protocol

import dspy


class UsageTracker(Protocol):
    """Counts usage: DSPy calls it after each response that no cache had."""

    def add_usage(self, model: str, entry: dict[str, Any], /) -> None:
        """Add the usage of one response."""


class CallLog(Protocol):
    """Logs calls: DSPy appends each to ``history``, as it does with the modules that call."""

    @property
    def history(self) -> Any:  # ruff: ignore[any-type] - DSPy uses its length, ``pop`` and ``append``
        """The log, which has a length and ``append``."""


def usage_tracker() -> object:
    """Return the object that counts the usage in this context; None if there is none."""
    return dspy.settings.usage_tracker


def metered_calls(tracker: UsageTracker) -> dict[str, Any]:
    """Return the settings with which DSPy reports usage to ``tracker``."""
    return {"usage_tracker": tracker}


def calling_modules() -> list[object]:
    """Return the modules whose calls led to this one, from the outermost on."""
    return [*(dspy.settings.caller_modules or [])]


def logged_calls(log: CallLog) -> dict[str, Any]:
    """Return the settings with which DSPy appends each call to the history of ``log``."""
    return {
        "caller_modules": [log, *calling_modules()],
        "disable_history": False,
        "max_history_size": max(1, dspy.settings.max_history_size),
    }
