"""The store: opened once per process, used by one thread at a time."""

from __future__ import annotations

import time
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine, Table, create_engine, event, insert, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Artifact, Proposal, Row, Trace, Trial
from pytest_mipro.store import schema
from pytest_mipro.store.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from typing import Any

    from sqlalchemy import URL
    from typing_extensions import Self

APPLICATION = "pytest-mipro"
_LOOKUP = 500
"""Keys asked for in one query; databases limit the parameters of a statement."""


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self: ...


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
        found = {}
        left = iter(dict.fromkeys(keys))
        with self._store.connection() as connection:
            while batch := list(islice(left, _LOOKUP)):
                query = select(self._table.c.key, self._table.c.value).where(
                    self._table.c.key.in_(batch)
                )
                found.update(
                    {key: self._load(key, value) for key, value in connection.execute(query)}
                )
        return found

    def put(self, *records: R) -> None:
        """Write ``records``; they are durable when this returns."""
        with self._store.connection() as connection:
            for record in records:
                _insert_once(connection, self._table, self._values(record))

    def _values(self, record: R) -> dict[str, Any]:
        return {"key": record.key, "value": record.to_dict(), "created": time.time()}

    def _load(self, key: str, value: dict[str, Any]) -> R:
        try:
            return self._record.from_dict(value)
        except ValueError as error:
            message = (
                f"the store {self._store.name} holds something under {self._table.name}/{key} "
                f"that is not a {self._record.__name__}; move the store aside and run again"
            )
            raise StoreError(message) from error


class _ArtifactShelf(Shelf[Artifact]):
    """Artifacts are also found by the task they were compiled for."""

    def latest(self, task: str) -> Artifact | None:
        """Return the artifact compiled last for ``task``."""
        query = (
            select(self._table.c.key, self._table.c.value)
            .where(self._table.c.task == task)
            .order_by(self._table.c.created.desc())
            .limit(1)
        )
        with self._store.connection() as connection:
            row = connection.execute(query).first()
        return None if row is None else self._load(row.key, row.value)

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
        self._prepare()

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
        except ArgumentError as error:
            message = (
                f"the store URL {url!r} is not one SQLAlchemy knows, e.g. sqlite:///.mipro/store.db"
            )
            raise StoreError(message) from error
        name = _name(parsed)
        try:
            engine = create_engine(parsed)
        except (ModuleNotFoundError, SQLAlchemyError) as error:
            message = f"the store {name} cannot be opened: {error}"
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
        except SQLAlchemyError as error:
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
            return [Trial.from_dict(row.value) for row in connection.execute(query)]

    def lease(self, key: str, who: str) -> Lease:
        """Return the right to compile ``key``, to be entered as a context."""
        return Lease(self.connection, key, who)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _prepare(self) -> None:
        with self.connection() as connection:
            tables = inspect(connection).get_table_names()
            if tables and schema.ABOUT.name not in tables:
                message = (
                    f"{self.name} is a database of something else; use another file for the store"
                )
                raise StoreError(message)
            schema.create(connection)
            _insert_once(
                connection,
                schema.ABOUT,
                {"id": 1, "application": APPLICATION, "version": schema.VERSION},
            )
            about = connection.execute(select(schema.ABOUT)).one()
        if about.application != APPLICATION or about.version != schema.VERSION:
            message = (
                f"the store {self.name} has format {about.version}, this version of pytest-mipro "
                f"reads format {schema.VERSION}; use another store, or the version that wrote it"
            )
            raise StoreError(message)


def _insert_once(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    try:
        with connection.begin_nested():
            connection.execute(insert(table), values)
    except IntegrityError:
        pass  # Somebody else wrote the same content first.


def _name(url: URL) -> str:
    return (
        url.database or "in memory"
        if url.drivername.startswith("sqlite")
        else url.render_as_string()
    )


def _prepare_folder(folder: Path, name: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the folder of the store {name} cannot be made: {error}"
        raise StoreError(message) from error


def _configure_sqlite(connection: Any, _record: object) -> None:  # ruff: ignore[any-type] - whatever driver is used
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.close()
