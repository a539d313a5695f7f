"""The folder of a session: the store, and the locks of tasks."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_mipro.errors import StoreError
from pytest_mipro.reference import tracked_file
from pytest_mipro.store import SEAL_VARIABLE, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from pytest_mipro.store import CompileLock


class Storage:
    """Opens the store when it is needed.

    Args:
        store_url: SQLAlchemy URL of the store.
        folder: The folder of everything but a store at another place.
        process_name: The name of this process in messages of processes that wait for it.
        shared_folder: A folder that only the processes of this run share; None for one process.
    """

    def __init__(
        self, store_url: str, folder: Path, process_name: str, shared_folder: Path | None = None
    ) -> None:
        self._store_url = store_url
        self._folder = folder
        self._process_name = process_name
        self._shared_folder = shared_folder
        self._has_warned = False
        self._unbelieved = 0

    @cached_property
    def store(self) -> Store:
        """The store, opened on first use."""
        _prepare(self._folder)
        return Store.open(self._store_url)

    @cached_property
    def _rerun_store(self) -> Store:
        """The results that the processes of this run evaluate again, opened on first use."""
        if self._shared_folder is None:
            return Store.in_memory()
        return Store.open_file(self._shared_folder / "rerun.db")

    @property
    def is_open(self) -> bool:
        """Whether the session needed the store."""
        return "store" in vars(self)

    def close(self) -> None:
        """Close the stores that are open."""
        if self.is_open:
            self.store.close()
        if "_rerun_store" in vars(self):
            self._rerun_store.close()

    def new_warnings(self) -> list[str]:
        """Return what the user should know of the store and was not told yet."""
        if not self.is_open:
            return []
        warnings = [] if self._has_warned else _tracking_warning(self._folder)
        self._has_warned = True
        if self.store.unbelieved > self._unbelieved:
            self._unbelieved = self.store.unbelieved
            warnings.append(
                f"{self._unbelieved} records of the store {self.store.name} have no valid seal "
                f"under {SEAL_VARIABLE} and count as absent; the work is done again, and sealed"
            )
        return warnings

    def lock(self, key: str, on_wait: Callable[[str], None]) -> CompileLock:
        """Return the lock on a compile key; pass the name of another holder to ``on_wait``."""
        return self.store.compile_lock(key, self._process_name).wait(on_wait=on_wait)

    @contextmanager
    def opened(self, *, again: bool) -> Generator[Store]:
        """Yield the store for work on a task, while it keeps LM responses.

        To ask the models ``again``, yield a store that only this run has, and cache nothing.
        """
        from pytest_mipro.evaluate import cached_responses

        store = self._rerun_store if again else self.store
        with cached_responses(None if again else store):
            yield store


def _tracking_warning(folder: Path) -> list[str]:
    file = tracked_file(folder)
    if file is None:
        return []
    text = (
        f"{file} is under version control: everybody who can commit can change stored scores; "
        f"take it out with: git rm -r --cached {folder.name}"
    )
    return [text]


def _prepare(folder: Path) -> None:
    """Make the folder for this user alone, and keep it out of version control and backups."""
    try:
        if folder.is_symlink():
            message = (
                f"the folder {folder}, which keeps paid results, is a link to {folder.readlink()}, "
                "which may be another user's; put a folder in its place, or use --mipro-store"
            )
            raise StoreError(message)
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, content in (
            (".gitignore", "*\n"),
            ("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n"),
        ):
            _write_missing(folder / name, content)
    except OSError as error:
        message = (
            f"the folder {folder}, which keeps paid results, cannot be written: "
            f"{error.strerror or error}; move the file in its place aside, or make it writable"
        )
        raise StoreError(message) from error


def _write_missing(path: Path, content: str) -> None:
    """Write a file unless there is one, or a link of its name."""
    with suppress(FileExistsError), open(path, "x", encoding="ascii", opener=_open_private) as file:
        file.write(content)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
