"""The store: one database with all records, opened once per process and used by its threads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, select
from sqlalchemy.exc import OperationalError, ProgrammingError

from pytest_mipro.errors import StoreError
from pytest_mipro.records import FailStreak, Proposal, Trace
from pytest_mipro.store import schema
from pytest_mipro.store.buffered_table import BufferedTable
from pytest_mipro.store.checksum import DamagedRecord
from pytest_mipro.store.connections import Connections
from pytest_mipro.store.lock import CompileLock
from pytest_mipro.store.looks import LookTable
from pytest_mipro.store.response import Response
from pytest_mipro.store.tables import DAY, ArtifactTable, RecordTable, RowTable
from pytest_mipro.store.url import backend_at, backend_of_file

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pytest_mipro.store.backend import Backend


class Store:
    """Rows, traces, proposals, artifacts, looks and responses, each under the key of its content.

    Attributes:
        name: The URL or path of the store without credentials, for messages.
        rows: Evaluated (candidate, example) pairs.
        traces: Bootstrap attempts.
        proposals: Answers of the prompt model.
        artifacts: Compiled programs.
        streaks: In how many runs in a row verdicts are FAILs.
        looks: Looks at held-out examples.
        responses: Responses of language models.
    """

    def __init__(self, backend: Backend) -> None:
        """Connect to the database and create the tables; ``open`` creates the database, too."""
        self._backend = backend
        self._connections = connections = Connections(backend)
        self.name = backend.name
        self.rows = RowTable(connections)
        self.traces = RecordTable(connections, schema.TRACES, Trace)
        self.proposals = RecordTable(connections, schema.PROPOSALS, Proposal)
        self.artifacts = ArtifactTable(connections)
        self.streaks = RecordTable(connections, schema.STREAKS, FailStreak)
        self.looks = LookTable(connections)
        self.responses = BufferedTable(connections, schema.RESPONSES, Response)
        try:
            self._prepare()
        except StoreError:
            self.close()
            raise

    @classmethod
    def open(cls, url: str) -> Store:
        """Open the store at a SQLAlchemy URL, and create it if there is none.

        Raises:
            StoreError: No usable store is at ``url``, and none can be created there.
        """
        return cls._opened(backend_at(url))

    @classmethod
    def open_file(cls, path: Path) -> Store:
        """Open the store in a SQLite file, and create it if there is none.

        Raises:
            StoreError: As ``open``.
        """
        return cls._opened(backend_of_file(path))

    @classmethod
    def _opened(cls, backend: Backend) -> Store:
        backend.prepare(lambda new: cls(new).close())
        return cls(backend)

    @classmethod
    def in_memory(cls) -> Store:
        """Return a store that lives as long as the object."""
        return cls.open("sqlite://")

    def connection(self) -> AbstractContextManager[Connection]:
        """Give a connection whose changes are committed at the end of the block.

        Raises:
            StoreError: The block raises an error of the database, or meets a damaged record.
        """
        return self._connections.writing()

    @property
    def unbelieved(self) -> int:
        """How many records were read that lack a valid seal, and count as absent."""
        return sum(table.unbelieved for table in self._tables)

    @property
    def _tables(self) -> tuple[RecordTable[Any], ...]:
        results = (self.rows, self.traces, self.proposals, self.artifacts)
        return *results, self.looks, self.streaks, self.responses

    def compile_lock(self, key: str, owner: str) -> CompileLock:
        """Return the lock on compiling ``key``, which its ``wait`` takes for the process ``owner``.

        Raises:
            StoreError: The store cannot be written.
        """
        return CompileLock(self._connections.mutex(key), owner, self._connections.explained)

    def prune(self, days: float) -> dict[str, int]:
        """Delete records that were last read or written ``days`` ago or earlier, to within a day.

        Other processes may use the store meanwhile.

        Returns:
            How many records of each kind were deleted.

        Raises:
            ValueError: ``days`` is negative.
            StoreError: The store cannot be written.
        """
        if not days >= 0:
            message = f"days={days!r} is no time to keep unused records for; use 0 or more"
            raise ValueError(message)
        deadline = time.time() - days * DAY
        counts = {table.name: table.prune(deadline) for table in self._tables}
        if any(counts.values()):
            with self.connection() as connection:
                self._backend.compact(connection)
        return counts

    def close(self) -> None:
        """Close all connections to the database."""
        self._connections.close()

    def _prepare(self) -> None:
        """Create the tables in an empty database; most stores have them."""
        self._refuse_database()
        if self._is_current():
            return
        with self.connection() as connection:
            self._check_format(connection)  # A foreign database is refused before any change.
            self._backend.initialize(connection)
        with self.connection() as connection:
            self._backend.lock_schema(connection)
            if self._check_format(connection) is None:
                schema.create(connection)

    def _refuse_database(self) -> None:
        """Raise a StoreError if the database can hold no store."""
        with self._connections.reading() as connection:
            refusal = self._backend.refusal(connection)
        if refusal:
            message = f"{self.name} {refusal}"
            raise StoreError(message)

    def _is_current(self) -> bool:
        query = select(schema.ABOUT.c.application, schema.ABOUT.c.version)
        with self._connections.reading() as connection:
            try:
                rows = connection.execute(query).all()
            except (OperationalError, ProgrammingError):
                return False  # The table may be missing; any other error will come up again.
        return [tuple(row) for row in rows] == [(schema.APPLICATION, schema.VERSION)]

    def _check_format(self, connection: Connection) -> int | None:
        """Return the format of the store, which is the current one; None if there are no tables.

        Raises:
            StoreError: Another application made the tables, or they have another format.
        """
        tables = set(inspect(connection).get_table_names())
        if not tables:
            return None
        row = connection.execute(select(schema.ABOUT)).first() if _has_about(connection) else None
        if row is None or row.application != schema.APPLICATION:
            message = f"{self.name} is a database of something else; use another one for the store"
            raise StoreError(message)
        version: object = row.version
        if not isinstance(version, int) or version < 1:
            message = f"the format {version!r} of its tables"
            raise DamagedRecord(message)
        if version != schema.VERSION:
            message = (
                f"the store {self.name} has format {version}, this version of pytest-mipro reads "
                f"format {schema.VERSION} alone; use another store, or the version of "
                "pytest-mipro that wrote it"
            )
            raise StoreError(message)
        return version


def _has_about(connection: Connection) -> bool:
    inspector = inspect(connection)
    if not inspector.has_table(schema.ABOUT.name):
        return False
    columns = {column["name"] for column in inspector.get_columns(schema.ABOUT.name)}
    return columns == set(schema.ABOUT.columns.keys())
