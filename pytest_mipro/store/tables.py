"""Shelves: the records of one kind, written once, checked when they are read."""

from __future__ import annotations

import time
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.exc import InternalError, OperationalError, ProgrammingError

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Artifact, Row, Trial
from pytest_mipro.store import schema
from pytest_mipro.store.checksum import DamagedRecord, Storable, checksum, opened, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from sqlalchemy import ColumnElement, Connection, Dialect, Select, Table
    from typing_extensions import Unpack

    Found: TypeAlias = Select[Unpack[tuple[Any, ...]]]
    Connect: TypeAlias = Callable[[], AbstractContextManager[Connection]]

_LOOKUP = 500
"""Keys asked for in one query; databases limit the parameters of a statement."""
RECENT = 20
"""Most artifacts of one task that are looked at together."""
DAY = 86_400.0
"""Seconds after which it is written down again that a record was used."""
_NOT_NOTED = OperationalError, InternalError, ProgrammingError
"""How databases refuse a change: locked, full, read-only, or not allowed to this user."""


class _Keyed(Storable, Protocol):
    @property
    def key(self) -> str: ...


S = TypeVar("S", bound=Storable)
R = TypeVar("R", bound=_Keyed)


class ChecksummedTable(Generic[S]):
    """
    One table of records, each with a checksum over everything it is found by.

    A record is written once: a second one under the same key is ignored, as
    the first has been used already.
    """

    def __init__(self, connect: Connect, dialect: Dialect, table: Table, record: type[S]) -> None:
        """Keep ``record`` instances in ``table``."""
        self._connect = connect
        self._table = table
        self._record = record
        self._names = schema.names_of(table)
        self._owner = self._names[0]
        self._dialect = dialect
        self._note = (
            update(table)
            .where(self._owner.in_(_keys()), table.c.used < bindparam("stale"))
            .values(used=bindparam("now"))
        )

    @cached_property
    def _insert(self) -> schema.InsertOnce:
        return schema.InsertOnce(self._table, self._dialect)

    @property
    def name(self) -> str:
        """What the kind of record is called, in the plural."""
        return self._table.name

    def count(self) -> int:
        """Return how many records there are."""
        with self._connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(self._table)) or 0)

    def prune(self, before: float) -> int:
        """Remove what was not used since ``before``, in seconds, and return how much that was."""
        unused = func.max(self._table.c.used) < before
        stale = select(self._owner).group_by(self._owner).having(unused)
        # What is used meanwhile stays; a search keeps all of its trials or none.
        again = stale.where(self._owner.in_(_keys()))
        statement = delete(self._table).where(self._owner.in_(again))
        removed = 0
        for keys in self._pages(stale):
            # Many short transactions: a lease whose heart has to wait for one long one is lost.
            with self._connect() as connection:
                removed += connection.execute(statement, {"keys": keys}).rowcount
        return removed

    def _pages(self, query: Select[str]) -> Iterator[list[str]]:
        query = query.order_by(self._owner).limit(_LOOKUP)
        page = self._page(query)
        while page:
            yield page
            page = self._page(query.where(self._owner > page[-1]))

    def _page(self, query: Select[str]) -> list[str]:
        with self._connect() as connection:
            return list(connection.scalars(query))

    def _query(self, column: ColumnElement[Any], *order: ColumnElement[Any]) -> Found:
        """Return the query for the records that have any of some keys in ``column``."""
        table = self._table.c
        stale = table.used < bindparam("stale")
        return (
            select(*self._names, table.created, table.checksum, stale, table.value)
            .where(column.in_(_keys()))
            .order_by(*order)
        )

    def _write(self, *records: tuple[tuple[object, ...], S]) -> None:
        now = time.time()
        rows = [self._values(names, record, now) for names, record in records]
        if rows:
            with self._connect() as connection:
                self._insert(connection, rows)

    def _values(self, names: tuple[object, ...], record: S, now: float) -> dict[str, object]:
        text = text_of(record)
        values: dict[str, object] = {
            "value": text,
            "created": now,
            "used": now,
            "checksum": checksum(names, now, text),
        }
        values.update((each.name, value) for each, value in zip(self._names, names, strict=True))
        return values

    def _read(self, query: Found, keys: Iterable[str]) -> list[tuple[tuple[Any, ...], S]]:
        """Return each record that ``query`` finds, with what it is found by."""
        found: list[tuple[tuple[Any, ...], S]] = []
        unnoted: dict[str, None] = {}
        stale = time.time() - DAY
        count = len(self._names)
        with self._connect() as connection:
            for batch in _batches(keys):
                for row in connection.execute(query, {"keys": batch, "stale": stale}):
                    names = tuple(row[:count])
                    found.append((names, self._opened(names, *row[count:])))
                    if row[-2]:
                        unnoted[names[0]] = None
        if unnoted:
            self._note_use(unnoted, stale)
        return found

    def _opened(
        self, names: tuple[object, ...], created: object, seal: object, _stale: object, text: str
    ) -> S:
        label = "/".join(map(str, (self._table.name, *names)))
        if checksum(names, created, text) != seal:
            message = f"{label} is not what was written"
            raise DamagedRecord(message)
        return opened(self._record, label, text)

    def _note_use(self, keys: Iterable[str], stale: float) -> None:
        now = time.time()
        try:
            with self._connect() as connection:
                for batch in _batches(keys):
                    connection.execute(self._note, {"keys": batch, "stale": stale, "now": now})
        except StoreError as error:
            # What was read is good, whether or not anything can be written.
            if not isinstance(error.__cause__, _NOT_NOTED):
                raise


class RecordTable(ChecksummedTable[R]):
    """
    All records of one kind, by key.

    A record is written once: a second one under the same key is ignored, as
    the first has been used already.
    """

    def __init__(self, connect: Connect, dialect: Dialect, table: Table, record: type[R]) -> None:
        """Keep ``record`` instances in ``table``."""
        super().__init__(connect, dialect, table, record)
        self._by_key = self._query(table.c.key)

    def get(self, key: str) -> R | None:
        """Return the record under ``key``, if there is one."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, R]:
        """
        Return the records there are under any of ``keys``, by key.

        Raises:
            StoreError: The store cannot be read, or a record in it is not
                what was written.

        """
        return {names[0]: record for names, record in self._read(self._by_key, keys)}

    def put(self, *records: R) -> None:
        """
        Write ``records``; when this returns they survive the death of the process.

        Raises:
            StoreError: They cannot be written; none of them is, then.

        """
        self._write(*((self._names_of(record), record) for record in records))

    def _names_of(self, record: R) -> tuple[object, ...]:
        return (record.key,)


class RowTable(RecordTable[Row]):
    """Rows are also found by their answer."""

    def __init__(self, connect: Connect, dialect: Dialect) -> None:
        """Keep rows in their table."""
        table = schema.ROWS
        super().__init__(connect, dialect, table, Row)
        self._by_answer = self._query(table.c.answer, table.c.created.desc(), table.c.key.desc())

    def by_answer(self, keys: Iterable[str]) -> dict[str, Row]:
        """
        Return the oldest row there is under each of ``keys``, which name answers.

        Raises:
            StoreError: As ``get_many``.

        """
        return {names[1]: row for names, row in self._read(self._by_answer, keys)}

    def _names_of(self, record: Row) -> tuple[object, ...]:
        return record.key, record.answer


class ArtifactTable(RecordTable[Artifact]):
    """Artifacts are also found by the task they were compiled for."""

    def __init__(self, connect: Connect, dialect: Dialect) -> None:
        """Keep artifacts in their table."""
        table = schema.ARTIFACTS
        super().__init__(connect, dialect, table, Artifact)
        self._newest = self._query(table.c.task, table.c.created.desc()).limit(RECENT)

    def recent(self, task: str) -> list[Artifact]:
        """
        Return what was compiled for ``task``, the last first, up to ``RECENT``.

        Raises:
            StoreError: As ``get_many``.

        """
        return [artifact for _, artifact in self._read(self._newest, [_text(task)])]

    def replace(self, artifact: Artifact) -> None:
        """
        Write ``artifact``, in place of what was compiled under its key before.

        Raises:
            StoreError: As ``put``; the earlier one stays, then.

        """
        row = self._values(self._names_of(artifact), artifact, time.time())
        with self._connect() as connection:
            connection.execute(delete(self._table).where(self._owner == artifact.key))
            self._insert(connection, [row])

    def _names_of(self, record: Artifact) -> tuple[object, ...]:
        return record.key, _text(record.task)


class TrialTable(ChecksummedTable[Trial]):
    """The trials of all searches."""

    def __init__(self, connect: Connect, dialect: Dialect) -> None:
        """Keep trials in their table."""
        table = schema.TRIALS
        super().__init__(connect, dialect, table, Trial)
        self._by_search = self._query(table.c.search, table.c.number)

    def put(self, search: str, *trials: Trial) -> None:
        """Write trials of ``search``."""
        self._write(*(((search, trial.number), trial) for trial in trials))

    def of(self, search: str) -> list[Trial]:
        """Return the trials of ``search`` by number."""
        return [trial for _, trial in self._read(self._by_search, [search])]


def _keys() -> ColumnElement[Any]:
    return bindparam("keys", expanding=True)


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    left = iter(dict.fromkeys(keys))
    while batch := list(islice(left, _LOOKUP)):
        yield batch


def _text(name: str) -> str:
    # A test's name holds its file's, and that may be one that is no Unicode text.
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
