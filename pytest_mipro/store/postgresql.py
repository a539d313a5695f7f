"""The PostgreSQL backend: a store that several machines share."""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from pytest_mipro.store import schema
from pytest_mipro.store.backend import without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import URL, Connection, Engine, Table
    from sqlalchemy.dialects.postgresql import Insert
    from typing_extensions import Self

_SCHEMA_LOCK = 0x6D6970726F
"""The number of the lock of the tables; any that no other application is likely to take."""
# PostgreSQL shows the number of an advisory lock in two halves.
_HOLDER = text("""
    SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid::bigint = :high AND objid::bigint = :low
""")

_VIEWS = text("""
    SELECT relname FROM pg_class
    WHERE relkind IN ('v', 'm') AND relname = ANY(:names) AND pg_table_is_visible(oid)
""")


class PostgresqlBackend:
    """A PostgreSQL database."""

    damage_advice = "put a backup in place, or use another store"

    def __init__(self, url: URL) -> None:
        """Use the database at ``url``; open nothing yet."""
        self._url = url

    @property
    def name(self) -> str:
        """The URL without user, password and options."""
        return without_credentials(self._url)

    @property
    def secrets(self) -> list[str]:
        """The passwords in the URL."""
        passwords = [self._url.password, *self._url.normalized_query.get("password", ())]
        return [str(password) for password in passwords if password]

    def advice(self, _reason: str) -> str:
        """Return the next step, which is the same for every error of a server."""
        return (
            "make sure that the server can be reached and that its user may create tables there, "
            "or use another store"
        )

    def create_engine(self) -> Engine:
        """Return an engine that replaces connections the server has closed."""
        return create_engine(self._url, pool_pre_ping=True)

    def prepare(self, create: Callable[[Self], None]) -> None:
        """Do nothing: the administrator of the server creates the database."""

    def foreign_objects(self, connection: Connection) -> Sequence[str]:
        """Return the views under the names of tables; other applications may have their own."""
        views = connection.scalars(_VIEWS, {"names": [*schema.METADATA.tables]})
        return [f"view {name}" for name in views]

    def initialize(self, connection: Connection) -> None:
        """Do nothing: the server has its settings."""

    def lock_schema(self, connection: Connection) -> None:
        """Take an advisory lock until the transaction ends."""
        connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))

    def insert_once(self, table: Table) -> Insert:
        """Return the statement that inserts rows, except under keys that are in the table."""
        return insert(table).on_conflict_do_nothing()

    def compact(self, connection: Connection) -> None:
        """Do nothing: the server vacuums by itself."""

    def mutex(self, engine: Engine, key: str) -> AdvisoryMutex:
        """Return the lock of one compile key."""
        return AdvisoryMutex(engine, key)


class AdvisoryMutex:
    """An advisory lock, which the server releases when the connection of its holder ends.

    The connection carries the holder's name, so that it ends with the lock.
    """

    def __init__(self, engine: Engine, key: str) -> None:
        """Derive the number of the lock from ``key``."""
        number = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._number = int.from_bytes(number, "big", signed=True)
        self._halves = {
            "high": int.from_bytes(number[:4], "big"),
            "low": int.from_bytes(number[4:], "big"),
        }
        self._engine = engine
        self._connection: Connection | None = None

    def acquire(self, owner: str) -> bool:
        """Take the lock if it is free."""
        if self._connection is None:
            self._connection = self._connect(owner)
        return bool(self._connection.scalar(select(func.pg_try_advisory_lock(self._number))))

    def owner(self) -> str | None:
        """Return the name that the connection of the holder carries."""
        if self._connection is None:
            return None
        name: str | None = self._connection.scalar(_HOLDER, self._halves)
        return name

    def release(self) -> None:
        """Unlock and close the connection."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # Closing alone would unlock it, too, but some time later. A broken connection has no lock.
        with suppress(SQLAlchemyError):
            connection.execute(select(func.pg_advisory_unlock_all()))
        connection.close()

    def _connect(self, owner: str) -> Connection:
        # In a transaction as long as a compile, the server could not vacuum.
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # The pool must not reuse it: the lock and the name belong to it.
        connection.execute(select(func.set_config("application_name", owner, False)))  # ruff: ignore[boolean-positional-value-in-call]
        return connection
