"""The tables: one per kind of record, and the leases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, Float, Index, Integer, MetaData, String, Table, Text, insert
from sqlalchemy.schema import CreateIndex, CreateTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sqlalchemy import Connection, Dialect

APPLICATION = "pytest-mipro"
VERSION = 2

METADATA = MetaData()

ABOUT = Table(
    "about",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("application", String, nullable=False),
    Column("version", Integer, nullable=False),
)

LEASES = Table(
    "leases",
    METADATA,
    Column("key", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("who", String, nullable=False),
    Column("beat", Float, nullable=False),
)


def content(name: str, *names: Column[Any]) -> Table:
    """
    Declare the table of one kind of record.

    Args:
        name: The name of the table.
        names: The columns that a record is found by; the first is its key.

    """
    return Table(
        name,
        METADATA,
        *names,
        Column("value", Text, nullable=False),
        Column("created", Float, nullable=False),
        Column("used", Float, nullable=False),
        Column("checksum", String, nullable=False),
    )


def key() -> Column[str]:
    """Declare the column of a record's only key."""
    return Column("key", String, primary_key=True)


ROWS = content("rows", key(), Column("answer", String))
Index("rows_by_answer", ROWS.c.answer)
TRACES = content("traces", key())
PROPOSALS = content("proposals", key())
TRIALS = content(
    "trials",
    Column("search", String, primary_key=True),
    Column("number", Integer, primary_key=True),
)
ARTIFACTS = content("artifacts", key(), Column("task", String, nullable=False))
Index("artifacts_by_task", ARTIFACTS.c.task, ARTIFACTS.c.created)

CONTENT = (ROWS, TRACES, PROPOSALS, TRIALS, ARTIFACTS)


def names_of(table: Table) -> list[Column[str]]:
    """Return the columns that the records of ``table`` are found by."""
    return list(table.columns)[: -len(("value", "created", "used", "checksum"))]


def create(connection: Connection) -> None:
    """Create all tables, and say whose they are."""
    for table in METADATA.tables.values():
        connection.execute(CreateTable(table))
        for index in table.indexes:
            connection.execute(CreateIndex(index))
    connection.execute(insert(ABOUT).values(id=1, application=APPLICATION, version=VERSION))


def lock(connection: Connection) -> None:
    """Let nobody else change the tables until the transaction of ``connection`` ends."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


_LOCK = 0x6D6970726F
"""The number of our lock; any that no other application is likely to take."""


class InsertOnce:
    """
    Writes rows into a table; what is there under the same key stays.

    SQLAlchemy would build this statement at each use, which takes longer than
    the database needs to carry it out.
    """

    def __init__(self, table: Table, dialect: Dialect) -> None:
        """Prepare the statement for one kind of database."""
        compiled = insert(table).compile(dialect=dialect, column_keys=table.columns.keys())
        # SQLite and PostgreSQL spell it alike; their own constructs are two more imports.
        self._statement = f"{compiled} ON CONFLICT DO NOTHING"
        self._order: Sequence[str] | None = getattr(compiled, "positiontup", None)

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, object]]) -> int:
        """Write ``rows``, each with all columns, and return how many are new."""
        order = self._order
        if order is None:
            return connection.exec_driver_sql(self._statement, [*map(dict, rows)]).rowcount
        ordered = [tuple([row[name] for name in order]) for row in rows]
        return connection.exec_driver_sql(self._statement, ordered).rowcount
