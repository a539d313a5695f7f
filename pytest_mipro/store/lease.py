"""One compile per key at a time: a lease that a dead holder loses."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from pytest_mipro.store.schema import LEASES

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sqlalchemy import ColumnElement, Connection
    from typing_extensions import Self

BEAT = 1.0
"""Seconds between a living holder's heartbeats."""
SILENCE = 8.0
"""Seconds without a heartbeat after which the holder counts as dead."""
_POLL = 0.2


class Lease:
    """
    The right to compile one key, renewed by a heartbeat while it is held.

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

        """
        told = False
        while not self._take():
            if not told and (other := self._other()):
                on_wait(other)
                told = True
            time.sleep(_POLL)
        self._heart = threading.Thread(target=self._beat, name="mipro-lease", daemon=True)
        self._heart.start()
        return self

    def __enter__(self) -> Self:
        """Hold the lease."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lease back."""
        self._released.set()
        if self._heart is not None:
            self._heart.join()
        with self._connect() as connection:
            connection.execute(delete(LEASES).where(self._mine))

    @property
    def _mine(self) -> ColumnElement[bool]:
        return (LEASES.c.key == self._key) & (LEASES.c.holder == self._holder)

    def _take(self) -> bool:
        now = time.time()
        values = {"holder": self._holder, "who": self._who, "beat": now}
        # A beat in the future means the clock was set back; the holder may live, but
        # its next beat will say so, so only silence on either side of now is death.
        dead = (LEASES.c.beat < now - SILENCE) | (LEASES.c.beat > now + SILENCE)
        with self._connect() as connection:
            taken = connection.execute(
                update(LEASES).where((LEASES.c.key == self._key) & dead).values(values)
            )
            if taken.rowcount:
                return True
            try:
                with connection.begin_nested():
                    connection.execute(insert(LEASES), {"key": self._key, **values})
            except IntegrityError:
                return False
        return True

    def _other(self) -> str | None:
        with self._connect() as connection:
            return connection.scalar(select(LEASES.c.who).where(LEASES.c.key == self._key))

    def _beat(self) -> None:
        while not self._released.wait(BEAT):
            with self._connect() as connection:
                connection.execute(update(LEASES).where(self._mine).values(beat=time.time()))
