from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from store_checks import NEXT_STEP, artifact, refusal, tamper, url_of

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store import Store, schema

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.uses("sqlalchemy")


ENDLESS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
SELECT i AS id, i AS application, i AS version, i AS key FROM n
"""
WRITER = """
import sys
from pytest_mipro.records import Row
from pytest_mipro.store import Store
from pytest_mipro.store.schema import METADATA

url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Store.open(url)
for number in range(count):
    store.rows.put(Row(f"{name}/{number}", number / 2, {"answer": "x" * 200}))
    sys.stdout.write(f"{name}/{number}\\n")
    sys.stdout.flush()
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    """Start a process that writes ``count`` rows and reports each."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url_of(path), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )


class TestDurability:
    def test_survives_reopening(self, store: Store, path: Path) -> None:
        """What was written is there after the store was closed and opened again."""
        store.rows.put(Row("k", 0.5))
        store.artifacts.put(artifact("a"))
        store.close()
        again = Store.open(url_of(path))
        assert again.rows.get("k") == Row("k", 0.5)
        assert again.artifacts.recent("task")[0] == artifact("a")
        again.close()

    def test_other_processes_see_rows_at_once(self, store: Store, path: Path) -> None:
        """A row is visible to an open store as soon as another process has written it."""
        assert store.rows.get("other/0") is None
        with writer(path, "other", 3) as process:
            assert process.wait(timeout=60) == 0
        assert set(store.rows.get_many(["other/0", "other/1", "other/2", "other/3"])) == {
            "other/0",
            "other/1",
            "other/2",
        }

    def test_several_processes_write_at_once(self, path: Path) -> None:
        """Writers that also create the store together lose nothing and never fail."""
        processes = [writer(path, f"p{number}", 40) for number in range(3)]
        for process in processes:
            process.communicate(timeout=60)
        assert [process.returncode for process in processes] == [0] * 3
        keys = [f"p{number}/{row}" for number in range(3) for row in range(40)]
        store = Store.open(url_of(path))
        assert set(store.rows.get_many(keys)) == set(keys)
        store.close()

    def test_several_threads_write_at_once(self, store: Store) -> None:
        """Threads that write the same and other keys at once lose nothing and never fail."""

        def write(thread: int) -> None:
            for number in range(40):
                store.rows.put(Row(f"{thread}/{number}", 1.0), Row(f"all/{number}", 1.0))

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(write, range(4)))
        keys = [f"{thread}/{number}" for thread in (*range(4), "all") for number in range(40)]
        assert set(store.rows.get_many(keys)) == set(keys)

    def test_a_killed_writer_leaves_a_usable_store(self, path: Path) -> None:
        """A writer killed in the middle leaves every row it had reported as written."""
        for attempt in range(2):
            with writer(path, f"w{attempt}", 1_000_000) as process:
                assert process.stdout is not None
                reported = [process.stdout.readline().strip() for _ in range(100)]
                process.send_signal(signal.SIGKILL)
                reported.extend(line.strip() for line in process.stdout if line.endswith("\n"))
            store = Store.open(url_of(path))
            rows = store.rows.get_many(reported)
            assert set(rows) == set(reported)
            assert all(row.prediction == {"answer": "x" * 200} for row in rows.values())
            store.rows.put(Row(f"after {attempt}", 1.0))
            assert store.rows.get(f"after {attempt}") is not None
            store.close()

    def test_in_memory_stores_share_nothing(self) -> None:
        """Two stores in memory are independent."""
        first, second = Store.in_memory(), Store.in_memory()
        first.rows.put(Row("k", 1.0))
        assert first.rows.get("k") == Row("k", 1.0)
        assert second.rows.get("k") is None
        first.close()
        second.close()


class TestFolder:
    def test_a_missing_folder_is_created(self, tmp_path: Path) -> None:
        """All missing folders of a new store are created."""
        path = tmp_path / "one" / "two" / "store.db"
        Store.open(url_of(path)).close()
        assert path.is_file()

    def test_an_existing_folder_is_left_alone(self, tmp_path: Path) -> None:
        """In an existing folder only the store is written."""
        Store.open(url_of(tmp_path / "store.db")).close()
        assert {file.name.partition("-")[0] for file in tmp_path.iterdir()} == {"store.db"}


class TestRefused:
    def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        """A text file is refused by name, with a next step, and not changed."""
        path = tmp_path / "notes.txt"
        path.write_text("not a database " * 400, encoding="ascii")
        message = refusal(url_of(path))
        assert str(path) in message
        assert NEXT_STEP.search(message)
        assert path.read_text(encoding="ascii") == "not a database " * 400

    def test_a_truncated_store(self, tmp_path: Path) -> None:
        """A store that lost its second half is refused by name when it is opened or read."""
        path = tmp_path / "store.db"
        store = Store.open(url_of(path))
        store.rows.put(*(Row(f"{number}", 1.0, "x" * 500) for number in range(200)))
        store.close()
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(StoreError, match=re.escape(str(path))) as error:
            Store.open(url_of(path)).rows.get_many(str(number) for number in range(200))
        assert NEXT_STEP.search(str(error.value))

    @pytest.mark.parametrize("table", ["bookmarks", "about", "rows"])
    def test_a_database_of_another_application(self, tmp_path: Path, table: str) -> None:
        """Another application's database is refused, whatever its tables are called."""
        path = tmp_path / "places.sqlite"
        connection = sqlite3.connect(path)
        connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute(f"INSERT INTO {table} VALUES (7, 'mine')")
        connection.commit()
        connection.close()
        message = refusal(url_of(path))
        assert str(path) in message
        assert NEXT_STEP.search(message)

    @pytest.mark.parametrize("table", ["bookmarks", "about"])
    def test_a_refused_database_is_unchanged(self, tmp_path: Path, table: str) -> None:
        """Another application's database is the same, byte for byte, after it was refused."""
        path = tmp_path / "places.sqlite"
        connection = sqlite3.connect(path)
        connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, text TEXT)")
        connection.commit()
        connection.close()
        content = path.read_bytes()
        refusal(url_of(path))
        assert path.read_bytes() == content

    @pytest.mark.parametrize("version", [1, schema.VERSION - 1, schema.VERSION + 1])
    def test_another_format(self, tmp_path: Path, version: int) -> None:
        """A store of an earlier or later format is refused by name, with both formats."""
        path = tmp_path / "store.db"
        Store.open(url_of(path)).close()
        connection = sqlite3.connect(path)
        connection.execute("UPDATE about SET version = ?", [version])
        connection.commit()
        connection.close()
        message = refusal(url_of(path))
        assert str(path) in message
        assert f"format {version}," in message
        assert f"format {schema.VERSION} " in message
        assert NEXT_STEP.search(message)

    def test_a_folder_that_is_a_file(self, tmp_path: Path) -> None:
        """A file in place of a folder is an error that names the store."""
        (tmp_path / "taken").write_text("", encoding="ascii")
        path = tmp_path / "taken" / "deeper" / "store.db"
        message = refusal(url_of(path))
        assert str(path) in message
        assert NEXT_STEP.search(message)

    def test_a_store_that_is_a_folder(self, tmp_path: Path) -> None:
        """A folder is refused as a store."""
        message = refusal(url_of(tmp_path))
        assert str(tmp_path) in message
        assert NEXT_STEP.search(message)

    @pytest.mark.parametrize("table", [*schema.METADATA.tables])
    @pytest.mark.parametrize(
        "definition",
        [
            f"VIEW {{}} AS {ENDLESS}",
            "TRIGGER t AFTER UPDATE ON {}_aside BEGIN SELECT 1; END",
            "VIRTUAL TABLE {} USING rtree(key, low, high)",
        ],
        ids=lambda definition: definition.partition(" ")[0].lower(),
    )
    def test_what_no_store_has(self, tmp_path: Path, table: str, definition: str) -> None:
        """A view that never ends in place of a table is refused, and so is a trigger."""
        path = tmp_path / "store.db"
        Store.open(url_of(path)).close()
        tamper(path, f"ALTER TABLE {table} RENAME TO {table}_aside")
        tamper(path, f"CREATE {definition.format(table)}")
        kind = definition.partition(" {}")[0].partition(" AFTER")[0].lower()
        assert f"something else, it has a {kind}" in refusal(url_of(path))


def test_threads_share_a_store_in_memory() -> None:
    """Threads that write to one store in memory lose no records."""
    with closing(Store.in_memory()) as store:

        def write(thread: int) -> None:
            for number in range(100):
                store.rows.put(Row(f"{thread}/{number}", 1.0))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        with store.compile_lock("key", "test").wait(on_wait=print):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        keys = [f"{thread}/{number}" for thread in range(4) for number in range(100)]
        assert len(store.rows.get_many(keys)) == 400
