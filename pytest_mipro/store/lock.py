"""One compile per key at a time: a lease that a dead holder loses."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update

from pytest_mipro.errors import StoreError
from pytest_mipro.store.checksum import DamagedRecord
from pytest_mipro.store.schema import LEASES, InsertOnce

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

    from sqlalchemy import ColumnElement, Connection, Row
    from typing_extensions import Self

BEAT = 1.0
"""Seconds between a living holder's heartbeats."""
SILENCE = 8.0
"""Seconds without a heartbeat after which the holder counts as dead."""
_POLL = 0.2
_VAIN = 25
"""Attempts to take a lease nobody holds; others may be faster some times, but not always."""


class CompileLock:
    """
    The right to compile one key, renewed by a heartbeat while it is held.

    A holder that is silent for too long (killed, or asleep) loses the lease
    to who waits for it. If it wakes up, two work on the same key; that costs,
    but breaks nothing, as records are named by their content and written
    once. ``is_held`` tells it to look for what the other has stored.

    Example::

        with store.lease(key, "worker gw0").wait(on_wait=print):
            ...
    """

    def __init__(
        self, connect: Callable[[], AbstractContextManager[Connection]], key: str, who: str
    ) -> None:
        """Prepare a lease on ``key`` for ``who``, without taking it yet."""
        self._connect = connect
        self._key = key
        self._who = who
        self._holder = uuid.uuid4().hex
        self._released = threading.Event()
        self._heart: threading.Thread | None = None

    def wait(self, on_wait: Callable[[str], None]) -> Self:
        """
        Return once the lease is held.

        Args:
            on_wait: Told once, by name, who is being waited for.

        Raises:
            StoreError: The store cannot be read or written.

        """
        pulse = _Pulse()
        told = False
        while not self._take(pulse):
            if not told and pulse.who is not None:
                on_wait(pulse.who)
                told = True
            time.sleep(_POLL)
        self._heart = threading.Thread(target=self._beat, name="mipro-lease", daemon=True)
        self._heart.start()
        return self

    def is_held(self) -> bool:
        """
        Whether this lease was not lost to another while its holder was silent.

        Raises:
            StoreError: The store cannot be written.

        """
        with self._connect() as connection:
            return self._renew(connection)

    def __enter__(self) -> Self:
        """Hold the lease."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lease back."""
        self._released.set()
        if self._heart is not None:
            self._heart.join()
        # A lease that cannot be given back ends by itself; what is raised in the block matters.
        with suppress(StoreError), self._connect() as connection:
            connection.execute(delete(LEASES).where(self._mine))

    @property
    def _mine(self) -> ColumnElement[bool]:
        return (LEASES.c.key == self._key) & (LEASES.c.holder == self._holder)

    def _take(self, pulse: _Pulse) -> bool:
        """Take the lease if it is free or its holder is dead; only looking writes nothing."""
        with self._connect() as connection:
            other = connection.execute(select(LEASES).where(LEASES.c.key == self._key)).first()
            pulse.feel(other)
            if pulse.vain > _VAIN:
                message = f"leases/{self._key} is neither free nor held by anybody"
                raise DamagedRecord(message)
        if other is not None and not pulse.is_dead:
            return False
        taken = self._insert() if other is None else self._inherit(other, pulse)
        pulse.vain += not taken
        return taken

    def _insert(self) -> bool:
        with self._connect() as connection:
            new = InsertOnce(LEASES, connection.dialect)
            return bool(new(connection, [{"key": self._key, **self._values()}]))

    def _inherit(self, other: Row[Any], pulse: _Pulse) -> bool:
        unchanged = (
            (LEASES.c.key == self._key)
            & (LEASES.c.holder == other.holder)
            & (LEASES.c.beat == other.beat)
        )
        asked = time.monotonic()
        with self._connect() as connection:
            self._renew(connection)  # Changes nothing, but SQLite waits until it could.
            if time.monotonic() - asked > BEAT:
                # Who kept us from writing may have kept the holder from it, all the time.
                pulse.feel(None)
                return False
            taken = connection.execute(update(LEASES).where(unchanged).values(self._values()))
            return bool(taken.rowcount)

    def _values(self) -> dict[str, object]:
        return {"holder": self._holder, "who": self._who, "beat": time.time()}

    def _renew(self, connection: Connection) -> bool:
        done = connection.execute(update(LEASES).where(self._mine).values(beat=time.time()))
        return bool(done.rowcount)

    def _beat(self) -> None:
        held = True
        while held and not self._released.wait(BEAT):
            # The next beat may get through; a store that is broken for good stops the work itself.
            with suppress(StoreError):
                held = self.is_held()


class _Pulse:
    """
    What a waiter has felt of the holder.

    A beat counts if it differs from the one before, whatever the clocks say:
    they may be set, or be those of two machines.

    Attributes:
        who: The holder's name; None if there is no holder.
        vain: How often the lease could not be taken since the last beat.

    """

    def __init__(self) -> None:
        """Begin without a holder."""
        self.who: str | None = None
        self._beat: tuple[object, object] | None = None
        self._since = time.monotonic()
        self.vain = 0

    def feel(self, lease: Row[Any] | None) -> None:
        """Take note of the lease as it is; None if there is nothing to be felt."""
        beat = None if lease is None else (lease.holder, lease.beat)
        if beat != self._beat:
            self._beat, self._since, self.vain = beat, time.monotonic(), 0
        self.who = None if lease is None else str(lease.who)

    @property
    def is_dead(self) -> bool:
        """Whether the holder was silent for too long."""
        return time.monotonic() - self._since >= (3 * BEAT if self._is_old else SILENCE)

    @property
    def _is_old(self) -> bool:
        """Whether the holder seems to have died before it was looked at."""
        _, beat = self._beat or (None, None)
        return not isinstance(beat, float) or abs(time.time() - beat) > SILENCE
