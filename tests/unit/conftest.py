"""What the tests of single rooms have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store() -> Iterator[Store]:
    """Return a store that is gone after the test."""
    opened = Store.in_memory()
    yield opened
    opened.close()
