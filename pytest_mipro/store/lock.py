"""The compile lock: one compile per key at a time, whichever process runs it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from typing_extensions import Self

_POLL = 0.2
"""Seconds between two attempts to take a lock that another process holds."""


class Mutex(Protocol):
    """A lock that the operating system or the database releases when its holder dies."""

    def acquire(self, owner: str) -> bool:
        """Take the lock for ``owner`` if it is free, without waiting; return whether it was."""

    def owner(self) -> str | None:
        """Return the name of the current holder; None if there is none, or none is readable."""

    def release(self) -> None:
        """Release the lock if this object holds it, and everything that acquiring it opened."""


class CompileLock:
    """The right to compile one key.

    The holder loses it when its process dies, and at no other time. The one
    exception is a connection to PostgreSQL that breaks: the holder takes the
    lock again with its next transaction, and another process may have taken it
    first. That costs calls and breaks nothing, because records are named by
    their content and written once.

    Example::

        with store.compile_lock(key, "worker gw0").wait(on_wait=print):
            ...
    """

    def __init__(
        self, mutex: Mutex, owner: str, explained: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Prepare a lock, without taking it yet.

        Args:
            mutex: The lock of one key.
            owner: The name of this process, which other processes show while they wait.
            explained: Gives a context that raises StoreError for errors of the database.
        """
        self._mutex = mutex
        self._owner = owner
        self._explained = explained

    def wait(self, on_wait: Callable[[str], None]) -> Self:
        """Return once this process holds the lock.

        Args:
            on_wait: Called with the holder's name, once, if another process holds the lock.

        Raises:
            StoreError: The store, or the folder of its lock files, cannot be used.
        """
        try:
            self._poll(on_wait)
        except BaseException:
            self._mutex.release()  # Ctrl-C may arrive just after the lock was taken.
            raise
        return self

    def _poll(self, on_wait: Callable[[str], None]) -> None:
        is_announced = False
        while (holder := self._attempt()) is not None:
            if holder and not is_announced:
                on_wait(holder)
                is_announced = True
            time.sleep(_POLL)

    def _attempt(self) -> str | None:
        """Return None if this process has taken the lock, else the holder's name, if any."""
        with self._explained():
            if self._mutex.acquire(self._owner):
                return None
            return self._mutex.owner() or ""

    def __enter__(self) -> Self:
        """Hold the lock."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        self._mutex.release()
