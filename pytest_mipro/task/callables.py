"""Whether a function of the user's takes what it is going to be called with."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def mismatch(function: Callable[..., object], *arguments: object) -> str:
    """Return why ``function`` cannot be called with ``arguments``; empty if it presumably can."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""  # Some callables do not say what they take.
    try:
        signature.bind(*arguments)
    except TypeError as error:
        return f"it takes {signature}, {error}"
    return ""
