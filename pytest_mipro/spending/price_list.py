"""
Cache what DSPy's price list says of a model, while language models are asked.

DSPy looks a model up in its price list after each call, for the cost, and
with some adapters before each call, for what the model supports. The list
names no model of a vLLM or llama.cpp server and few that Ollama serves. For a
model that it does not name, DSPy searches the whole list twice per call: for
the name in the response and for the name that was requested. That doubles the
processor time of a call, and threads spend it one after another.

DSPy has no public way to avoid that and to leave everything else as it is. No
setting turns costs off. An LM with an engine of its own has no cost at all,
and a provider that ``dspy.lm15.register_provider`` declares gives the LM
another name, and so other keys in every cache. So this module replaces, while
a block runs, the function by which two modules of DSPy look a model up. They
only read what it returns. ``tests/contracts/test_price_list.py`` notices when
any of this changes.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dspy.clients import capabilities, costs
from dspy.clients.model_metadata import model_info

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager
    from types import ModuleType

Entry = dict[str, Any]

_READERS = (capabilities, costs)
"""The modules of DSPy that import the function, and use it for each call of a model."""
_MODELS = 1024
"""Entries a cache keeps at most: a server may name another model in each response."""


class CachedLookup:
    """
    Looks each model up once, and returns what DSPy would return.

    The entries stay valid until the process ends, because DSPy loads its price
    list once per process.

    Args:
        look_up: DSPy's function, whatever its arguments.

    """

    def __init__(self, look_up: Callable[..., Entry]) -> None:
        self._look_up = look_up
        self._cached = lru_cache(_MODELS)(look_up)
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any, **options: Any) -> Entry:  # ruff: ignore[any-type] - DSPy's
        """Return a copy of a model's entry, as DSPy does, because a caller may change it."""
        try:
            with self._lock:  # Without it, threads that begin together would all search the list.
                entry = self._cached(*arguments, **options)
        except TypeError:  # An argument has no hash, or DSPy itself refuses the arguments.
            return self._look_up(*arguments, **options)
        return deepcopy(entry)


class Replacement:
    """
    Replaces a function in the modules that import it, while any block needs that.

    A module that has something else under the name of the function keeps it.

    Args:
        modules: Where the function is replaced.
        function: What is replaced, under its own name.
        replacement: What it is replaced by.

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
        self._blocks = 0
        self._lock = threading.Lock()

    @contextmanager
    def active(self) -> Generator[None]:
        """Replace the function while the block runs; the last of several blocks restores it."""
        self._count(+1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._blocks += change
            if self._blocks:
                self._exchange(self._function, self._replacement)
            else:
                self._exchange(self._replacement, self._function)

    def _exchange(self, old: object, new: object) -> None:
        for module in self._modules:
            if vars(module).get(self._name) is old:
                vars(module)[self._name] = new


_REPLACEMENT = Replacement(_READERS, model_info, CachedLookup(model_info))


def cached_price_list() -> AbstractContextManager[None]:
    """Let DSPy look each model up once, in all threads, while the block runs."""
    return _REPLACEMENT.active()
