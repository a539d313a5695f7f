"""The connections of a store to its database, and the transactions on them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from pytest_mipro.errors import StoreError
from pytest_mipro.store.checksum import DamagedRecord
from pytest_mipro.store.messages import explain, explain_damage
from pytest_mipro.store.url import open_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from pytest_mipro.store.backend import Backend
    from pytest_mipro.store.lock import Mutex

T = TypeVar("T")

_ATTEMPTS = 5
"""Most times that a transaction is tried whose connection breaks each time."""


class Connections:
    """Gives connections to the threads of a process, and explains the errors on them.

    Attributes:
        backend: The database.
    """

    def __init__(self, backend: Backend) -> None:
        """Connect when a connection is needed."""
        self.backend = backend
        self._engine = open_engine(backend)
        self._reading_engine = self._engine.execution_options(**backend.reading_options)

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """Give a connection whose changes are committed at the end of the block.

        Raises:
            StoreError: The block raises an error of the database, or meets a damaged record.
        """
        with self.explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """Give a connection for queries, without a transaction where that takes more time.

        Raises:
            StoreError: As ``writing``.
        """
        with self.explained(), self._reading_engine.connect() as connection:
            yield connection

    def write(self, work: Callable[[Connection], T]) -> T:
        """Return ``work`` in a transaction, which is repeated if the connection breaks.

        Repeated, it writes the same: a record is named by its content and written once.

        Raises:
            StoreError: As ``writing``.
        """
        return self._repeated(self.writing, work)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return ``work``, which only reads, and is repeated if the connection breaks.

        Raises:
            StoreError: As ``writing``.
        """
        return self._repeated(self.reading, work)

    @contextmanager
    def explained(self) -> Generator[None]:
        """Raise a StoreError for an error of the database in the block."""
        try:
            yield
        except (SQLAlchemyError, UnicodeDecodeError) as error:
            # SQLite cites a damaged file in its message, which Python then cannot decode.
            raise explain(self.backend, error) from error
        except DamagedRecord as error:
            raise explain_damage(self.backend, error) from error

    def mutex(self, key: str) -> Mutex:
        """Return the lock of one compile key.

        Raises:
            StoreError: The store cannot be written.
        """
        with self.explained():
            return self.backend.mutex(self._engine, key)

    def close(self) -> None:
        """Close all connections to the database."""
        self._engine.dispose()

    def _repeated(
        self,
        connect: Callable[[], AbstractContextManager[Connection]],
        work: Callable[[Connection], T],
    ) -> T:
        attempts = 0
        while True:
            attempts += 1
            try:
                with connect() as connection:
                    result = work(connection)
                self.backend.keep_locks()
            except StoreError as error:
                if attempts == _ATTEMPTS or not self.backend.recover(error.__cause__):
                    raise
            else:
                return result
