from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import OperationalError
from store_checks import NEXT_STEP, explains, tamper

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store.messages import explain
from pytest_mipro.store.url import backend_at

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mipro.store import Store


def test_a_store_deleted_while_open(store: Store, path: Path) -> None:
    """A driver's error about a missing table is a StoreError that names the store."""
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE rows")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=re.escape(str(path))) as error:
        store.rows.put(Row("k", 1.0))
    assert NEXT_STEP.search(str(error.value))


def test_no_secret_is_repeated() -> None:
    """A message cites the driver's error without the password."""
    error = OperationalError("", {}, Exception("invalid dsn: user=me password=hunter2 host=h"))
    message = str(explain(backend_at("postgresql://me:hunter2@h/db"), error))
    assert "hunter2" not in message
    assert "invalid dsn: user=me" in message
    assert NEXT_STEP.search(message)


def test_no_record_is_repeated(store: Store, path: Path) -> None:
    """A message does not cite a damaged record in full."""
    store.rows.put(Row("k", 1.0, "x" * 5000))
    tamper(path, "UPDATE rows SET value = CAST(x'ff' || value AS TEXT)")
    with pytest.raises(StoreError) as error:
        store.rows.get("k")
    assert explains(error, path, "UTF-8")
    assert len(str(error.value)) < 600
