"""Replace a function in modules of DSPy while a block runs."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType


class Replacement:
    """Replaces a function in the modules that import it, while any block is active.

    A module in which the function's name refers to another object does not change.

    Args:
        modules: The modules.
        function: The function.
        replacement: The function that takes its place.
    """

    def __init__(
        self,
        modules: tuple[ModuleType, ...],
        function: Callable[..., Any],
        replacement: Callable[..., Any],
    ) -> None:
        self._modules = modules
        self._name = function.__name__
        self._function = function
        self._replacement = replacement
        self._active_blocks = 0
        self._lock = threading.Lock()

    @contextmanager
    def active(self) -> Generator[None]:
        """Replace the function while the block runs; the last active block restores it."""
        self._add_blocks(+1)
        try:
            yield
        finally:
            self._add_blocks(-1)

    def _add_blocks(self, number: int) -> None:
        with self._lock:
            self._active_blocks += number
            if self._active_blocks:
                self._exchange(self._function, self._replacement)
            else:
                self._exchange(self._replacement, self._function)

    def _exchange(self, old: object, new: object) -> None:
        for module in self._modules:
            if vars(module).get(self._name) is old:
                vars(module)[self._name] = new
