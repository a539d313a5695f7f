"""A store in a file for every test of the store, and a PostgreSQL database for some."""

from __future__ import annotations

import os
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


@pytest.fixture
def postgresql_url() -> str:
    """Return the URL of a PostgreSQL database that tests may fill."""
    url = os.environ.get("MIPRO_TEST_POSTGRESQL")
    if url is None:
        pytest.skip("MIPRO_TEST_POSTGRESQL names no database, e.g. postgresql+psycopg://host/test")
    return url
