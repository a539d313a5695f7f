"""The file of a SQLite store: created in one step, and checked before SQLite opens it."""

from __future__ import annotations

import os
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_mipro.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAMAGED = (
    "it is damaged, move it aside and run again (nothing is deleted for you), or put a copy of "
    "it back"
)
"""The next step for a user whose file is damaged."""
_CREATION = 1.0
"""Seconds that another process gets to write the first page of a new store."""
PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600


def open_private(path: str | Path, flags: int) -> int:
    """Open a file that only its owner may read, and not through a link; an ``opener``."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), _PRIVATE_FILE)


def prepare(path: Path, create: Callable[[Path], None]) -> None:
    """Create the file of a store at ``path`` if there is none, and refuse one that is no store.

    Args:
        path: The path of the store.
        create: Creates a store at a path in the same folder.

    Raises:
        StoreError: The file is no store, or no file can be created.
    """
    try:
        _create_missing(path, create)
        problem = _problem(path)
    except OSError as error:
        problem = f"cannot be made: {error}; make room for it, or use another store"
    if problem:
        message = f"the store {path} {problem}"
        raise StoreError(message)


def _create_missing(path: Path, create: Callable[[Path], None]) -> None:
    path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    if not path.exists():
        _create_complete(path, create)


def _problem(path: Path) -> str | None:
    if path.is_symlink():
        return f"is a link to {path.readlink()}, which may be another user's; use that file itself"
    if path.is_dir():
        return f"is a folder; use a file in it, such as {path / 'store.db'}"
    if path.exists() and _is_empty(path):
        return f"is an empty file, which no store ever is; {DAMAGED}"
    return None


def _create_complete(path: Path, create: Callable[[Path], None]) -> None:
    """Create the store under another name and link it, so that no process sees half of it."""
    new = path.with_name(f"{path.name}.new-{uuid.uuid4().hex}")
    try:
        # SQLite gives its further files the mode of this one.
        os.close(open_private(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        create(new)
        with suppress(FileExistsError):  # Another process was faster.
            os.link(new, path)
    except OSError:
        # Not every file system has links. SQLite then creates the store in its place, or says
        # itself what prevents that, such as a full disk.
        return
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                new.with_name(new.name + suffix).unlink()


def _is_empty(path: Path) -> bool:
    # Without links, the file of a store that another process creates is empty at first.
    deadline = time.monotonic() + _CREATION
    while path.stat().st_size <= 1:  # SQLite treats a file of one byte as empty, too.
        if time.monotonic() > deadline:
            return True
        time.sleep(0.02)
    return False
