from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, delete, event, text, update
from sqlalchemy.engine import make_url
from store_checks import NEXT_STEP, artifact, refusal

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store import Store, schema
from pytest_mipro.store.postgresql import PostgresqlBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

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


def terminate(store: Store, where: str = "true") -> None:
    """Let the server cut the connections that a condition is true of."""
    statement = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        f"AND datname = current_database() AND {where}"
    )
    with store.connection() as connection:
        connection.execute(text(statement))


def test_a_cut_connection_is_replaced(store: Store, postgresql_url: str) -> None:
    """The work goes on, and no other process gets the lock meanwhile."""

    def interrupt(holder: str) -> None:
        raise InterruptedError(holder)

    with (
        closing(Store.open(postgresql_url)) as second,
        store.compile_lock("cut", "first").wait(on_wait=pytest.fail),
    ):
        store.rows.put(Row("before", 1.0))
        terminate(second)
        store.rows.put(Row("after", 1.0))
        assert store.rows.get_many(["before", "after"]).keys() == {"before", "after"}
        with pytest.raises(InterruptedError, match="first"):
            second.compile_lock("cut", "second").wait(on_wait=interrupt)


def test_a_connection_that_breaks_within_a_transaction(store: Store) -> None:
    """The transaction is repeated."""
    broken: list[Connection] = []

    def work(connection: Connection) -> object:
        if not broken:
            broken.append(connection)
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return connection.scalar(text("SELECT 7"))

    assert store.rows._transact(work) == 7
    assert broken


def test_a_lock_that_another_process_has_taken(store: Store, postgresql_url: str) -> None:
    """The run ends with an error that says who works on the task."""
    with (
        closing(Store.open(postgresql_url)) as second,
        store.compile_lock("lost", "first").wait(on_wait=pytest.fail),
    ):
        terminate(second, "application_name = 'first'")
        with second.compile_lock("lost", "second").wait(on_wait=lambda _: None):
            store._backend._note_loss()  # type: ignore[attr-defined]
            with pytest.raises(StoreError, match="broke, and second works on the same task now"):
                store.rows.put(Row("k", 1.0))


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text(postgresql_url: str, encoding: str) -> None:
    """The error names the encoding, and how to make a database with another."""
    name = f"mipro_test_{encoding.lower()}"
    engine = create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        options = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        connection.execute(text(f"CREATE DATABASE {name} {options}"))
        try:
            url = make_url(postgresql_url).set(database=name)
            message = refusal(url.render_as_string(hide_password=False))
        finally:
            connection.execute(text(f"DROP DATABASE {name}"))
    engine.dispose()
    assert f"the encoding {encoding}" in message
    assert "CREATE DATABASE … ENCODING 'UTF8'" in message


@pytest.mark.parametrize("query, seconds", [("", 10), ("?connect_timeout=3", "3")])
def test_connecting_ends(postgresql_url: str, query: str, seconds: object) -> None:
    """A server that does not answer is given up, after the time that the URL sets."""
    engine = PostgresqlBackend(make_url(postgresql_url + query)).create_engine()
    options: dict[str, object] = {}

    def refuse(_dialect: object, _record: object, _args: object, values: dict[str, object]) -> None:
        options.update(values)
        raise InterruptedError

    event.listen(engine, "do_connect", refuse)
    with pytest.raises(InterruptedError):
        engine.connect()
    assert options["connect_timeout"] == seconds


def test_a_view_in_place_of_a_table(store: Store, postgresql_url: str) -> None:
    """It is refused before it is read."""
    view = """
        CREATE VIEW rows AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
        SELECT i AS key FROM n
    """
    with store.connection() as connection:
        connection.execute(text("ALTER TABLE rows RENAME TO rows_aside"))
        connection.execute(text(view))
    try:
        assert "it has a view rows" in refusal(postgresql_url)
    finally:
        with store.connection() as connection:
            connection.execute(text("DROP VIEW rows"))
            connection.execute(text("ALTER TABLE rows_aside RENAME TO rows"))
