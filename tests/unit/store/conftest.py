"""A store in a file, for every test of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store is."""
    return tmp_path / "folder" / "store.db"


@pytest.fixture
def url(path: Path) -> str:
    """Return the URL of the store."""
    return f"sqlite:///{path}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """Return a new store in a new folder."""
    opened = Store.open(url)
    yield opened
    opened.close()
