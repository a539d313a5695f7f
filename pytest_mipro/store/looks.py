"""The table of looks at held-out examples."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, or_

from pytest_mipro.canonical import digest
from pytest_mipro.records import Look
from pytest_mipro.store import schema
from pytest_mipro.store.tables import RecordTable, whole

if TYPE_CHECKING:
    from pytest_mipro.store.connections import Connections
    from pytest_mipro.store.tables import Query


class LookTable(RecordTable[Look]):
    """Looks by key, by the held-out examples, and by the test that looked."""

    def __init__(self, connections: Connections) -> None:
        """Keep looks in their table."""
        super().__init__(connections, schema.LOOKS, Look)

    @cached_property
    def _related(self) -> Query:
        columns = schema.LOOKS.c
        return self._query_where(
            or_(columns.held_out == bindparam("held_out"), columns.test == bindparam("test"))
        )

    def related(self, held_out: str, test: str) -> dict[str, Look]:
        """Return the looks of any test at a set of examples, and those of ``test`` at any set.

        Raises:
            StoreError: The store cannot be read, or a record in it is damaged.
        """
        names = {"held_out": held_out, "test": digest(test)}
        looks = self._read_each(self._related, [names], whole)
        return {look.key: look for _, look in looks}

    def _names(self, record: Look) -> tuple[object, ...]:
        # The name of a test may be no valid Unicode, and its digest always is.
        return record.key, record.held_out, digest(record.test)
