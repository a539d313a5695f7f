"""A table that many threads write to often: a transaction writes the records of a moment."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_mipro.errors import StoreError
from pytest_mipro.store.checksum import RecordT
from pytest_mipro.store.tables import RecordTable

if TYPE_CHECKING:
    from sqlalchemy import Table

    from pytest_mipro.store.connections import Connections

INTERVAL = 0.02
"""Least seconds between two transactions. A kill loses the records of this time, at most, as it
loses the calls under way, which take longer."""


class BufferedTable(RecordTable[RecordT]):
    """A table of records that are cheap to lose and written one at a time.

    A record that comes within ``INTERVAL`` after a transaction waits until that time is over,
    and a thread of this table writes it. Meanwhile this process can read it.
    """

    def __init__(self, connections: Connections, table: Table, record_type: type[RecordT]) -> None:
        """Keep records of ``record_type`` in ``table``."""
        super().__init__(connections, table, record_type)
        self._unwritten: dict[str, RecordT] = {}
        self._last_write = -INTERVAL
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def get(self, key: str) -> RecordT | None:
        """Return the record under ``key``, if there is one.

        Raises:
            StoreError: The store cannot be read, or the record is damaged.
        """
        return self._unwritten.get(key) or super().get(key)

    def put(self, *records: RecordT) -> None:
        """Write ``records`` now or a moment later; ``flush`` writes them for certain.

        Raises:
            StoreError: The store cannot be written; the records wait on.
        """
        with self._lock:
            for record in records:
                self._unwritten.setdefault(record.key, record)
            rest = self._last_write + INTERVAL - time.monotonic()
            if rest > 0:
                self._write_after(rest)
                return
        self.flush()

    def flush(self) -> None:
        """Write the records that wait; when this returns they survive the death of the process.

        Raises:
            StoreError: The store cannot be written; the records wait on.
        """
        with self._lock:
            self._last_write = time.monotonic()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            super().put(*self._unwritten.values())
            self._unwritten.clear()

    def _write_after(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = threading.Timer(seconds, self._write_late)
            self._timer.daemon = True
            self._timer.start()

    def _write_late(self) -> None:
        with suppress(StoreError):  # The records wait on, and the next write raises it.
            self.flush()
