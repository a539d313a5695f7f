from __future__ import annotations

import socket
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from database_server import PASSWORD
from sqlalchemy import event, text, update
from sqlalchemy.engine import make_url
from store_checks import NEXT_STEP, refusal

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store import Store, schema
from pytest_mipro.store.postgresql import PostgresqlBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from database_server import Server
    from sqlalchemy import Connection

pytestmark = pytest.mark.uses("psycopg", "sqlalchemy")

_LIMIT = text("SHOW idle_session_timeout")


@pytest.fixture
def url(postgresql_url: str) -> str:
    """Return the URL of a database on a server."""
    return postgresql_url


def interrupt(holder: str) -> None:
    """Stop to wait for the holder of a lock."""
    raise InterruptedError(holder)


def test_names_the_database_without_credentials() -> None:
    """Messages name driver, host and database, and never repeat a password."""
    url = make_url("postgresql+psycopg://me:hunter2@host:5433/db?password=hunter3")
    backend = PostgresqlBackend(url)
    assert backend.name == "postgresql+psycopg://host:5433/db"
    assert backend.secrets == ["hunter2", "hunter3"]


def test_a_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the command that installs it, and no password."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    message = refusal("postgresql://me:hunter2@host/db")
    assert "the store postgresql://host/db needs psycopg" in message
    assert 'python -m pip install "pytest-mipro[postgresql]"' in message
    assert "hunter2" not in message


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg", "nosuchdriver"])
def test_another_driver(driver: str) -> None:
    """It is refused with the URL to use."""
    message = refusal(f"postgresql+{driver}://me:hunter2@host/db")
    assert "use postgresql://host/db, which uses psycopg" in message
    assert "hunter2" not in message


def test_a_cut_connection_is_replaced(store: Store, url: str, postgresql: Server) -> None:
    """The work goes on, and no other process gets the lock meanwhile."""
    with (
        closing(Store.open(url)) as second,
        store.compile_lock("cut", "first").wait(on_wait=pytest.fail),
    ):
        store.rows.put(Row("before", 1.0))
        postgresql.terminate("test")
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

    assert store._connections.write(work) == 7
    assert broken


def test_a_lock_that_another_process_has_taken(store: Store, url: str, postgresql: Server) -> None:
    """The run ends with an error that says who works on the task."""
    with (
        closing(Store.open(url)) as second,
        store.compile_lock("lost", "first").wait(on_wait=pytest.fail),
    ):
        postgresql.terminate("test", "application_name = 'first'")
        with second.compile_lock("lost", "second").wait(on_wait=lambda _: None):
            store._backend._note_loss()  # type: ignore[attr-defined]
            with pytest.raises(StoreError, match="broke, and second works on the same task now"):
                store.rows.put(Row("k", 1.0))


def test_a_lock_outlives_the_servers_limit_of_idle_connections(
    url: str, postgresql: Server
) -> None:
    """Its connection does nothing while a task is compiled, which may take longer."""
    postgresql.execute("ALTER DATABASE test SET idle_session_timeout = '1h'")
    try:
        with closing(Store.open(url)) as store:
            lock = store.compile_lock("idle", "first").wait(on_wait=pytest.fail)
            with lock, store.connection() as connection:
                mutex: Any = lock._mutex
                assert mutex._connection.scalar(_LIMIT) == "0"
                assert connection.scalar(_LIMIT) == "1h"
    finally:
        postgresql.execute("ALTER DATABASE test RESET idle_session_timeout")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text(postgresql: Server, encoding: str) -> None:
    """The error names the encoding, and how to make a database with another."""
    options = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    message = refusal(postgresql.new_database(options))
    assert f"the encoding {encoding}" in message
    assert "CREATE DATABASE … ENCODING 'UTF8'" in message


@pytest.fixture
def guest(postgresql: Server) -> Iterator[str]:
    """Return the URL of the database for a user who may connect to it, and nothing else."""
    postgresql.execute("CREATE USER guest PASSWORD 'hunter2'")
    yield postgresql.url("test", user="guest", password="hunter2")
    postgresql.execute("DROP OWNED BY guest", "test")
    postgresql.execute("DROP USER guest")


def test_a_user_without_rights(url: str, guest: str) -> None:
    """The error says what its user lacks, in an empty database."""
    message = refusal(guest)
    assert "permission denied" in message or "no schema has been selected" in message
    assert "its user may create tables there" in message
    assert "hunter2" not in message


def test_a_user_who_may_only_read(store: Store, postgresql: Server, guest: str) -> None:
    """Results are read, and an error says why none can be written."""
    store.rows.put(Row("k", 1.0))
    with store.connection() as connection:
        connection.execute(update(schema.ROWS).values(used=1.0))
    postgresql.execute("GRANT USAGE ON SCHEMA public TO guest", "test")
    postgresql.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest", "test")
    with closing(Store.open(guest)) as reader:
        assert reader.rows.get("k") == Row("k", 1.0)
        with pytest.raises(StoreError, match="permission denied for table rows"):
            reader.rows.put(Row("l", 1.0))


@pytest.mark.parametrize(
    "values, reason",
    [
        ({"password": "hunter2"}, "password authentication failed"),
        ({"username": "nobody", "password": "hunter2"}, "password authentication failed"),
        ({"database": "nosuch"}, 'database "nosuch" does not exist'),
    ],
    ids=["password", "user", "database"],
)
def test_a_store_that_cannot_be_opened(url: str, values: dict[str, str], reason: str) -> None:
    """The error has the server's reason, the next step, and no password."""
    changed = make_url(url).set(**values)  # type: ignore[arg-type]
    message = refusal(changed.render_as_string(hide_password=False))
    assert reason in message
    assert NEXT_STEP.search(message)
    assert "hunter2" not in message
    assert PASSWORD not in message


def test_a_server_that_is_gone(url: str) -> None:
    """The error says so at once."""
    with closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        message = refusal(make_url(url).set(port=port).render_as_string(hide_password=False))
    assert "Connection refused" in message
    assert "make sure that the server can be reached" in message


def test_a_server_that_does_not_answer() -> None:
    """It is given up after the time that the URL sets."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        message = refusal(f"postgresql://me:hunter2@127.0.0.1:{port}/db?connect_timeout=2")
    assert "timeout" in message
    assert "make sure that the server can be reached" in message


@pytest.mark.parametrize("query, seconds", [("", 10), ("?connect_timeout=3", "3")])
def test_connecting_ends(query: str, seconds: object) -> None:
    """A server that does not answer is given up, after the time that the URL sets."""
    engine = PostgresqlBackend(make_url(f"postgresql://host/db{query}")).create_engine()
    options: dict[str, object] = {}

    def refuse(_dialect: object, _record: object, _args: object, values: dict[str, object]) -> None:
        options.update(values)
        raise InterruptedError

    event.listen(engine, "do_connect", refuse)
    with pytest.raises(InterruptedError):
        engine.connect()
    assert options["connect_timeout"] == seconds
