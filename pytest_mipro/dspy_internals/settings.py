"""The defaults of DSPy's settings, and the adapter that stands for none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
from dspy.dsp.utils.settings import DEFAULT_CONFIG

if TYPE_CHECKING:
    from collections.abc import Mapping


def default_settings() -> Mapping[str, object]:
    """Return the settings that DSPy starts with."""
    return DEFAULT_CONFIG


def rendering_adapter(adapter: dspy.Adapter | None) -> dspy.Adapter:
    """Return the adapter that renders a prompt if a task has ``adapter``.

    Without one it is that of DSPy's settings, and without that, the default of DSPy's predictors.
    """
    return adapter or dspy.settings.adapter or dspy.ChatAdapter()
