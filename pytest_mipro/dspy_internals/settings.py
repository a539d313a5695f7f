"""The defaults of DSPy's settings, and the adapter that stands for none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
from dspy.dsp.utils.settings import DEFAULT_CONFIG

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTINGS_WITHOUT_EFFECT = frozenset(
    {
        *("async_max_workers", "callbacks", "caller_modules", "caller_predict", "disable_history"),
        *("max_history_size", "max_trace_size", "num_threads", "provide_traceback", "send_stream"),
        *("stream_listeners", "trace", "track_usage", "usage_tracker", "warn_on_type_mismatch"),
    }
)
"""Settings of how much is kept, shown or done at once."""


def default_settings() -> Mapping[str, object]:
    """Return the settings that DSPy starts with."""
    return DEFAULT_CONFIG


def rendering_adapter(adapter: dspy.Adapter | None) -> dspy.Adapter:
    """Return the adapter that renders a prompt if a task has ``adapter``.

    Without one it is that of DSPy's settings, and without that, the default of DSPy's predictors.
    """
    return adapter or dspy.settings.adapter or dspy.ChatAdapter()
