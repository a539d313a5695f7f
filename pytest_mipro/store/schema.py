"""The tables: one shelf per kind of record, and the leases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import JSON, Column, Float, Index, Integer, MetaData, String, Table
from sqlalchemy.schema import CreateIndex, CreateTable

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSION = 1

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


def shelf(name: str) -> Table:
    """Declare the table of one kind of record."""
    return Table(
        name,
        METADATA,
        Column("key", String, primary_key=True),
        Column("value", JSON, nullable=False),
        Column("created", Float, nullable=False),
    )


ROWS = shelf("rows")
TRACES = shelf("traces")
PROPOSALS = shelf("proposals")

TRIALS = Table(
    "trials",
    METADATA,
    Column("search", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("value", JSON, nullable=False),
)

ARTIFACTS = Table(
    "artifacts",
    METADATA,
    Column("key", String, primary_key=True),
    Column("task", String, nullable=False),
    Column("value", JSON, nullable=False),
    Column("created", Float, nullable=False),
    Index("artifacts_by_task", "task", "created"),
)


def create(connection: Connection) -> None:
    """Create what does not exist yet; several processes may do so at once."""
    for table in METADATA.tables.values():
        connection.execute(CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))
