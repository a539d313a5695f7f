"""The settings of DSPy that a program or a metric can read, and that decide results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
from dspy.dsp.utils.settings import DEFAULT_CONFIG

if TYPE_CHECKING:
    from pytest_mipro.canonical import JSON
    from pytest_mipro.fingerprint.code_walker import CodeWalker

_OWN_PARTS = frozenset({"adapter", "lm"})
"""Settings that a task has, too; a row has the task's."""
_WITHOUT_EFFECT = frozenset(
    {
        *("async_max_workers", "callbacks", "caller_modules", "caller_predict", "disable_history"),
        *("max_history_size", "max_trace_size", "num_threads", "provide_traceback", "send_stream"),
        *("stream_listeners", "trace", "track_usage", "usage_tracker", "warn_on_type_mismatch"),
    }
)
"""Settings of how much is kept, shown or done at once."""
_PLAIN = (str, int, float, type(None))


def effective_adapter(adapter: dspy.Adapter | None) -> dspy.Adapter | None:
    """Return the adapter of a task's rows: its own, or else the one of DSPy's settings."""
    return dspy.settings.adapter if adapter is None else adapter


def describe_settings(walker: CodeWalker) -> dict[str, JSON]:
    """Describe the settings that have other values than DSPy's own, by name."""
    return {
        name: walker.describe(value, f"dspy.settings.{name}")
        for name, value in deciding_settings().items()
    }


def deciding_settings() -> dict[str, object]:
    """Return the settings that have other values than DSPy's own, by name."""
    settings = sorted(dspy.settings.config.items())
    return {
        name: value
        for name, value in settings
        if name not in _OWN_PARTS | _WITHOUT_EFFECT and not _is_default(name, value)
    }


def _is_default(name: str, value: object) -> bool:
    default = DEFAULT_CONFIG.get(name)
    if not isinstance(value, _PLAIN):  # an array has no truth value
        return False
    return name in DEFAULT_CONFIG and type(value) is type(default) and value == default
