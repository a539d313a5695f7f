"""A store in a file for every test of the store; a subclass of a contract has another one."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the store."""
    return tmp_path / "folder" / "store.db"


@pytest.fixture
def url(path: Path) -> str:
    """Return the URL of the store."""
    return f"sqlite:///{path}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """Return a new store in a new folder."""
    with closing(Store.open(url)) as store:
        yield store
