"""Where a store is: a URL, checked, named without its secrets, and connected to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from pytest_mipro.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from typing_extensions import Self

_EXAMPLES = "URLs look like sqlite:///.mipro/store.db or postgresql+psycopg://host/database"


@dataclass(frozen=True)
class StoreUrl:
    """
    Where a store is.

    Attributes:
        url: Its SQLAlchemy URL.
        name: The same for messages, without credentials.

    """

    url: URL
    name: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """
        Read a SQLAlchemy URL.

        Raises:
            StoreError: It is none, or one of a database that is no use here.

        """
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError) as error:
            # The URL may hold a password anywhere but in its first part.
            message = (
                f"the store URL {url.partition(':')[0]!r}… is not one SQLAlchemy knows; {_EXAMPLES}"
            )
            raise StoreError(message) from error
        address = cls(parsed, _name(parsed))
        if address.backend not in {"sqlite", "postgresql"}:
            message = (
                f"the store {address.name} cannot be kept in a database of that kind; "
                f"use SQLite or PostgreSQL; {_EXAMPLES}"
            )
            raise StoreError(message)
        return address

    @property
    def backend(self) -> str:
        """The kind of database."""
        return self.url.get_backend_name()

    @property
    def in_memory(self) -> bool:
        """Whether there is nothing on disk."""
        return self.backend == "sqlite" and self.url.database in {None, "", ":memory:"}

    @property
    def file(self) -> Path | None:
        """The file of a store that is one, unless only SQLite can read its name."""
        path = self.url.database
        if self.backend != "sqlite" or self.in_memory or path is None or path.startswith("file:"):
            return None
        return Path(path)

    @property
    def secrets(self) -> list[str]:
        """What a message must not repeat."""
        if self.backend == "sqlite":
            return []
        parts = [self.url.password, *self.url.normalized_query.get("password", ())]
        return [str(part) for part in parts if part]

    def engine(self) -> Engine:
        """
        Return what connects to the store; nothing is opened yet.

        Raises:
            StoreError: Its driver is not installed, or refuses the URL.

        """
        try:
            return self._engine()
        except (ModuleNotFoundError, SQLAlchemyError) as error:
            message = (
                f"the store {self.name} cannot be opened: {error}; "
                f"install the driver it needs, or use another store; {_EXAMPLES}"
            )
            raise StoreError(message) from error
        except (TypeError, ValueError) as error:
            # What is wrong with an option may be told together with a password.
            message = f"the store {self.name} cannot be opened: check its options; {_EXAMPLES}"
            raise StoreError(message) from error

    def _engine(self) -> Engine:
        if self.backend != "sqlite":
            return create_engine(self.url, pool_pre_ping=True)
        # Who is going to write asks for that at once: who has read before would not be let wait.
        options: dict[str, object] = {"isolation_level": "IMMEDIATE"}
        if self.in_memory:
            options["check_same_thread"] = False
            # All threads share one connection, one after the other.
            engine = create_engine(
                self.url, connect_args=options, poolclass=QueuePool, pool_size=1, max_overflow=0
            )
        else:
            engine = create_engine(self.url, connect_args=options)
        event.listen(engine, "connect", _configure)
        return engine


def _name(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return url.database or "in memory"
    bare = URL.create(url.drivername, host=url.host, port=url.port, database=url.database)
    return bare.render_as_string()


def _configure(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.close()
