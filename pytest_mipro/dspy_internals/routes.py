"""Which provider the name of a model leads to, looked up once.

To estimate the cost of a response, DSPy finds out again at each call which provider the model has,
and sets up an engine for it that it then drops. The answer depends on the name and the type of
the model, and on providers that the user has declared, for which nothing is kept here.
"""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from dspy.clients import capabilities

from pytest_mipro.dspy_internals.replacement import Replacement

if TYPE_CHECKING:
    import dspy

_MAX_ENTRIES = 256
_DECLARED = "_providers"
"""The attribute of a model with the providers that were declared when it was made."""
_resolve: Any = capabilities.resolve


def resolve(lm: dspy.BaseLM) -> object:
    """Return what DSPy's function does, whose result cannot be changed."""
    if getattr(lm, _DECLARED, ()):
        return _resolve(lm)
    return _resolved(str(lm.model), str(lm.model_type))


@lru_cache(_MAX_ENTRIES)
def _resolved(model: str, model_type: str) -> object:
    return _resolve(SimpleNamespace(model=model, model_type=model_type))


CACHED_ROUTES = Replacement((capabilities,), _resolve, resolve)
"""Lets DSPy look each route up only once, in all threads, while a block runs."""
