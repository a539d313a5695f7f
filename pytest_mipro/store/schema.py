"""The tables of a store: one per kind of record, and one that names the application."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import (
    URL,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
)
from sqlalchemy.schema import CreateIndex, CreateTable

if TYPE_CHECKING:
    from typing import Any

    from sqlalchemy import Connection
    from sqlalchemy.schema import ExecutableDDLElement

APPLICATION = "pytest-mipro"
VERSION = 5
"""The format of the tables; a store of another format is refused."""

METADATA = MetaData()

ABOUT = Table(
    "about",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("application", String, nullable=False),
    Column("version", Integer, nullable=False),
)


def _record_table(name: str, *columns: Column[Any]) -> Table:
    """Declare the table of one kind of record.

    Args:
        name: The name of the table.
        columns: The columns, beside the key, that a query finds a record by.
    """
    return Table(
        name,
        METADATA,
        Column("key", String, primary_key=True),
        *columns,
        Column("value", Text, nullable=False),
        Column("created", Float, nullable=False),
        Column("used", Float, nullable=False),
        Column("checksum", String, nullable=False),
        Column("seal", String, nullable=False),
    )


ROWS = _record_table("rows", Column("prediction_key", String))
Index("rows_by_prediction", ROWS.c.prediction_key)
TRACES = _record_table("traces")
PROPOSALS = _record_table("proposals")
ARTIFACTS = _record_table("artifacts", Column("task", String, nullable=False))
Index("artifacts_by_task", ARTIFACTS.c.task, ARTIFACTS.c.created)
LOOKS = _record_table(
    "looks",
    Column("held_out", String, nullable=False),
    Column("test", String, nullable=False),
)
Index("looks_by_held_out", LOOKS.c.held_out)
Index("looks_by_test", LOOKS.c.test)
RESPONSES = _record_table("responses")
STREAKS = _record_table("streaks")


def lookup_columns(table: Table) -> list[Column[str]]:
    """Return the columns that a query finds a record of ``table`` by; the first is the key."""
    return list(table.columns)[: -len(("value", "created", "used", "checksum", "seal"))]


def create(connection: Connection) -> None:
    """Create all tables, and write the application and the format of the store."""
    for statement in _definitions(connection.engine.url.drivername):
        connection.exec_driver_sql(statement)
    connection.execute(insert(ABOUT).values(id=1, application=APPLICATION, version=VERSION))


@lru_cache
def _definitions(driver: str) -> tuple[str, ...]:
    """Return the statements that create the tables and their indexes, in a database's language."""
    dialect = URL.create(driver).get_dialect()()
    tables = METADATA.tables.values()
    definitions: list[ExecutableDDLElement] = [CreateTable(table) for table in tables]
    definitions += [CreateIndex(index) for table in tables for index in table.indexes]
    return tuple(str(definition.compile(dialect=dialect)) for definition in definitions)
