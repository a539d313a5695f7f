"""The interface of a store backend: everything in which one database differs from another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlalchemy import URL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection, Engine, Table
    from sqlalchemy.sql.dml import Insert
    from typing_extensions import Self

    from pytest_mipro.store.lock import Mutex


class Backend(Protocol):
    """One database that a store may be in.

    An implementation is a module of this package that is named after
    SQLAlchemy's backend, registered in ``url.BACKENDS``.
    """

    def __init__(self, url: URL) -> None:
        """Use the database at a SQLAlchemy URL; open nothing yet."""

    @property
    def name(self) -> str:
        """The URL without credentials, for messages."""

    @property
    def secrets(self) -> Sequence[str]:
        """The texts that a message must not repeat."""

    @property
    def reading_options(self) -> Mapping[str, object]:
        """SQLAlchemy's options for connections that only read."""

    @property
    def damage_advice(self) -> str:
        """The next step for a user whose store is damaged."""

    def advice(self, reason: str) -> str:
        """Return the next step for a user, by the text of the driver's error."""

    def create_engine(self) -> Engine:
        """Return SQLAlchemy's engine; errors of the driver and the URL are not caught."""

    def prepare(self, create: Callable[[Self], None]) -> None:
        """Make sure that there is a database to connect to.

        Args:
            create: Creates a store in the database of the backend that it is called with.

        Raises:
            StoreError: The database cannot be used or created.
        """

    def refusal(self, connection: Connection) -> str:
        """Return why a database can hold no store, with the next step; empty if it can.

        Views are a reason: in place of a table, the query of one may never end.
        """

    def keep_locks(self) -> None:
        """Take locks again that the database has released although this process holds them.

        Raises:
            StoreError: Another process has taken one meanwhile.
        """

    def recover(self, error: BaseException | None) -> bool:
        """Wait until the database answers again after its connection broke.

        Args:
            error: The error of the driver.

        Returns:
            Whether it does, and to try again makes sense.

        Raises:
            StoreError: Another process has taken a lock that this process held.
        """

    def initialize(self, connection: Connection) -> None:
        """Set what is to hold for the whole database, before the tables are created."""

    def lock_schema(self, connection: Connection) -> None:
        """Keep other processes from creating tables until the transaction ends."""

    def insert_once(self, table: Table) -> Insert:
        """Return the statement that inserts rows, except under keys that are in the table."""

    def compact(self, connection: Connection) -> None:
        """Return the space of deleted rows to the operating system, if that is needed."""

    def mutex(self, engine: Engine, key: str) -> Mutex:
        """Return the lock of one compile key.

        Raises:
            SQLAlchemyError: The store cannot be written to.
        """


def url_for_messages(url: URL) -> str:
    """Return ``url`` without user, password and options, for messages."""
    bare = URL.create(url.drivername, host=url.host, port=url.port, database=url.database)
    return bare.render_as_string()
