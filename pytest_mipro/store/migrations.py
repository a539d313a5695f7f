"""
From the format a store was written in to today's, one step per version.

Each step spells out the tables it makes: those of the next version, whatever
today's have become since.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, cast, column, insert, select, table, update

from pytest_mipro.canonical import canonical_json
from pytest_mipro.store import schema
from pytest_mipro.store.checksum import DamagedRecord, checksum

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Row, Select
    from typing_extensions import Unpack

_AT_ONCE = 1000
"""Records that are in memory at a time."""


def bring_up(connection: Connection, version: int) -> None:
    """
    Make the tables of a store of ``version`` today's; 0 is a store without any.

    Raises:
        Damaged: A record cannot be read.

    """
    if version == 0:
        schema.create(connection)
        return
    for step in _STEPS[version - 1 :]:
        step(connection)
    connection.execute(update(schema.ABOUT).values(version=schema.VERSION))


_SECOND = {
    "rows": {"key": "VARCHAR NOT NULL PRIMARY KEY", "answer": "VARCHAR"},
    "traces": {"key": "VARCHAR NOT NULL PRIMARY KEY"},
    "proposals": {"key": "VARCHAR NOT NULL PRIMARY KEY"},
    "trials": {"search": "VARCHAR NOT NULL", "number": "INTEGER NOT NULL"},
    "artifacts": {"key": "VARCHAR NOT NULL PRIMARY KEY", "task": "VARCHAR NOT NULL"},
}
"""By table of version 2: the columns that its records are found by."""
_SECOND_CONTENT = {
    "value": "TEXT NOT NULL",
    "created": "FLOAT NOT NULL",
    "used": "FLOAT NOT NULL",
    "checksum": "VARCHAR NOT NULL",
}
_SECOND_KEYS = {"trials": ", PRIMARY KEY (search, number)"}
_SECOND_INDEXES = (
    "CREATE INDEX rows_by_answer ON rows (answer)",
    "CREATE INDEX artifacts_by_task ON artifacts (task, created)",
)


def _from_1(connection: Connection) -> None:
    """Give each record a checksum and the time of its last use, and each row its answer."""
    for name, names in _SECOND.items():
        columns = ", ".join(f"{each} {kind}" for each, kind in {**names, **_SECOND_CONTENT}.items())
        connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {name}_1")
        connection.exec_driver_sql(f"CREATE TABLE {name} ({columns}{_SECOND_KEYS.get(name, '')})")
        _pour_from_1(connection, name)
        connection.exec_driver_sql(f"DROP TABLE {name}_1")
    for statement in _SECOND_INDEXES:
        connection.exec_driver_sql(statement)


def _pour_from_1(connection: Connection, name: str) -> None:
    names = [each for each in _SECOND[name] if each != "answer"]
    dated = [] if name == "trials" else ["created"]
    old: Select[Unpack[tuple[Any, ...]]] = select(
        cast(column("value"), Text), *[column(each) for each in names + dated]
    )
    new = insert(table(name, *[column(each) for each in (*_SECOND[name], *_SECOND_CONTENT)]))
    now = time.time()
    for part in connection.execute(old.select_from(table(f"{name}_1"))).partitions(_AT_ONCE):
        connection.execute(new, [_from_1_row(name, row, now) for row in part])


def _from_1_row(name: str, row: Row[Any], now: float) -> dict[str, object]:
    count = len(_SECOND[name]) - (name == "rows")
    names = list(row[1 : 1 + count])
    created = now if name == "trials" else row.created
    try:
        value = json.loads(row[0])
        text = canonical_json(value)
        # Rows of the first days have no answer.
        names += [value.get("answer")] if name == "rows" else []
    except (AttributeError, TypeError, ValueError) as error:
        label = "/".join(map(str, (name, *names)))
        message = f"{label} cannot be brought into this version's format"
        raise DamagedRecord(message) from error
    return {
        **dict(zip(_SECOND[name], names, strict=True)),
        "value": text,
        "created": created,
        "used": now,
        "checksum": checksum(names, created, text),
    }


_STEPS: tuple[Callable[[Connection], None], ...] = (_from_1,)
"""What brings a store of each version, from 1 on, to the next."""
