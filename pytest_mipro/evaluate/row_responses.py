"""The responses that are sent to a worker with its work, and those that come back.

A worker has no store: DSPy's cache there is a view of the responses that are known for the
present work. Outside of work it is the cache that the worker's process had.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import dspy
from dspy.utils.callback import BaseCallback

from pytest_mipro.evaluate.called_model import CalledModels
from pytest_mipro.evaluate.response_cache import ResponseCache

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.canonical import JSON
    from pytest_mipro.dspy_internals import Cache

MODELS = CalledModels()
"""The models of all work in this process, so that none is described twice."""
_LOCK = Lock()


@dataclass
class RowResponses:
    """The responses of one piece of work.

    Attributes:
        sent: The responses that came with the work, by key; None if nothing is cached.
        new: The responses to its calls, by key.
    """

    sent: Mapping[str, JSON] | None
    new: dict[str, JSON] = field(default_factory=dict)

    def get(self, key: str) -> JSON:
        """Return the response under ``key``, or None."""
        return (self.sent or {}).get(key) or self.new.get(key)

    def put(self, key: str, content: JSON) -> None:
        """Keep a new response."""
        if self.sent is not None:
            self.new.setdefault(key, content)


class ResponsesOf(BaseCallback):
    """Holds the responses of the present work where all threads of DSPy see them: its settings.

    Args:
        responses: The responses.
    """

    def __init__(self, responses: RowResponses) -> None:
        super().__init__()
        self.responses = responses


class _RowCache(ResponseCache):
    """DSPy's cache in the process of a worker.

    Args:
        previous: The cache that the process had; None if DSPy has made none yet.
    """

    def __init__(self, previous: Cache | None) -> None:
        super().__init__(MODELS)
        self._previous = previous

    def load(self, key: str) -> JSON:
        """See ``ResponseCache``."""
        responses = _present()
        return None if responses is None else responses.get(key)

    def keep(self, key: str, content: JSON) -> None:
        """See ``ResponseCache``."""
        responses = _present()
        if responses is not None:
            responses.put(key, content)

    def get(
        self, request: dict[str, Any], ignored_args_for_cache_key: list[str] | None = None
    ) -> object:
        """Return the response to ``request``, or None."""
        if self._previous is None or _present():
            return super().get(request, ignored_args_for_cache_key)
        return self._previous.get(request, ignored_args_for_cache_key)

    def put(
        self,
        request: dict[str, Any],
        value: object,
        ignored_args_for_cache_key: list[str] | None = None,
        enable_memory_cache: bool = True,  # ruff: ignore[boolean-type-hint-positional-argument, boolean-default-value-positional-argument] - the base class's
    ) -> None:
        """Keep the response to ``request``."""
        if self._previous is None or _present():
            super().put(request, value, ignored_args_for_cache_key, enable_memory_cache)
        else:
            self._previous.put(request, value, ignored_args_for_cache_key, enable_memory_cache)


def _present() -> RowResponses | None:
    holders = (
        callback for callback in dspy.settings.callbacks if isinstance(callback, ResponsesOf)
    )
    return next((holder.responses for holder in holders), None)


def use_row_responses() -> None:
    """Let DSPy's cache in this process be that of the present work, from now on."""
    with _LOCK:
        previous = vars(dspy).get("cache")
        if not isinstance(previous, ResponseCache):
            dspy.cache = _RowCache(previous)
