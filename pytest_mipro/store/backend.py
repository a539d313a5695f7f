"""The base of the store's backends: everything in which one database differs from another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING

from sqlalchemy import URL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection, Engine, Table
    from sqlalchemy.sql.dml import Insert
    from typing_extensions import Self

    from pytest_mipro.store.lock import Mutex


class Backend(ABC):
    """One database that a store may be in.

    An implementation is a module of this package that is named after
    SQLAlchemy's backend, registered in ``url.BACKENDS``. It leaves out the
    methods whose work is needless in its database.

    Attributes:
        name: The URL without credentials, for messages.
        secrets: The texts that a message must not repeat.
        reading_options: SQLAlchemy's options for connections that only read.
        damage_advice: The next step for a user whose store is damaged.
    """

    name: str
    secrets: Sequence[str] = ()
    reading_options: Mapping[str, object] = MappingProxyType({})
    damage_advice: str

    def __init__(self, url: URL) -> None:
        """Use the database at a SQLAlchemy URL; open nothing yet."""
        self._url = url

    @abstractmethod
    def advice(self, reason: str) -> str:
        """Return the next step for a user, by the text of the driver's error."""

    @abstractmethod
    def create_engine(self) -> Engine:
        """Return SQLAlchemy's engine; errors of the driver and the URL are not caught."""

    def prepare(self, _create: Callable[[Self], None]) -> None:
        """Make sure that there is a database to connect to, if no user has to make it.

        The argument creates a store in the database of the backend that it is called with.

        Raises:
            StoreError: The database cannot be used or created.
        """
        return

    @abstractmethod
    def refusal(self, connection: Connection) -> str:
        """Return why a database can hold no store, with the next step; empty if it can.

        Views are a reason: in place of a table, the query of one may never end.
        """

    def keep_locks(self) -> None:
        """Take locks again that the database has released although this process holds them.

        Raises:
            StoreError: Another process has taken one meanwhile.
        """
        return

    def recover(self, _error: BaseException | None) -> bool:
        """Wait until the database answers again after an error of the driver.

        Returns:
            Whether the error was that of a broken connection, so that to try again makes sense.

        Raises:
            StoreError: Another process has taken a lock that this process held.
        """
        return False

    def initialize(self, _connection: Connection) -> None:
        """Set what is to hold for the whole database, before the tables are created."""
        return

    @abstractmethod
    def lock_schema(self, connection: Connection) -> None:
        """Keep other processes from creating tables until the transaction ends."""

    @abstractmethod
    def insert_once(self, table: Table) -> Insert:
        """Return the statement that inserts rows, except under keys that are in the table."""

    def compact(self, _connection: Connection) -> None:
        """Return the space of deleted rows to the operating system, if that is needed."""
        return

    @abstractmethod
    def mutex(self, engine: Engine, key: str) -> Mutex:
        """Return the lock of one compile key.

        Raises:
            SQLAlchemyError: The store cannot be written to.
        """


def url_for_messages(url: URL) -> str:
    """Return ``url`` without user, password and options, for messages."""
    bare = URL.create(url.drivername, host=url.host, port=url.port, database=url.database)
    return bare.render_as_string()
