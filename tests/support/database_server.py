"""A PostgreSQL server of the tests' own, on a free port of the loopback interface.

Its databases are in a temporary folder, and every connection needs its password. A shell
between the tests and the server ends the server when the tests end, however they do. Tests
are skipped where no server is installed; they fail if ``MIPRO_POSTGRESQL`` is ``required``.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from memory_disk import memory_disk

if TYPE_CHECKING:
    import pwd
    from collections.abc import Generator

    import psycopg

VARIABLE = "MIPRO_POSTGRESQL"
"""The environment variable that makes tests without a server fail."""
USER, PASSWORD = "mipro", "canary-of-the-server"
"""The administrator, whose password must be in no output."""

_DEBIAN = Path("/usr/lib/postgresql")
_START = 30.0
"""Seconds that a server has to start."""
_SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "32MB",
    "synchronous_commit": "off",
    "unix_socket_directories": "",
}
"""Nothing has to survive the machine."""
_TERMINATE = """
    SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database()
"""
_GUARD = """
"$@" & read -r word
if [ "$word" = keep ]; then
    kill -INT $!
    wait
else
    kill -QUIT $!
    wait
    rm -rf "$0"
fi
"""
"""Runs a server until the input ends; its folder stays if that is ``keep``."""


class Server:
    """A server that runs, or is stopped for a while.

    Attributes:
        folder: The folder of its databases and its log.
        port: Its port, which it keeps when it is stopped and started again.
    """

    def __init__(self, commands: Path, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._commands = commands
        self._numbers = count(1)
        self._guard: subprocess.Popen[str] | None = None
        self._has_test_database = False

    def create(self) -> None:
        """Create the folder of the databases."""
        password = self.folder / "password"
        password.write_text(PASSWORD, encoding="ascii")
        command = [
            *(str(self._commands / "initdb"), "--pgdata", str(self.folder / "data")),
            *("--username", USER, "--pwfile", str(password), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--no-locale", "--no-sync"),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, **self._owner)
        if done.returncode:
            refuse(f"initdb failed: {done.stderr.strip()}")

    def start(self) -> None:
        """Start the server, and return once it answers."""
        command = [str(self._commands / "postgres"), "-D", str(self.folder / "data")]
        command += ["-p", str(self.port)]
        command += [word for item in _SETTINGS.items() for word in ("-c", "=".join(item))]
        with (self.folder / "log").open("a", encoding="utf-8") as log:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, str(self.folder), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the tests, which still need the server.
                **self._owner,
            )
        deadline = time.monotonic() + _START
        while not self._answers():
            if time.monotonic() > deadline or self._guard.poll() is not None:
                self.stop()
                refuse(f"the server did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self, *, keep: bool = False) -> None:
        """Stop the server, which ends its connections; delete the folder unless it is kept."""
        if self._guard is not None:
            self._guard.communicate("keep\n" if keep else "")
            self._guard = None

    def empty_database(self) -> str:
        """Return the URL of a database, the same each time, after everything in it is deleted."""
        if not self._has_test_database:
            self.execute("CREATE DATABASE test")
            self._has_test_database = True
        # A database of its own for each test would take much longer.
        self.execute(f"{_TERMINATE}; DROP SCHEMA public CASCADE; CREATE SCHEMA public", "test")
        return self.url("test")

    def terminate(self, database: str, where: str = "true") -> None:
        """Cut the connections to a database that a condition is true of, and wait until they end.

        Their locks are free afterwards.
        """
        self.execute(f"{_TERMINATE} AND {where}", database)

    def new_database(self, options: str = "") -> str:
        """Return the URL of a new database."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def url(self, database: str, *, user: str = USER, password: str = PASSWORD) -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Return the rows that a statement of the administrator gives."""
        with closing(self._connect(database)) as connection:
            connection.autocommit = True
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        import psycopg

        return psycopg.connect(self.url(database))

    def _answers(self) -> bool:
        import psycopg

        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def _owner(self) -> dict[str, Any]:
        """How a process is started as the user that owns the databases."""
        user = user_of_server()
        owner: dict[str, Any] = {"cwd": str(self.folder)}
        if user is not None:
            owner |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        return owner


@contextmanager
def running_server() -> Generator[Server]:
    """Run a server; skip the test if none is installed, or fail if one is required."""
    commands = _commands()
    if commands is None:
        refuse("no PostgreSQL server is installed")
    try:
        import psycopg  # ruff: ignore[unused-import]
    except ImportError:
        refuse("psycopg is not installed (extra `postgresql`)")
    folder = Path(tempfile.mkdtemp(prefix="mipro-postgresql-", dir=memory_disk()))
    user = user_of_server()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    server = Server(commands, folder)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)  # The server may have failed to start.


def refuse(reason: str) -> NoReturn:
    """Skip the test for ``reason``, or fail it where a server is required."""
    if os.environ.get(VARIABLE) == "required":
        pytest.fail(f"{VARIABLE}=required: {reason}")
    pytest.skip(f"{reason}; with {VARIABLE}=required this would fail")


def user_of_server() -> pwd.struct_passwd | None:
    """Return the user to run a server as, which refuses to run as root; None for the present."""
    if os.geteuid() != 0:
        return None
    import pwd  # Windows has none.

    names = {user.pw_name: user for user in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _commands() -> Path | None:
    """Return the folder of the newest installed server's commands."""
    if os.name == "nt":
        return None
    folders = sorted(_DEBIAN.glob("*/bin"), key=lambda path: int(re.sub(r"\D", "", str(path))))
    candidates = [path for path in folders if (path / "initdb").exists()]
    command = shutil.which("initdb")
    # A link on the PATH may lead to a folder that has the commands beside it.
    return candidates[-1] if candidates else Path(command).resolve().parent if command else None


def _free_port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
