"""The store: opened once per process, by any of its threads at a time."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, select
from sqlalchemy.exc import OperationalError, ProgrammingError, SQLAlchemyError

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Proposal, Trace, Trial
from pytest_mipro.store import files, migrations, schema
from pytest_mipro.store.checksum import DamagedRecord
from pytest_mipro.store.lock import CompileLock
from pytest_mipro.store.messages import explain, explain_damage
from pytest_mipro.store.tables import DAY, ArtifactTable, RecordTable, RowTable, TrialTable
from pytest_mipro.store.url import StoreUrl

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


class Store:
    """
    Rows, traces, proposals, trials and artifacts, each under the key of its content.

    Attributes:
        name: Where it is, without credentials, for messages.
        rows: Evaluated (candidate, example) pairs.
        traces: Bootstrap attempts.
        proposals: Answers of the prompt model.
        artifacts: Compiled programs.

    """

    def __init__(self, address: StoreUrl, name: str) -> None:
        """Use ``open`` or ``in_memory`` instead."""
        self._address = address
        self._engine = address.engine()
        self.name = name
        connect, dialect = self.connection, self._engine.dialect
        self.rows = RowTable(connect, dialect)
        self.traces = RecordTable(connect, dialect, schema.TRACES, Trace)
        self.proposals = RecordTable(connect, dialect, schema.PROPOSALS, Proposal)
        self.artifacts = ArtifactTable(connect, dialect)
        self._trials = TrialTable(connect, dialect)
        try:
            self._prepare()
        except StoreError:
            self.close()
            raise

    @classmethod
    def open(cls, url: str) -> Store:
        """
        Open the store at a SQLAlchemy URL, and create it if there is none.

        Raises:
            StoreError: There is no usable store at ``url``, and none can be
                made there.

        """
        address = StoreUrl.parse(url)
        if address.file is not None:
            files.prepare(address.file, partial(cls._make, address))
        return cls(address, address.name)

    @classmethod
    def in_memory(cls) -> Store:
        """Return a store that lives as long as the object."""
        return cls.open("sqlite://")

    @classmethod
    def _make(cls, address: StoreUrl, path: Path) -> None:
        elsewhere = StoreUrl(address.url.set(database=str(path)), address.name)
        cls(elsewhere, address.name).close()

    @contextmanager
    def connection(self) -> Generator[Connection]:
        """
        Give a connection whose changes are committed at the end of the block.

        Raises:
            StoreError: Whatever the database, or a damaged record, raises in
                the block.

        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, UnicodeDecodeError) as error:
            # SQLite cites from a damaged file, and Python fails to read what it says.
            address = self._address
            raise explain(self.name, error, address.backend, address.secrets) from error
        except DamagedRecord as error:
            raise explain_damage(self.name, error, self._address.backend) from error

    def put_trial(self, search: str, *trials: Trial) -> None:
        """
        Write trials of the search called ``search``.

        Raises:
            StoreError: They cannot be written; none of them is, then.

        """
        self._trials.put(search, *trials)

    def trials(self, search: str) -> list[Trial]:
        """
        Return the trials of a search by number.

        Raises:
            StoreError: The store cannot be read, or a trial in it is not what
                was written.

        """
        return self._trials.of(search)

    def lease(self, key: str, who: str) -> CompileLock:
        """Return the right to compile ``key``, to be entered as a context."""
        return CompileLock(self.connection, key, who)

    def prune(self, days: float) -> dict[str, int]:
        """
        Remove what nobody has read or written for ``days``, to a day or so.

        Others may use the store meanwhile. Leases stay.

        Returns:
            How many records of each kind were removed.

        Raises:
            ValueError: ``days`` is negative.
            StoreError: The store cannot be written.

        """
        if not days >= 0:
            message = f"days={days!r} is no time to keep what is not used; use 0 or more"
            raise ValueError(message)
        before = time.time() - days * DAY
        kinds = (self.rows, self.traces, self.proposals, self._trials, self.artifacts)
        removed = {kind.name: kind.prune(before) for kind in kinds}
        if any(removed.values()) and self._address.backend == "sqlite":
            self._give_back_space()
        return removed

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _give_back_space(self) -> None:
        # Where there is no room for the copy this takes, or somebody is in the way for too long,
        # SQLite uses the space of what was removed for what comes next.
        with self.connection() as connection, suppress(OperationalError):
            connection.exec_driver_sql("VACUUM")

    def _prepare(self) -> None:
        """Make the tables, or bring them up to this version; most stores need neither."""
        if self._is_current():
            return
        with self.connection() as connection:
            self._version(connection)  # Refuses what is not ours before anything is written.
            if self._address.backend == "sqlite":
                _use_wal(connection)
        with self.connection() as connection:
            schema.lock(connection)
            migrations.bring_up(connection, self._version(connection))

    def _is_current(self) -> bool:
        about = select(schema.ABOUT.c.application, schema.ABOUT.c.version)
        with self.connection() as connection:
            try:
                found = connection.execute(about).all()
            except (OperationalError, ProgrammingError):
                return False  # There may be no such table; anything else will be wrong again.
        return [tuple(each) for each in found] == [(schema.APPLICATION, schema.VERSION)]

    def _version(self, connection: Connection) -> int:
        """
        Return the version of the tables, 0 if there are none.

        Raises:
            StoreError: They are somebody else's, or of a later version.

        """
        tables = set(inspect(connection).get_table_names())
        if not tables:
            return 0
        if not _has_about(connection, tables):
            raise StoreError(self._foreign)
        about = connection.execute(select(schema.ABOUT)).first()
        if about is None or about.application != schema.APPLICATION:
            raise StoreError(self._foreign)
        version: object = about.version
        if not isinstance(version, int) or version < 1:
            message = f"the format {version!r} of its tables"
            raise DamagedRecord(message)
        if version > schema.VERSION:
            message = (
                f"the store {self.name} has format {version}, this version of pytest-mipro "
                f"reads formats up to {schema.VERSION}; use another store, or the version that "
                "wrote it"
            )
            raise StoreError(message)
        return version

    @property
    def _foreign(self) -> str:
        return f"{self.name} is a database of something else; use another one for the store"


def _has_about(connection: Connection, tables: set[str]) -> bool:
    if schema.ABOUT.name not in tables:
        return False
    columns = {each["name"] for each in inspect(connection).get_columns(schema.ABOUT.name)}
    return columns == set(schema.ABOUT.columns.keys())


def _use_wal(connection: Connection) -> None:
    """Let readers and the writer work at the same time; this is kept in the file."""
    # SQLite does not wait for the lock this takes. If another process has it, that one
    # is opening the same new store and does the same.
    with suppress(OperationalError):
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
