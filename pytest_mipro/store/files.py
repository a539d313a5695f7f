"""The file of a store: made in one step, and looked at before SQLite does."""

from __future__ import annotations

import os
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_mipro.errors import StoreError
from pytest_mipro.store.messages import DAMAGED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_BIRTH = 1.0
"""Seconds another process gets to write the first page of a new store."""


def prepare(path: Path, make: Callable[[Path], None]) -> None:
    """
    See to it that there is a file at ``path``, and one that may be a store.

    Args:
        path: Where the store is.
        make: Makes a new store, at a path that is close to it.

    Raises:
        StoreError: What is there is no store, or nothing can be made there.

    """
    try:
        problem = _settle(path, make)
    except OSError as error:
        problem = f"cannot be made: {error}; make room for it, or use another store"
    if problem:
        message = f"the store {path} {problem}"
        raise StoreError(message)


def _settle(path: Path, make: Callable[[Path], None]) -> str | None:
    """Make what is missing, and return what is wrong with what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        return f"is a folder; use a file in it, such as {path / 'store.db'}"
    if not path.exists():
        _make(path, make)
    elif _is_empty(path):
        return f"is an empty file, which no store ever is; {DAMAGED}"
    return None


def _make(path: Path, make: Callable[[Path], None]) -> None:
    """Make the store elsewhere and put it in place: who sees it finds it complete."""
    new = path.with_name(f"{path.name}.new-{uuid.uuid4().hex}")
    try:
        make(new)
        with suppress(FileExistsError):  # Another process was faster.
            os.link(new, path)
    except OSError:
        pass  # Not every file system has links; then SQLite makes the store in its place.
    finally:
        for each in (new, *(new.with_name(new.name + end) for end in ("-wal", "-shm", "-journal"))):
            with suppress(OSError):
                each.unlink()


def _is_empty(path: Path) -> bool:
    # Without links, the file of a store that is being made is empty at first.
    deadline = time.monotonic() + _BIRTH
    while path.stat().st_size <= 1:  # SQLite takes a file of one byte for an empty one, too.
        if time.monotonic() > deadline:
            return True
        time.sleep(0.02)
    return False
