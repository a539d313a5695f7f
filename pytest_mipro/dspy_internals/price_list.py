"""The prices of DSPy's price list, and a cache of its entries while language models are called.

DSPy looks a model up in its price list after each call, for the cost, and with some adapters
before each call, for the capabilities of the model. The list has no model of a vLLM or llama.cpp
server and few of Ollama. For a model that is not in the list, DSPy searches the whole list twice
per call: for the name in the response and for the name in the request. That doubles the processor
time of a call, and threads take turns at it.

DSPy has no public way to avoid the search without other effects. No setting turns costs off. An
LM with an engine of its own has no cost at all, and a provider that
``dspy.lm15.register_provider`` declares changes the name of the LM, and so the keys of every
cache. So this module replaces, while a block runs, the function with which two modules of DSPy
look a model up. They only read its result. ``tests/contracts/test_price_list.py`` fails when a
version of DSPy changes any of this.
"""

from __future__ import annotations

import threading
from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dspy.clients import capabilities, costs
from dspy.clients.model_metadata import model_info, rate

from pytest_mipro.dspy_internals.replacement import Replacement

if TYPE_CHECKING:
    from collections.abc import Callable

Entry = dict[str, Any]

_SCALARS = frozenset({bool, float, int, str, type(None)})
"""Types of values that need no copy, which nearly all values of an entry have."""
_READERS = (capabilities, costs)
"""The modules of DSPy that call the function before or after each call of a model."""
_MAX_ENTRIES = 1024
"""Maximum size of the cache: a server may name a different model in each response."""


class CachedLookup:
    """Looks each model up once, and returns the same entries as DSPy.

    An entry stays valid until the process ends, because DSPy loads its price list once per
    process.

    Args:
        look_up: DSPy's function; its arguments are passed on.
    """

    def __init__(self, look_up: Callable[..., Entry]) -> None:
        self._look_up = look_up
        self._cached = lru_cache(_MAX_ENTRIES)(look_up)
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any, **options: Any) -> Entry:  # ruff: ignore[any-type] - DSPy's
        """Return a copy of a model's entry, because a caller may change it."""
        try:
            with self._lock:  # Or threads that start together would all search the list.
                entry = self._cached(*arguments, **options)
        except TypeError:  # An argument has no hash, or the arguments are wrong.
            return self._look_up(*arguments, **options)
        return {
            name: value if type(value) in _SCALARS else deepcopy(value)
            for name, value in entry.items()
        }


CACHED_PRICE_LIST = Replacement(_READERS, "model_info", model_info, CachedLookup(model_info))
"""Lets DSPy look each model up only once, in all threads, while a block runs."""


def listed_rates(provider: str, model: str) -> tuple[float, float] | None:
    """Return the price of an input and an output token in US dollars; None without both."""
    info = model_info(provider, model)
    input_rate, output_rate = (rate(info, f"{way}_cost_per_token") for way in ("input", "output"))
    if input_rate is None or output_rate is None:
        return None
    return input_rate, output_rate
