from __future__ import annotations

import re
import signal
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from project import start_script
from sqlalchemy import inspect
from store_checks import NEXT_STEP, artifact, refusal, run_sql, tamper, url_of

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store import Store, schema
from pytest_mipro.store.url import backend_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from forks import ForkServer
    from project import Run

pytestmark = pytest.mark.uses("sqlalchemy")


ENDLESS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
SELECT i AS id, i AS application, i AS version, i AS key FROM n
"""
SLOW = "instr(hex(zeroblob(3000000)), hex(zeroblob(1500000)) || '1')"
"""An expression that SQLite evaluates for longer than anybody waits."""
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


@pytest.fixture
def writer(url: str, tmp_path: Path, fork_server: ForkServer | None) -> Callable[[str, int], Run]:
    """Return a function that starts a process that writes some rows and reports each."""

    def start(name: str, count: int) -> Run:
        return start_script(fork_server, WRITER, url, name, str(count), folder=tmp_path)

    return start


class DatabaseContract:
    """What a store does in every database; a subclass has the fixtures ``url`` and ``store``."""

    def test_survives_reopening(self, store: Store, url: str) -> None:
        """What was written is there after the store was closed and opened again."""
        store.rows.put(Row("k", 0.5))
        store.artifacts.put(artifact("a"))
        store.close()
        with closing(Store.open(url)) as again:
            assert again.rows.get("k") == Row("k", 0.5)
            assert again.artifacts.recent("task")[0] == artifact("a")

    def test_a_killed_writer_leaves_a_usable_store(
        self, url: str, writer: Callable[[str, int], Run]
    ) -> None:
        """A writer killed in the middle leaves every row it had reported as written."""
        process = writer("w", 1_000_000)
        assert process.stdout is not None
        with process.stdout as lines:
            reported = [lines.readline().strip() for _ in range(100)]
            process.send_signal(signal.SIGKILL)
            reported.extend(line.strip() for line in lines if line.endswith("\n"))
        assert process.wait(timeout=60) == -signal.SIGKILL
        with closing(Store.open(url)) as store:
            rows = store.rows.get_many(reported)
            assert set(rows) == set(reported)
            assert all(row.prediction == {"answer": "x" * 200} for row in rows.values())
            store.rows.put(Row("after", 1.0))
            assert store.rows.get("after") is not None

    @pytest.mark.parametrize("table", ["bookmarks", "about", "rows"])
    def test_a_database_of_another_application(self, url: str, table: str) -> None:
        """It is refused, whatever its tables are called, and not changed."""
        if url.startswith("sqlite"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir()
        run_sql(
            url,
            f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, text TEXT)",
            f"INSERT INTO {table} VALUES (7, 'mine')",
        )
        message = refusal(url)
        assert backend_at(url).name in message
        assert "is a database of something else" in message
        assert "use another one for the store" in message
        engine = backend_at(url).create_engine()
        assert inspect(engine).get_table_names() == [table]
        engine.dispose()

    @pytest.mark.parametrize("version", [1, schema.VERSION - 1, schema.VERSION + 1])
    def test_another_format(self, store: Store, url: str, version: int) -> None:
        """A store of an earlier or later format is refused by name, with both formats."""
        run_sql(url, f"UPDATE about SET version = {version}")
        message = refusal(url)
        assert store.name in message
        assert f"format {version}," in message
        assert f"format {schema.VERSION} " in message
        assert NEXT_STEP.search(message)

    def test_a_view_in_place_of_a_table(self, store: Store, url: str) -> None:
        """It is refused before it is read, which may never end."""
        for table in schema.METADATA.tables:
            run_sql(
                url,
                f"ALTER TABLE {table} RENAME TO {table}_aside",
                f"CREATE VIEW {table} AS {ENDLESS}",
            )
            message = refusal(url)
            assert store.name in message
            assert f"something else, it has a view {table}" in message
            run_sql(url, f"DROP VIEW {table}", f"ALTER TABLE {table}_aside RENAME TO {table}")


class TestPostgresqlDatabase(DatabaseContract):
    @pytest.fixture
    def url(self, postgresql_url: str) -> str:
        return postgresql_url


class TestSqliteDatabase(DatabaseContract):
    def test_other_processes_see_rows_at_once(
        self, store: Store, writer: Callable[[str, int], Run]
    ) -> None:
        """A row is visible to an open store as soon as another process has written it."""
        assert store.rows.get("other/0") is None
        process = writer("other", 3)
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert set(store.rows.get_many(f"other/{number}" for number in range(4))) == {
            "other/0",
            "other/1",
            "other/2",
        }

    def test_several_processes_write_at_once(
        self, url: str, writer: Callable[[str, int], Run]
    ) -> None:
        """Writers that also create the store together lose nothing and never fail."""
        processes = [writer(f"p{number}", 40) for number in range(3)]
        for process in processes:
            process.communicate(timeout=60)
        assert [process.returncode for process in processes] == [0] * 3
        keys = [f"p{number}/{row}" for number in range(3) for row in range(40)]
        with closing(Store.open(url)) as store:
            assert set(store.rows.get_many(keys)) == set(keys)

    def test_in_memory_stores_share_nothing(self) -> None:
        """Two stores in memory are independent."""
        with closing(Store.in_memory()) as first, closing(Store.in_memory()) as second:
            first.rows.put(Row("k", 1.0))
            assert first.rows.get("k") == Row("k", 1.0)
            assert second.rows.get("k") is None


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
            "TRIGGER t AFTER UPDATE ON {}_aside BEGIN SELECT 1; END",
            "VIRTUAL TABLE {} USING rtree(key, low, high)",
        ],
        ids=lambda definition: definition.partition(" ")[0].lower(),
    )
    def test_what_no_store_has(self, tmp_path: Path, table: str, definition: str) -> None:
        """A trigger is refused, and so is a virtual table."""
        path = tmp_path / "store.db"
        Store.open(url_of(path)).close()
        tamper(path, f"ALTER TABLE {table} RENAME TO {table}_aside")
        tamper(path, f"CREATE {definition.format(table)}")
        kind = definition.partition(" {}")[0].partition(" AFTER")[0].lower()
        assert f"something else, it has a {kind}" in refusal(url_of(path))

    @pytest.mark.parametrize("table", [*schema.METADATA.tables])
    @pytest.mark.parametrize(
        "change",
        ["CHECK ({0} = 0)", "more INTEGER DEFAULT ({0})", "more INTEGER AS ({0})"],
        ids=["constraint", "default", "generated"],
    )
    def test_a_table_that_computes(self, tmp_path: Path, table: str, change: str) -> None:
        """It is refused before a row is read or written, which may never end."""
        path = tmp_path / "store.db"
        Store.open(url_of(path)).close()
        with closing(sqlite3.connect(path)) as connection:
            query = "SELECT sql FROM sqlite_master WHERE name = ?"
            (definition,) = connection.execute(query, [table]).fetchone()
            connection.execute(f"DROP TABLE {table}")
            change = change.format(SLOW)
            connection.execute(definition.replace("PRIMARY KEY", f"{change}, PRIMARY KEY"))
        assert f"it has a table {table} of another form" in refusal(url_of(path))

    @pytest.mark.parametrize("index", ["({0})", "(key) WHERE {0}", "(key COLLATE NOCASE)"])
    def test_an_index_that_computes(self, tmp_path: Path, index: str) -> None:
        """It is refused as well."""
        path = tmp_path / "store.db"
        Store.open(url_of(path)).close()
        slow = SLOW.replace("(3000000", "(length(key) + 3000000")
        tamper(path, f"CREATE INDEX more ON rows {index.format(slow)}")
        assert "it has an index more of another form" in refusal(url_of(path))

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot set the limit")
    def test_statistics_that_compute(self, tmp_path: Path) -> None:
        """SQLite reads them with the definitions, before these can be checked; it gives up."""
        path = tmp_path / "store.db"
        with closing(Store.open(url_of(path))) as store:
            store.rows.put(*(Row(f"key {number}", 1.0) for number in range(3)))
        tamper(path, "ANALYZE")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            definition = f"CREATE TABLE sqlite_stat1(tbl,idx,stat AS ({SLOW}))"
            change = "UPDATE sqlite_master SET sql = ? WHERE name = 'sqlite_stat1'"
            connection.execute(change, [definition])
            connection.commit()
        assert "it has a table sqlite_stat1 of another form" in refusal(url_of(path))

    def test_a_store_with_statistics(self, tmp_path: Path) -> None:
        """A user may have run ANALYZE and VACUUM."""
        path = tmp_path / "store.db"
        with closing(Store.open(url_of(path))) as store:
            store.rows.put(Row("key", 1.0))
        tamper(path, "ANALYZE")
        tamper(path, "VACUUM")
        with closing(Store.open(url_of(path))) as store:
            assert store.rows.get("key") == Row("key", 1.0)


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
