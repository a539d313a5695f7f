"""Spare DSPy, while it runs rows, work that it repeats at each call with the same result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.dspy_internals.price_list import CACHED_PRICE_LIST
from pytest_mipro.dspy_internals.proxies import QUICK_PROXIES
from pytest_mipro.dspy_internals.replacement import ReplacingBlock
from pytest_mipro.dspy_internals.type_adapters import PREPARED_TYPE_ADAPTERS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_QUICK_CALLS = ReplacingBlock(CACHED_PRICE_LIST, PREPARED_TYPE_ADAPTERS, QUICK_PROXIES)


def quick_calls() -> AbstractContextManager[None]:
    """Let DSPy do such work once, in all threads, while the block runs."""
    return _QUICK_CALLS
