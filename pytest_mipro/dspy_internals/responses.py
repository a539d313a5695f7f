"""The responses that DSPy caches, the cache that it asks, and how to put another in its place."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dspy
from dspy.clients.cache import Cache
from dspy.clients.call_result import CACHE_FORMAT, AttributeDict, attributes
from dspy.clients.legacy_outputs import plain
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Cache", "dump_response", "load_response", "replaced_cache"]


def dump_response(response: object) -> object:
    """Return a cached response as data, where it is an object of a client library.

    DSPy reads an attribute and an item alike.
    """
    return plain(response) if isinstance(response, BaseModel | AttributeDict) else response


def load_response(data: Any) -> object:  # ruff: ignore[any-type] - JSON data
    """Return the response that DSPy reads as the one that was dumped as ``data``."""
    if isinstance(data, dict) and data.get("_dspy_format") == CACHE_FORMAT:
        return data
    return attributes(data)


@contextmanager
def replaced_cache(cache: Cache | None) -> Generator[None]:
    """Let DSPy ask ``cache`` while the block runs; None stands for no cache at all."""
    # DSPy makes the default cache when something first reads the attribute.
    user_cache = vars(dspy).get("cache")
    # It holds DSPy's lock, so that no other thread replaces the cache by the default one.
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    if cache is not None:
        dspy.cache = cache
    try:
        yield
    finally:
        vars(dspy).pop("cache")
        if user_cache is not None:
            dspy.cache = user_cache
