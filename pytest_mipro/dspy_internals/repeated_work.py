"""Spare DSPy, while it runs rows, work that it repeats at each call with the same result."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_mipro.dspy_internals.price_list import CACHED_PRICE_LIST
from pytest_mipro.dspy_internals.type_adapters import PREPARED_TYPE_ADAPTERS

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def quick_calls() -> Generator[None]:
    """Let DSPy do such work once, in all threads, while the block runs."""
    with CACHED_PRICE_LIST.active(), PREPARED_TYPE_ADAPTERS.active():
        yield
