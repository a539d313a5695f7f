"""Tables of records, which are written once and checked whenever they are read."""

from __future__ import annotations

import time
from functools import cached_property, partial
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.exc import InternalError, OperationalError, ProgrammingError

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Artifact, Row, Usage, shown_row
from pytest_mipro.store import schema
from pytest_mipro.store.checksum import DamagedRecord, RecordT, checksum, parse_record, text_of
from pytest_mipro.store.seal import environment_seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from sqlalchemy import ColumnElement, Connection, Delete, Select, Table, Update
    from sqlalchemy.sql.dml import Insert
    from typing_extensions import Unpack

    from pytest_mipro.store.connections import Connections

    Query: TypeAlias = Select[Unpack[tuple[Any, ...]]]

T = TypeVar("T")

_BATCH = 500
"""Keys in one query; databases limit the parameters of a statement."""
RECENT = 20
"""Most artifacts of one task in one answer."""
DAY = 86_400.0
"""Seconds between two updates of the time when a record was last used."""
_REFUSED_CHANGE = OperationalError, InternalError, ProgrammingError
"""How databases refuse a change: locked, full, read-only, or not allowed to this user."""


def whole(record: T) -> T:
    """Return ``record``: all of it is held."""
    return record


class RecordTable(Generic[RecordT]):
    """All records of one kind, by key, each with a checksum over its text and lookup columns.

    What was paid for is written once: a second record that is put under the same
    key is ignored, because the first may have been used already.
    """

    def __init__(self, connections: Connections, table: Table, record_type: type[RecordT]) -> None:
        """Keep records of ``record_type`` in ``table``."""
        self._connections = connections
        self._table = table
        self._record_type = record_type
        self._lookup_columns = schema.lookup_columns(table)
        self._seal = environment_seal()
        self._unbelieved: dict[str, str] = {}

    # Statements are built at their first use: a session needs few, and building all takes a third
    # of the time of opening a new store.

    @cached_property
    def _insert(self) -> Insert:
        return self._connections.backend.insert_once(self._table)

    @cached_property
    def _delete_unbelieved(self) -> Delete:
        columns = self._table.c
        return delete(self._table).where(
            columns.key == bindparam("keys"), columns.seal == bindparam("unbelieved")
        )

    @cached_property
    def _by_key(self) -> Query:
        return self._query(self._table.c.key)

    @cached_property
    def _by_single_key(self) -> Query:
        # A comparison takes half the time of a list of one, and LM responses are read singly.
        return self._query_where(self._table.c.key == bindparam("keys"))

    @cached_property
    def _note_use(self) -> Update:
        columns = self._table.c
        return (
            update(self._table)
            .where(_among_keys(columns.key), columns.used < bindparam("stale"))
            .values(used=bindparam("now"))
        )

    @property
    def name(self) -> str:
        """The name of the kind of record, in the plural."""
        return self._table.name

    @property
    def unbelieved(self) -> int:
        """How many records were read that lack a valid seal, and count as absent."""
        return len(self._unbelieved)

    def get(self, key: str) -> RecordT | None:
        """Return the record under ``key``, if there is one.

        Raises:
            StoreError: As ``get_many``.
        """
        records = self._read_each(self._by_single_key, [{"keys": key}], whole)
        return records[0][1] if records else None

    def get_many(self, keys: Iterable[str]) -> dict[str, RecordT]:
        """Return the records under those of ``keys`` that the store has, by key.

        Raises:
            StoreError: The store cannot be read, or a record in it is damaged.
        """
        return {names[0]: record for names, record in self._read(self._by_key, keys, whole)}

    def put(self, *records: RecordT) -> None:
        """Write ``records``; when this returns they survive the death of the process.

        A record takes the place of one that is not believed.

        Raises:
            StoreError: The store cannot be written; it has none of the records then.
        """
        now = time.time()
        if records:
            replaced = [
                {"keys": record.key, "unbelieved": self._unbelieved[record.key]}
                for record in records
                if record.key in self._unbelieved
            ]
            values = [self._values(record, now) for record in records]

            def write(connection: Connection) -> None:
                if replaced:
                    connection.execute(self._delete_unbelieved, replaced)
                connection.execute(self._insert, values)

            self._connections.write(write)

    def replace(self, record: RecordT) -> None:
        """Write ``record`` in place of an earlier one under its key.

        Raises:
            StoreError: As ``put``; the earlier one stays then.
        """
        values = self._values(record, time.time())
        earlier = delete(self._table).where(self._table.c.key == record.key)

        def write(connection: Connection) -> None:
            connection.execute(earlier)
            connection.execute(self._insert, values)

        self._connections.write(write)

    def count(self) -> int:
        """Return how many records the store has."""
        query = select(func.count()).select_from(self._table)
        return int(self._connections.read(lambda connection: connection.scalar(query)) or 0)

    def prune(self, deadline: float) -> int:
        """Delete records that were last used before ``deadline``, and return their number."""
        key = self._table.c.key
        is_stale = self._table.c.used < deadline
        # A record that another process uses meanwhile stays.
        statement = delete(self._table).where(_among_keys(key), is_stale)
        count = 0
        for keys in self._pages(select(key).where(is_stale)):
            # Many short transactions: other processes write between them.
            parameters: dict[str, object] = {"keys": keys}
            count += self._connections.write(partial(_changed_rows, statement, parameters))
        return count

    def _pages(self, query: Select[str]) -> Iterator[list[str]]:
        key = self._table.c.key
        query = query.order_by(key).limit(_BATCH)
        page = self._page(query)
        while page:
            yield page
            page = self._page(query.where(key > page[-1]))

    def _page(self, query: Select[str]) -> list[str]:
        return self._connections.read(lambda connection: list(connection.scalars(query)))

    def _query(self, column: ColumnElement[Any], *order: ColumnElement[Any]) -> Query:
        """Return the query for the records whose ``column`` has one of some keys."""
        return self._query_where(_among_keys(column), *order)

    def _query_where(self, condition: ColumnElement[bool], *order: ColumnElement[Any]) -> Query:
        """Return the query for the records that meet a condition with parameters."""
        columns = self._table.c
        is_stale = columns.used < bindparam("stale")
        return (
            select(
                *self._lookup_columns,
                columns.created,
                columns.checksum,
                columns.seal,
                is_stale,
                columns.value,
            )
            .where(condition)
            .order_by(*order)
        )

    def _names(self, record: RecordT) -> tuple[object, ...]:
        """Return the values of the lookup columns; the first is the key."""
        return (record.key,)

    def _values(self, record: RecordT, now: float) -> dict[str, object]:
        names, text = self._names(record), text_of(record)
        values: dict[str, object] = {
            "value": text,
            "created": now,
            "used": now,
            "checksum": checksum(names, now, text),
            "seal": "" if self._seal is None else self._seal.of(self._sealed(names, now, text)),
        }
        columns = zip(self._lookup_columns, names, strict=True)
        values.update((column.name, name) for column, name in columns)
        return values

    def _read(
        self, query: Query, keys: Iterable[str], part: Callable[[RecordT], T]
    ) -> list[tuple[tuple[Any, ...], T]]:
        """Return a part of each record that ``query`` has, with its lookup columns."""
        return self._read_each(query, ({"keys": batch} for batch in _batches(keys)), part)

    def _read_each(
        self,
        query: Query,
        parameters: Iterable[Mapping[str, object]],
        part: Callable[[RecordT], T],
    ) -> list[tuple[tuple[Any, ...], T]]:
        """Return each record that ``query`` has, with the values of its lookup columns.

        Args:
            query: A query that ``_query_where`` made.
            parameters: Its parameters, for one execution after another.
            part: What is held of a record; one whole record is in memory at a time.
        """
        stale = time.time() - DAY
        batches = [{**values, "stale": stale} for values in parameters]
        records, stale_keys = self._connections.read(partial(self._fetch, query, batches, part))
        if stale_keys:
            self._update_use(stale_keys, stale)
        return records

    def _fetch(
        self,
        query: Query,
        batches: Iterable[dict[str, object]],
        part: Callable[[RecordT], T],
        connection: Connection,
    ) -> tuple[list[tuple[tuple[Any, ...], T]], dict[str, None]]:
        """Return parts of records with lookup columns, and the keys of those long unused."""
        records: list[tuple[tuple[Any, ...], T]] = []
        stale_keys: dict[str, None] = {}
        count = len(self._lookup_columns)
        for batch in batches:
            for values in connection.execute(query, batch):
                names = tuple(values[:count])
                created, written, seal, is_stale, text = values[count:]
                if not self._is_believed(names, created, text, seal):
                    continue
                records.append((names, part(self._checked(names, created, text, written))))
                if is_stale:
                    stale_keys[names[0]] = None
        return records, stale_keys

    def _sealed(self, names: Sequence[object], created: object, text: object) -> list[object]:
        """Return what a seal is on; the table, so that no record can be moved to another one."""
        return [self._table.name, *names, created, text]

    def _is_believed(self, names: Sequence[Any], created: object, text: str, seal: str) -> bool:
        if self._seal is None or self._seal.is_on(seal, self._sealed(names, created, text)):
            return True
        self._unbelieved[names[0]] = seal
        return False

    def _checked(
        self, names: Sequence[object], created: object, text: str, written: object
    ) -> RecordT:
        """Return the record of a text, or raise DamagedRecord if its checksum is another one."""
        label = "/".join(map(str, (self._table.name, *names)))
        if checksum(names, created, text) != written:
            message = f"{label} is not what was written"
            raise DamagedRecord(message)
        return parse_record(self._record_type, label, text)

    def _update_use(self, keys: Iterable[str], stale: float) -> None:
        now = time.time()
        batches = [{"keys": batch, "stale": stale, "now": now} for batch in _batches(keys)]

        def write(connection: Connection) -> None:
            for batch in batches:
                connection.execute(self._note_use, batch)

        try:
            self._connections.write(write)
        except StoreError as error:
            # The records are good, whether or not the store can be written.
            if not isinstance(error.__cause__, _REFUSED_CHANGE):
                raise


class RowTable(RecordTable[Row]):
    """Rows by key and by answer."""

    def __init__(self, connections: Connections) -> None:
        """Keep rows in their table."""
        super().__init__(connections, schema.ROWS, Row)

    @cached_property
    def _by_prediction(self) -> Query:
        """Without the rows themselves, which a database would hold to sort them."""
        columns = schema.ROWS.c
        return (
            select(columns.key)
            .where(_among_keys(columns.prediction_key))
            .order_by(columns.created.desc(), columns.key.desc())
        )

    def get_shown(self, keys: Iterable[str]) -> dict[str, Row]:
        """Return what ``get_many`` does, as ``shown_row`` cuts it, a row at a time.

        Raises:
            StoreError: As ``get_many``.
        """
        return {names[0]: row for names, row in self._read(self._by_key, keys, shown_row)}

    def by_prediction(self, keys: Iterable[str]) -> dict[str, Row]:
        """Return the oldest row under each of ``keys``, which name answers, where there is one.

        Raises:
            StoreError: As ``get_many``.
        """
        return self._oldest(keys, whole)

    def usage_by_prediction(self, keys: Iterable[str]) -> dict[str, Usage]:
        """Return the usage of each row that ``by_prediction`` returns.

        Raises:
            StoreError: As ``get_many``.
        """
        return self._oldest(keys, attrgetter("usage"))

    def _oldest(self, keys: Iterable[str], part: Callable[[Row], T]) -> dict[str, T]:
        row_keys: list[str] = []
        for batch in _batches(keys):
            query = partial(_scalars, self._by_prediction, {"keys": batch})
            row_keys += self._connections.read(query)
        rows = {
            names[0]: (names[1], row) for names, row in self._read(self._by_key, row_keys, part)
        }
        return dict(rows[key] for key in row_keys if key in rows)  # the oldest is the last

    def _names(self, record: Row) -> tuple[object, ...]:
        return record.key, record.prediction_key


class ArtifactTable(RecordTable[Artifact]):
    """Artifacts by key and by task."""

    def __init__(self, connections: Connections) -> None:
        """Keep artifacts in their table."""
        super().__init__(connections, schema.ARTIFACTS, Artifact)

    @cached_property
    def _newest(self) -> Query:
        columns = schema.ARTIFACTS.c
        return self._query(columns.task, columns.created.desc()).limit(RECENT)

    def recent(self, task: str) -> list[Artifact]:
        """Return up to ``RECENT`` artifacts of ``task``, the newest first.

        Raises:
            StoreError: As ``get_many``.
        """
        return [artifact for _, artifact in self._read(self._newest, [_unicode(task)], whole)]

    def _names(self, record: Artifact) -> tuple[object, ...]:
        return record.key, _unicode(record.task)


def _scalars(
    query: Select[str], parameters: dict[str, object], connection: Connection
) -> list[str]:
    return list(connection.scalars(query, parameters))


def _changed_rows(statement: Delete, parameters: dict[str, object], connection: Connection) -> int:
    return connection.execute(statement, parameters).rowcount


def _among_keys(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return column.in_(bindparam("keys", expanding=True))


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(dict.fromkeys(keys))
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def _unicode(name: str) -> str:
    # The name of a test contains the name of its file, which may be no valid Unicode.
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
