from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, update
from sqlalchemy.engine import make_url
from store_checks import NEXT_STEP, artifact, refusal

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store import Store, schema
from pytest_mipro.store.postgresql import PostgresqlBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.uses("sqlalchemy")


@pytest.fixture
def store(postgresql_url: str) -> Iterator[Store]:
    """Return a store without records on a PostgreSQL server."""
    with closing(Store.open(postgresql_url)) as store:
        with store.connection() as connection:
            for table in schema.RECORD_TABLES:
                connection.execute(delete(table))
        yield store


def test_names_the_database_without_credentials() -> None:
    """Messages name driver, host and database, and never repeat a password."""
    url = make_url("postgresql+psycopg://me:hunter2@host:5433/db?password=hunter3")
    backend = PostgresqlBackend(url)
    assert backend.name == "postgresql+psycopg://host:5433/db"
    assert backend.secrets == ["hunter2", "hunter3"]


def test_records_are_written_once_and_read_back(store: Store) -> None:
    """The first record under a key stays, as in a file."""
    store.rows.put(Row("k", 0.5, {"answer": "ä"}, prediction_key="a"))
    store.rows.put(Row("k", 1.0), Row("new", 1.0))
    assert store.rows.get("k") == Row("k", 0.5, {"answer": "ä"}, prediction_key="a")
    assert store.rows.by_prediction(["a"])["a"].key == "k"
    store.artifacts.put(artifact("a"))
    store.artifacts.replace(artifact("a"))
    assert store.artifacts.recent("task") == [artifact("a")]


def test_unused_records_are_deleted(store: Store) -> None:
    """Pruning counts the records that it deletes."""
    store.rows.put(Row("old", 1.0), Row("new", 1.0))
    with store.connection() as connection:
        connection.execute(update(schema.ROWS).where(schema.ROWS.c.key == "old").values(used=1.0))
    assert store.prune(days=30)["rows"] == 1
    assert set(store.rows.get_many(["old", "new"])) == {"new"}


def test_a_changed_row_is_an_error(store: Store) -> None:
    """A record that another program has changed is refused with a next step."""
    store.rows.put(Row("k", 1.0))
    with store.connection() as connection:
        connection.execute(update(schema.ROWS).values(value="{}"))
    with pytest.raises(StoreError, match=re.escape(store.name)) as error:
        store.rows.get("k")
    assert "put a backup in place" in str(error.value)


def test_another_format_is_refused(store: Store, postgresql_url: str) -> None:
    """A store of another format is refused with both formats."""
    with store.connection() as connection:
        connection.execute(update(schema.ABOUT).values(version=1))
    message = refusal(postgresql_url)
    with store.connection() as connection:
        connection.execute(update(schema.ABOUT).values(version=schema.VERSION))
    assert "format 1," in message
    assert f"format {schema.VERSION} " in message
    assert NEXT_STEP.search(message)
