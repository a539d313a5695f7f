"""Work that is done once per key, and whose record is stored before it is used.

A record of a failure is used and not stored, so that the next run does the work again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic

from pytest_mipro.evaluate.work import R

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_mipro.evaluate.work import Work
    from pytest_mipro.evaluate.worker_pool import WorkerPool
    from pytest_mipro.store import RecordTable


class StoredWork(Generic[R]):
    """Returns the record of a key from a table, or does the work and stores its record.

    Calls for the same key share one task.

    Args:
        table: Has the records.
        workers: Do the work.
        is_failure: Whether a record is that of a failure.
    """

    def __init__(
        self, table: RecordTable[Any], workers: WorkerPool, is_failure: Callable[[R], bool]
    ) -> None:
        self._table = table
        self._workers = workers
        self._is_failure = is_failure
        self._futures: dict[str, asyncio.Future[R]] = {}
        self._missing: set[str] = set()
        self._unwritten: list[R] = []
        self._write_task: asyncio.Task[None] | None = None

    def look_up(self, keys: Iterable[str]) -> None:
        """Read the records of ``keys`` from the table, in one query."""
        new = [key for key in keys if key not in self._futures and key not in self._missing]
        stored = self._read(new) if new else {}
        for key, record in stored.items():
            self._futures[key] = asyncio.get_running_loop().create_future()
            self._futures[key].set_result(record)
        self._workers.resumed += len(stored)
        self._missing.update(key for key in new if key not in stored)

    def is_new(self, key: str) -> bool:
        """Whether ``look_up`` did not find ``key`` in the table."""
        return key in self._missing

    async def get(self, key: str, work: Work[R]) -> R:
        """Return the record of ``key``, or that of ``work`` if the table has none."""
        self.look_up([key])
        if key not in self._futures:
            self._futures[key] = self._workers.start(self._run(work))
        # One caller's cancellation must not cancel the work for the other callers.
        return await asyncio.shield(self._futures[key])

    async def _run(self, work: Work[R]) -> R:
        record = await self._workers.run(work)
        if self._is_failure(record):
            return record
        self._unwritten.append(record)
        if self._write_task is None:
            self._write_task = asyncio.ensure_future(self._write())
        await asyncio.shield(self._write_task)
        return self._in_memory(record)

    def _read(self, keys: list[str]) -> dict[str, R]:
        records: dict[str, R] = self._table.get_many(keys)
        return records

    def _in_memory(self, record: R) -> R:
        """Return what memory keeps of a record that has been stored."""
        return record

    async def _write(self) -> None:
        """Store the records that have arrived since the last write, in one transaction."""
        records, self._unwritten, self._write_task = self._unwritten, [], None
        self._workers.write(self._table, records)
