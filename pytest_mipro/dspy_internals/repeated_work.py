"""Spare DSPy, while it runs rows, work that it repeats at each call with the same result."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pytest_mipro.dspy_internals.price_list import CACHED_PRICE_LIST
from pytest_mipro.dspy_internals.type_adapters import PREPARED_TYPE_ADAPTERS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pytest_mipro.dspy_internals.replacement import Replacement


class SharedBlock:
    """A block in which functions are replaced, and that threads enter and leave in any order.

    The first of the blocks under way replaces the functions, and the last one restores them:
    each row enters a block, so that it has to cost next to nothing.

    Args:
        replacements: The replacements.
    """

    def __init__(self, *replacements: Replacement) -> None:
        self._replacements = replacements
        self._active_blocks = 0
        self._active = ExitStack()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        """Begin a block."""
        with self._lock:
            self._active_blocks += 1
            if self._active_blocks == 1:
                for replacement in self._replacements:
                    self._active.enter_context(replacement.active())

    def __exit__(self, *_: object) -> None:
        """End a block."""
        with self._lock:
            self._active_blocks -= 1
            if not self._active_blocks:
                self._active.close()


_QUICK_CALLS = SharedBlock(CACHED_PRICE_LIST, PREPARED_TYPE_ADAPTERS)


def quick_calls() -> AbstractContextManager[None]:
    """Let DSPy do such work once, in all threads, while the block runs."""
    return _QUICK_CALLS
