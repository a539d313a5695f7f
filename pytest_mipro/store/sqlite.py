"""The SQLite backend: a store in a file, or in memory."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lazy_loader
from sqlalchemy import create_engine, delete, event, false, text
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from pytest_mipro.canonical import digest
from pytest_mipro.errors import StoreError
from pytest_mipro.store import files, schema
from pytest_mipro.store.backend import Backend

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    import filelock
    from sqlalchemy import URL, Connection, Engine, Table
    from sqlalchemy.dialects.sqlite import Insert
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from typing_extensions import Self

    from pytest_mipro.store.lock import Mutex
else:
    filelock = lazy_loader.load("filelock")  # Most sessions compile nothing and need no lock.

_READING = "to read one that cannot be written, use sqlite:///file:PATH?immutable=1&uri=true"
_ADVICE = {
    "decode": files.DAMAGED,
    "readonly": (
        f"it is read-only; make the file and its folder writable, or use a copy of it; {_READING}"
    ),
    "is full": (
        "make room and run again; records that are in the store are kept, and are not paid for "
        "again"
    ),
    "disk I/O error": (
        "make sure that the disk has room and is in order, and run again; records that are in "
        "the store are kept"
    ),
    "unable to open": (
        "make sure that the file exists and that it and its folder can be written, as SQLite "
        f"keeps two more files beside a store in use; or use another store; {_READING}"
    ),
    "locked": (
        "another process has been writing to it for long; make sure that none hangs, and run again"
    ),
    "malformed": files.DAMAGED,
    "not a database": f"if it is a store, {files.DAMAGED}",
    "no such": files.DAMAGED,
}
"""The next step by a part of SQLite's message. Python 3.10 hides SQLite's error codes."""

_DEFINITIONS = text("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
_NAME = r'"?\w+"?'
_PLAIN = re.compile(
    rf"CREATE TABLE {_NAME} \( ?({_NAME} [A-Z]+( NOT NULL)?, )+PRIMARY KEY \({_NAME}\) ?\)"
    rf"|CREATE INDEX {_NAME} ON {_NAME} \({_NAME}(, {_NAME})*\)"
    r"|CREATE TABLE sqlite_\w+\([\w, ]+\)"
)
"""Matches tables of columns and indexes of columns, and what SQLite's ANALYZE makes.

SQLite evaluates the expressions of any other definition whenever a row is read or written, and
one of them can take longer than anybody waits.
"""


_MOST_STEPS, _LONGEST = 10_000, 10_000
"""Steps of SQLite's machine, and bytes of a value, until the definitions are read."""
_LENGTH = 0
"""The number of SQLite's limit of bytes, which only Python 3.11 and later have a name for."""


class SqliteBackend(Backend):
    """A SQLite database: a file, or the memory of this process."""

    damage_advice = files.DAMAGED

    def __init__(self, url: URL, name: str | None = None) -> None:
        """Use the database at ``url``, which messages call ``name``; open nothing yet."""
        super().__init__(url)
        self.name = name or url.database or "in memory"
        self._holders: dict[str, MemoryMutex] = {}

    def advice(self, reason: str) -> str:
        """Return the next step by SQLite's message."""
        steps = (step for part, step in _ADVICE.items() if part in reason)
        return next(steps, f"if {files.DAMAGED}")

    def create_engine(self) -> Engine:
        """Return an engine whose transactions take the write lock at their first change."""
        # SQLite does not wait for the lock in a transaction that has read before.
        options: dict[str, object] = {"isolation_level": "IMMEDIATE"}
        if self._is_in_memory:
            options["check_same_thread"] = False
            # All threads share the one connection that has the data, one after another.
            engine = create_engine(
                self._url, connect_args=options, poolclass=QueuePool, pool_size=1, max_overflow=0
            )
        else:
            engine = create_engine(self._url, connect_args=options)
        event.listen(engine, "connect", _configure)
        return engine

    def prepare(self, create: Callable[[Self], None]) -> None:
        """Create the file, complete, if there is none.

        Raises:
            StoreError: The file is no store, or cannot be created.
        """
        database = self._url.database
        # Only SQLite can read the path in a file: URI.
        if self._is_in_memory or database is None or database.startswith("file:"):
            return
        files.prepare(Path(database), lambda path: create(self._at(path)))

    def refusal(self, connection: Connection) -> str:
        """Name what is more than a table or an index of columns, such as a view or a trigger."""
        for kind, name, definition in connection.execute(_DEFINITIONS):
            if not _PLAIN.fullmatch(" ".join(definition.split())):
                shown = _shown(kind, f"{name:.40}", definition)
                return (
                    f"is a database of something else, it has {shown}, which no store has; "
                    "use another one for the store"
                )
        return ""

    def initialize(self, connection: Connection) -> None:
        """Let readers and the writer work at the same time; the file keeps this setting."""
        # SQLite does not wait for the lock that this takes. If another process has it, that
        # process is opening the same new store and does the same.
        with suppress(OperationalError):
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")

    def lock_schema(self, connection: Connection) -> None:
        """Take the write lock until the transaction ends."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def insert_once(self, table: Table) -> Insert:
        """Return the statement that inserts rows, except under keys that are in the table."""
        return insert(table).on_conflict_do_nothing()

    def compact(self, connection: Connection) -> None:
        """Return the space of deleted rows to the file system."""
        # If the disk has no room for the copy that this takes, or another process reads for too
        # long, SQLite uses the space for the next records.
        with suppress(OperationalError):
            connection.exec_driver_sql("VACUUM")

    def mutex(self, engine: Engine, key: str) -> Mutex:
        """Return the lock of one compile key: a lock file beside the database file."""
        if self._is_in_memory:
            return MemoryMutex(self._holders, key)
        with engine.begin() as connection:
            # This deletes nothing, and fails before any call is paid for if the store is read-only.
            connection.execute(delete(schema.ABOUT).where(false()))
            database = Path(connection.exec_driver_sql("PRAGMA database_list").one().file)
        # The digest is a valid file name for any key.
        return FileMutex(database.with_name(f"{database.name}-locks") / f"{digest(key)}.lock")

    @property
    def _is_in_memory(self) -> bool:
        return self._url.database in {None, "", ":memory:"}

    def _at(self, path: Path) -> Self:
        # Messages name the file that the user knows.
        return type(self)(self._url.set(database=str(path)), self.name)


def _shown(kind: str, name: str, definition: str) -> str:
    if kind == "index":
        return f"an index {name} of another form"
    if kind == "table" and not definition.startswith("CREATE VIRTUAL"):
        return f"a table {name} of another form"
    return f"a {'virtual ' * (kind == 'table')}{kind} {name}"


class FileMutex:
    """A lock file, which the operating system unlocks when its holder dies.

    The holder writes its name to a text file beside it and deletes both files
    at the end. The files of a holder that is killed stay until the same key is
    compiled again.
    """

    def __init__(self, path: Path) -> None:
        """Use the lock file at ``path``; its folder is created when it is needed."""
        self._path = path
        self._name_file = path.with_suffix(".txt")
        # The thread that releases the lock may be another than the one that took it.
        self._lock = filelock.FileLock(path, thread_local=False, mode=0o600)

    def acquire(self, owner: str) -> bool:
        """Take the lock if it is free.

        Raises:
            StoreError: The files cannot be written, or the file system has no locks.
        """
        try:
            self._prepare_folder()
            self._lock.acquire(blocking=False)
            with open(self._name_file, "w", encoding="utf-8", opener=files.open_private) as file:
                file.write(owner)
        except filelock.Timeout:
            return False
        except (OSError, NotImplementedError) as error:  # The latter is filelock's: no locks here.
            message = (
                f"the lock file {self._path} of the store cannot be used: {error}; make sure that "
                "its folder can be written, or use a store on a local disk"
            )
            raise StoreError(message) from error
        return True

    def _prepare_folder(self) -> None:
        folder = self._path.parent
        folder.mkdir(mode=files.PRIVATE_FOLDER, exist_ok=True)
        if folder.is_symlink():
            message = f"{folder} is a link, which may lead to files of another user; delete it"
            raise OSError(message)

    def owner(self) -> str | None:
        """Return the name that the holder wrote."""
        try:
            return self._name_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None  # The holder has not written it yet, or has just released the lock.

    def release(self) -> None:
        """Delete both files and unlock."""
        if not self._lock.is_locked:
            return
        # Deleted while it is locked, the file cannot be one that another process holds. Windows
        # deletes no open file; then the next holder uses it.
        for path in (self._name_file, self._path):
            with suppress(OSError):
                path.unlink()
        self._lock.release()


class MemoryMutex:
    """The lock of a store in memory, between the threads of this process.

    Attributes:
        name: The name of the holder, or of the thread that waits.
    """

    def __init__(self, holders: dict[str, MemoryMutex], key: str) -> None:
        """Hold the lock by an entry in ``holders``, which the store keeps."""
        self._holders = holders
        self._key = key
        self.name = ""

    def acquire(self, owner: str) -> bool:
        """Take the lock if it is free."""
        self.name = owner
        return self._holders.setdefault(self._key, self) is self

    def owner(self) -> str | None:
        """Return the name of the holder."""
        holder = self._holders.get(self._key)
        return None if holder is None else holder.name

    def release(self) -> None:
        """Release the lock if this object holds it."""
        if self._holders.get(self._key) is self:
            del self._holders[self._key]


def _configure(connection: DBAPIConnection, _record: object) -> None:
    file = cast("sqlite3.Connection", connection)
    file.execute("PRAGMA busy_timeout=30000")
    file.execute("PRAGMA trusted_schema=OFF")  # The file may come from somebody else.
    _read_definitions(file)
    file.execute("PRAGMA synchronous=NORMAL")


def _read_definitions(file: sqlite3.Connection) -> None:
    """Read the definitions, which can be checked then.

    SQLite reads its statistics with them, and these may be computed, which may never end. After
    an error, it goes on without them.
    """
    file.set_progress_handler(lambda: 1, _MOST_STEPS)
    longest = file.setlimit(_LENGTH, _LONGEST) if sys.version_info >= (3, 11) else 0
    file.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    if sys.version_info >= (3, 11):
        file.setlimit(_LENGTH, longest)
    file.set_progress_handler(None, 0)
