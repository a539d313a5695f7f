"""The PostgreSQL backend: a store that several machines share."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, event, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from pytest_mipro.errors import StoreError
from pytest_mipro.store.backend import Backend, url_for_messages
from pytest_mipro.store.postgresql_definitions import foreign_definition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import URL, Connection, Engine, Table
    from sqlalchemy.dialects.postgresql import Insert

_SCHEMA_LOCK = 0x6D6970726F
"""The number of the lock of the tables; any that no other application is likely to take."""
# PostgreSQL shows the number of an advisory lock in two halves.
_HOLDER = text("""
    SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid::bigint = :high AND objid::bigint = :low
""")

# The connection does nothing while a task is compiled, which may take hours. Older servers than 14
# have no such limit.
_PREPARE_LOCK = text("""
    SELECT set_config('application_name', :owner, false), (
        SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'
    )
""")

_PROPERTIES = text("""
    SELECT pg_catalog.current_setting('server_encoding'), pg_catalog.current_schemas(true)
""")

_DRIVER = "psycopg"
_MISSING = """\
the store {name} needs {driver}, which cannot be imported: {error}. Install it:
    python -m pip install "pytest-mipro[postgresql]\""""
_OPTIONS: dict[str, object] = {
    "connect_timeout": 10,
    # A cut cable is noticed after a minute.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    # Without it a driver reads texts of some databases as bytes.
    "client_encoding": "utf8",
}
RECONNECTION = 60.0
"""Seconds that a server has to come back, as after a restart."""
_POLL = 0.5
"""Seconds between two attempts to reach it."""


class PostgresqlBackend(Backend):
    """A PostgreSQL database."""

    damage_advice = "put a backup in place, or use another store"
    # Records are written once, so that queries need no snapshot: BEGIN and COMMIT would each take
    # as long as a query does.
    reading_options: Mapping[str, object] = MappingProxyType({"isolation_level": "AUTOCOMMIT"})

    def __init__(self, url: URL) -> None:
        """Use the database at ``url``; open nothing yet.

        Raises:
            StoreError: The URL names another driver than psycopg.
        """
        super().__init__(url)
        self.name = url_for_messages(url)
        passwords = [url.password, *url.normalized_query.get("password", ())]
        self.secrets = [str(password) for password in passwords if password]
        if url.drivername not in {"postgresql", f"postgresql+{_DRIVER}"}:
            message = (
                f"the store {self.name} names a driver that is not supported; use "
                f"{self.name.replace(url.drivername, 'postgresql', 1)}, which uses {_DRIVER}"
            )
            raise StoreError(message)
        self._engine: Engine | None = None
        self._held: set[AdvisoryMutex] = set()
        self._recovery = threading.Lock()
        self._has_lost_connections = False

    def advice(self, _reason: str) -> str:
        """Return the next step, which is the same for every error of a server."""
        return (
            "make sure that the server can be reached and that its user may create tables there, "
            "or use another store; what the store has is kept, and not paid for again"
        )

    def create_engine(self) -> Engine:
        """Return an engine that connects with psycopg.

        Raises:
            StoreError: The driver is not installed.
        """
        # What the user sets in the URL counts.
        options = {name: _OPTIONS[name] for name in _OPTIONS.keys() - self._url.query.keys()}
        # Without a name, SQLAlchemy's driver depends on its version.
        url = self._url.set(drivername=f"postgresql+{_DRIVER}")
        try:
            # The store has no column of the type whose presence each connection would look up.
            self._engine = create_engine(url, use_native_hstore=False, connect_args=options)
        except ImportError as error:  # psycopg is missing, or the library that it needs is.
            message = _MISSING.format(name=self.name, driver=_DRIVER, error=error)
            raise StoreError(message) from error
        event.listen(self._engine, "invalidate", self._note_loss)
        return self._engine

    def refusal(self, connection: Connection) -> str:
        """Name an encoding that cannot hold every text, or what is more than tables and indexes."""
        encoding, path = connection.execute(_PROPERTIES).one()
        if encoding != "UTF8":
            return (
                f"is a database with the encoding {encoding}, which cannot hold every text; make "
                "one for the store with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            )
        definition = foreign_definition(connection, path)
        return (
            f"is a database of something else, it has {definition}, which no store has; use "
            "another one for the store"
            if definition
            else ""
        )

    def recover(self, error: BaseException | None) -> bool:
        """Wait until the server answers again, and keep the locks."""
        if not _is_interruption(error) or self._engine is None:
            return False
        deadline = time.monotonic() + RECONNECTION
        while not _answers(self._engine):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        self._has_lost_connections = True
        self.keep_locks()
        return True

    def lock_schema(self, connection: Connection) -> None:
        """Take an advisory lock until the transaction ends."""
        connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))

    def insert_once(self, table: Table) -> Insert:
        """Return the statement that inserts rows, except under keys that are in the table."""
        return insert(table).on_conflict_do_nothing()

    def keep_locks(self) -> None:
        """Take the locks again that the server released when connections broke.

        Raises:
            StoreError: Another process has taken one meanwhile.
        """
        if not self._has_lost_connections:
            return
        with self._recovery:  # One thread takes the locks again; the others find them taken.
            self._has_lost_connections = False
            for mutex in [*self._held]:
                mutex.renew()

    def _note_loss(self, *_: object) -> None:
        self._has_lost_connections = True

    def mutex(self, engine: Engine, key: str) -> AdvisoryMutex:
        """Return the lock of one compile key."""
        return AdvisoryMutex(engine, key, self)

    def note_held(self, mutex: AdvisoryMutex, *, is_held: bool) -> None:
        """Note that a lock was taken or released, for ``recover``."""
        (self._held.add if is_held else self._held.discard)(mutex)


class AdvisoryMutex:
    """An advisory lock, which the server releases when the connection of its holder ends.

    The connection carries the holder's name, so that it ends with the lock.
    """

    def __init__(self, engine: Engine, key: str, backend: PostgresqlBackend) -> None:
        """Derive the number of the lock from ``key``."""
        self._backend = backend
        self._owner = ""
        number = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._number = int.from_bytes(number, "big", signed=True)
        self._halves = {
            "high": int.from_bytes(number[:4], "big"),
            "low": int.from_bytes(number[4:], "big"),
        }
        self._engine = engine
        self._connection: Connection | None = None

    def acquire(self, owner: str) -> bool:
        """Take the lock if it is free; it counts as taken while the connection is broken."""
        self._owner = owner
        try:
            is_held = self._attempt()
        except SQLAlchemyError as error:
            self._close()
            if not self._backend.recover(error):
                raise
            return False
        if is_held:
            self._backend.note_held(self, is_held=True)
        return is_held

    def owner(self) -> str | None:
        """Return the name that the connection of the holder carries."""
        if self._connection is None:
            return None
        try:
            name: str | None = self._connection.scalar(_HOLDER, self._halves)
        except SQLAlchemyError:
            return None  # The next attempt to take the lock says why.
        return name

    def renew(self) -> None:
        """Take the lock again if the server released it with its connection.

        Raises:
            StoreError: Another process has taken it meanwhile.
        """
        if self._connection is not None and _is_alive(self._connection):
            return
        self._close()
        if not self._attempt():
            holder = self.owner() or "another process"
            self.release()
            message = (
                f"the connection to the store {self._backend.name} broke, and {holder} works on "
                "the same task now; run again, to take its result"
            )
            raise StoreError(message)

    def release(self) -> None:
        """Unlock and close the connection."""
        self._backend.note_held(self, is_held=False)
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # Closing alone would unlock it, too, but some time later. A broken connection has no lock.
        with suppress(SQLAlchemyError):
            connection.execute(select(func.pg_advisory_unlock_all()))
        connection.close()

    def _attempt(self) -> bool:
        if self._connection is None:
            self._connection = self._connect(self._owner)
        return bool(self._connection.scalar(select(func.pg_try_advisory_lock(self._number))))

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _connect(self, owner: str) -> Connection:
        # In a transaction as long as a compile, the server could not vacuum.
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # The pool must not reuse it: the lock and the name belong to it.
        connection.execute(_PREPARE_LOCK, {"owner": owner})
        return connection


def _is_interruption(error: BaseException | None) -> bool:
    """Whether the connection broke, or the server stops or starts."""
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None) or ""  # A refused connection has none.
    is_unreachable = isinstance(error, OperationalError) and not state
    return error.connection_invalidated or is_unreachable or state.startswith(("57P0", "08"))


def _answers(engine: Engine) -> bool:
    try:
        with engine.connect() as connection:
            return _is_alive(connection)
    except SQLAlchemyError:
        return False


def _is_alive(connection: Connection) -> bool:
    try:
        return connection.scalar(select(1)) == 1
    except SQLAlchemyError:
        return False
