"""Replace functions in modules of DSPy while a block runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


class Replacement(NamedTuple):
    """A function, and what takes its place in the modules that import it.

    A module in which the function's name refers to another object does not change.

    Attributes:
        modules: The modules.
        name: The function's name in them.
        function: The function.
        substitute: The function that takes its place.
    """

    modules: tuple[ModuleType, ...]
    name: str
    function: Callable[..., Any]
    substitute: Callable[..., Any]

    def start(self) -> None:
        """Put the substitute in the place of the function."""
        self._exchange(self.function, self.substitute)

    def end(self) -> None:
        """Put the function back."""
        self._exchange(self.substitute, self.function)

    def _exchange(self, old: object, new: object) -> None:
        for module in self.modules:
            if vars(module).get(self.name) is old:
                vars(module)[self.name] = new


class ReplacingBlock:
    """A block in which functions are replaced, and that threads enter and leave in any order.

    The first of the blocks under way replaces the functions, and the last one restores them:
    each row enters a block, so that it has to cost next to nothing.

    Args:
        replacements: The replacements.
    """

    def __init__(self, *replacements: Replacement) -> None:
        self._replacements = replacements
        self._active_blocks = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        """Begin a block."""
        with self._lock:
            self._active_blocks += 1
            if self._active_blocks == 1:
                for replacement in self._replacements:
                    replacement.start()

    def __exit__(self, *_: object) -> None:
        """End a block."""
        with self._lock:
            self._active_blocks -= 1
            if not self._active_blocks:
                for replacement in self._replacements:
                    replacement.end()
