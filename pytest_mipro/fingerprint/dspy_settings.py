"""The settings of DSPy that a program or a metric can read, and that decide results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dspy

from pytest_mipro.dspy_internals import SETTINGS_WITHOUT_EFFECT, default_settings

if TYPE_CHECKING:
    from pytest_mipro.canonical import JSON
    from pytest_mipro.fingerprint.code_walker import CodeWalker

_OWN_PARTS = frozenset({"adapter", "lm"})
"""Settings that a task has, too; a row has the task's."""
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
        if name not in _OWN_PARTS | SETTINGS_WITHOUT_EFFECT and not _is_default(name, value)
    }


def _is_default(name: str, value: object) -> bool:
    defaults = default_settings()
    default = defaults.get(name)
    if not isinstance(value, _PLAIN):  # an array has no truth value
        return False
    return name in defaults and type(value) is type(default) and value == default
