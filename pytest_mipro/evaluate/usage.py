"""Counting what language models were really asked."""

from __future__ import annotations

import threading
from typing import Any

from pytest_mipro.records import Usage


class UsageMeter:
    """
    Stands in for DSPy's usage tracker in the context of one row.

    DSPy reports to it every answer that came from a model, and none that came
    from a cache.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self._lock = threading.Lock()
        self.usage = Usage()

    def __deepcopy__(self, _memo: object) -> UsageMeter:
        """Stay one meter where DSPy copies its settings for a thread."""
        return self

    def add_usage(self, _model: str, entry: dict[str, Any] | None) -> None:
        """Take one answer's usage entry, as DSPy hands it over."""
        entry = entry or {}
        call = Usage(1, _tokens(entry, "prompt_tokens"), _tokens(entry, "completion_tokens"))
        with self._lock:
            self.usage += call


def _tokens(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    return value if isinstance(value, int) else 0
