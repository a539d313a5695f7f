"""The store: opened once per process, used by one thread at a time."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine, Table, create_engine, event, insert, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Artifact, Proposal, Row, Trace, Trial
from pytest_mipro.store import schema
from pytest_mipro.store.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable
    from typing import Any

    from sqlalchemy import URL
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from typing_extensions import Self

APPLICATION = "pytest-mipro"
_EXAMPLES = "URLs look like sqlite:///.mipro/store.db or postgresql+psycopg://host/database"
_LOOKUP = 500
"""Keys asked for in one query; databases limit the parameters of a statement."""


class _Storable(Protocol):
    def to_dict(self) -> dict[str, Any]: ...

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self: ...


class _Keyed(_Storable, Protocol):
    @property
    def key(self) -> str: ...


S = TypeVar("S", bound=_Storable)
R = TypeVar("R", bound=_Keyed)


class Shelf(Generic[R]):
    """
    All records of one kind, by key.

    A record is written once: a second one under the same key is ignored, as
    the first has been used already.
    """

    def __init__(self, store: Store, table: Table, record: type[R]) -> None:
        """Serve ``record`` instances out of ``table``."""
        self._store = store
        self._table = table
        self._record = record

    def get(self, key: str) -> R | None:
        """Return the record under ``key``, if there is one."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, R]:
        """Return the records there are under any of ``keys``, by key."""
        found: dict[str, R] = {}
        left = iter(dict.fromkeys(keys))
        with self._store.connection() as connection:
            while batch := list(islice(left, _LOOKUP)):
                query = select(self._table.c.key, self._table.c.value).where(
                    self._table.c.key.in_(batch)
                )
                found.update(
                    (key, _load(self._record, f"{self._table.name}/{key}", value))
                    for key, value in connection.execute(query)
                )
        return found

    def put(self, *records: R) -> None:
        """Write ``records``; when this returns they survive the death of the process."""
        with self._store.connection() as connection:
            for record in records:
                _insert_once(connection, self._table, self._values(record))

    def _values(self, record: R) -> dict[str, Any]:
        return {"key": record.key, "value": record.to_dict(), "created": time.time()}


class _ArtifactShelf(Shelf[Artifact]):
    """Artifacts are also found by the task they were compiled for."""

    def latest(self, task: str) -> Artifact | None:
        """Return the artifact compiled last for ``task``."""
        query = (
            select(self._table.c.value)
            .where(self._table.c.task == task)
            .order_by(self._table.c.created.desc())
            .limit(1)
        )
        with self._store.connection() as connection:
            row = connection.execute(query).first()
            return None if row is None else _load(Artifact, f"an artifact of {task}", row.value)

    def _values(self, record: Artifact) -> dict[str, Any]:
        return {**super()._values(record), "task": record.task}


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

    def __init__(self, engine: Engine, name: str) -> None:
        """Use ``open`` or ``in_memory`` instead."""
        self._engine = engine
        self.name = name
        self.rows = Shelf(self, schema.ROWS, Row)
        self.traces = Shelf(self, schema.TRACES, Trace)
        self.proposals = Shelf(self, schema.PROPOSALS, Proposal)
        self.artifacts = _ArtifactShelf(self, schema.ARTIFACTS, Artifact)
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
        try:
            parsed = make_url(url)
            name = _name(parsed)
            engine = create_engine(parsed)
        except (ArgumentError, ValueError) as error:
            # The URL may hold a password anywhere but in its first part.
            message = (
                f"the store URL {url.partition(':')[0]!r}… is not one SQLAlchemy knows; {_EXAMPLES}"
            )
            raise StoreError(message) from error
        except (ModuleNotFoundError, SQLAlchemyError) as error:
            message = (
                f"the store {name} cannot be opened: {error}; "
                f"install the driver it needs, or use another store; {_EXAMPLES}"
            )
            raise StoreError(message) from error
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            _prepare_folder(Path(parsed.database).parent, name)
            event.listen(engine, "connect", _configure_sqlite)
        return cls(engine, name)

    @classmethod
    def in_memory(cls) -> Store:
        """Return a store that lives as long as the object."""
        engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        return cls(engine, "in memory")

    @contextmanager
    def connection(self) -> Generator[Connection]:
        """Give a connection whose changes are committed at the end of the block."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, ValueError) as error:
            # A ValueError is a record that cannot be read back.
            reason = getattr(error, "orig", None) or error
            message = (
                f"the store {self.name} cannot be used: {reason}; if the file is damaged, move it "
                "aside and run again (nothing is deleted for you)"
            )
            raise StoreError(message) from error

    def put_trial(self, search: str, trial: Trial) -> None:
        """Write one trial of the search called ``search``."""
        values = {"search": search, "number": trial.number, "value": trial.to_dict()}
        with self.connection() as connection:
            _insert_once(connection, schema.TRIALS, values)

    def trials(self, search: str) -> list[Trial]:
        """Return the trials of a search by number."""
        table = schema.TRIALS
        query = select(table.c.value).where(table.c.search == search).order_by(table.c.number)
        with self.connection() as connection:
            return [
                _load(Trial, f"a trial of {search}", row.value) for row in connection.execute(query)
            ]

    def lease(self, key: str, who: str) -> Lease:
        """Return the right to compile ``key``, to be entered as a context."""
        return Lease(self.connection, key, who)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _prepare(self) -> None:
        with self.connection() as connection:
            self._refuse_foreign(connection)
            if self._engine.dialect.name == "sqlite":
                _use_wal(connection)
            schema.create(connection)
            values = {"id": 1, "application": APPLICATION, "version": schema.VERSION}
            _insert_once(connection, schema.ABOUT, values)

    def _refuse_foreign(self, connection: Connection) -> None:
        """Raise StoreError, before anything is written, if this is no store of ours."""
        tables = set(inspect(connection).get_table_names())
        if not tables:
            return
        if not _has_about(connection, tables):
            raise StoreError(self._foreign)
        about = connection.execute(select(schema.ABOUT)).first()
        if about is None:
            # Another process is making the store at this moment, or it is somebody else's.
            if not tables <= schema.METADATA.tables.keys():
                raise StoreError(self._foreign)
        elif about.application != APPLICATION:
            raise StoreError(self._foreign)
        elif about.version != schema.VERSION:
            message = (
                f"the store {self.name} has format {about.version}, this version of pytest-mipro "
                f"reads format {schema.VERSION}; use another store, or the version that wrote it"
            )
            raise StoreError(message)

    @property
    def _foreign(self) -> str:
        return f"{self.name} is a database of something else; use another one for the store"


def _has_about(connection: Connection, tables: Collection[str]) -> bool:
    if schema.ABOUT.name not in tables:
        return False
    columns = {each["name"] for each in inspect(connection).get_columns(schema.ABOUT.name)}
    return columns == set(schema.ABOUT.columns.keys())


def _load(record: type[S], label: str, value: dict[str, Any]) -> S:
    try:
        return record.from_dict(value)
    except ValueError as error:
        message = f"{label} holds something that is no {record.__name__}"
        raise ValueError(message) from error


def _insert_once(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    # An IntegrityError says that somebody else wrote the same content first.
    with suppress(IntegrityError), connection.begin_nested():
        connection.execute(insert(table), values)


def _name(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return url.database or "in memory"
    return url.set(username=None, password=None, query={}).render_as_string()


def _prepare_folder(folder: Path, name: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = (
            f"the folder of the store {name} cannot be made: {error}; "
            "make room for it, or use another store"
        )
        raise StoreError(message) from error


def _use_wal(connection: Connection) -> None:
    """Let readers and the writer work at the same time; this is kept in the file."""
    # SQLite does not wait for the lock this takes. If another process has it, that one
    # is opening the same new store and does the same.
    with suppress(OperationalError):
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def _configure_sqlite(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.close()
