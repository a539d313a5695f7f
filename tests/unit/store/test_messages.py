from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import OperationalError

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Candidate, Row, Trial
from pytest_mipro.store import Store, files
from pytest_mipro.store.messages import explain

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
NEXT_STEP = re.compile(r"[;,] (use|move|make)\b")
"""How a message says what to do now."""

GROW = """
CREATE TRIGGER grow AFTER UPDATE ON rows BEGIN
    INSERT INTO traces VALUES (new.key, hex(randomblob(100000)), 0, 0, '');
END
"""
"""Makes noting that a row was used take more room than there is."""

FILLER = """
import resource, sys
from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store import Store

store = Store.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    for number in range(100_000):
        store.rows.put(Row(f"{number}", number / 2, "x" * 1000))
        print(number, flush=True)
except StoreError as error:
    print(error)
"""


def is_told(caught: pytest.ExceptionInfo[StoreError], path: Path, what: str) -> bool:
    """Whether a message names the store, what is wrong with it, and what to do."""
    message = str(caught.value)
    return str(path) in message and what in message and NEXT_STEP.search(message) is not None


def tamper(path: Path, statement: str, *values: object) -> None:
    """Change the file of a store behind its back."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, values)
        connection.commit()


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder that everybody can get at."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Be somebody who may not write everywhere."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    yield
    if before == 0:
        os.seteuid(before)


class TestDamage:
    @pytest.mark.parametrize(
        "change",
        [
            "value = replace(value, '0.25', '0.75')",
            'value = \'{"neither": "nor"}\'',
            "value = x'00'",
            "key = 'other'",
            "answer = 'other'",
            "answer = NULL",
            "created = created + 1",
            "created = 'once'",
            "checksum = 'none'",
            "checksum = 0",
        ],
    )
    def test_a_changed_row(self, store: Store, path: Path, change: str) -> None:
        """Whatever is changed about a row, it is not handed out."""
        store.rows.put(Row("k", 0.25, answer="a"))
        tamper(path, f"UPDATE rows SET {change}")
        with pytest.raises(StoreError) as caught:
            store.rows.get_many(["k", "other"])
        assert is_told(caught, path, "rows/")

    def test_a_changed_row_found_by_its_answer(self, store: Store, path: Path) -> None:
        """A row is checked however it is found."""
        store.rows.put(Row("k", 0.25, answer="a"))
        tamper(path, "UPDATE rows SET value = replace(value, '0.25', '0.75')")
        with pytest.raises(StoreError) as caught:
            store.rows.by_answer(["a"])
        assert is_told(caught, path, "rows/k/a")

    @pytest.mark.parametrize("change", ["number = 3", "value = replace(value, '0.5', '0.7')"])
    def test_a_changed_trial(self, store: Store, path: Path, change: str) -> None:
        """A trial that was changed is not handed out."""
        store.put_trial("one", Trial(0, Candidate((0,), (0,)), 1, 0.5, dropped=False))
        tamper(path, f"UPDATE trials SET {change}")
        with pytest.raises(StoreError) as caught:
            store.trials("one")
        assert is_told(caught, path, "trials/one")

    def test_a_record_of_another_kind(self, store: Store, path: Path) -> None:
        """A record under a fitting checksum that is none of its kind is damage, too."""
        store.rows.put(Row("k", 0.25))
        tamper(
            path,
            "INSERT INTO proposals SELECT key, value, created, used, ? FROM rows",
            _checksum(path),
        )
        with pytest.raises(StoreError, match="no Proposal") as caught:
            store.proposals.get("k")
        assert is_told(caught, path, "proposals/k")


def _checksum(path: Path) -> str:
    from pytest_mipro.store.checksum import checksum

    with closing(sqlite3.connect(path)) as connection:
        key, created, value = connection.execute("SELECT key, created, value FROM rows").fetchone()
    return checksum([key], created, value)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give nobody time to write the first page of a store."""
    monkeypatch.setattr(files, "_BIRTH", 0.0)


class TestFile:
    @pytest.mark.usefixtures("impatient")
    def test_an_empty_file(self, path: Path, url: str) -> None:
        """An empty file is what is left of something, and no place for a new store."""
        path.parent.mkdir()
        path.touch()
        with pytest.raises(StoreError) as caught:
            Store.open(url)
        assert is_told(caught, path, "empty")
        assert path.read_bytes() == b""

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("size", [1, 100, 512, 4096, 100_000])
    def test_a_file_of_zeros(self, path: Path, url: str, size: int) -> None:
        """A file of nothing but zeros is no store, and not touched."""
        path.parent.mkdir()
        path.write_bytes(bytes(size))
        with pytest.raises(StoreError) as caught:
            Store.open(url)
        assert is_told(caught, path, "no")
        assert path.read_bytes() == bytes(size)

    def test_a_new_store_leaves_nothing_else(self, store: Store, path: Path) -> None:
        """Of the making of a store, only the store is left."""
        store.close()
        assert [each.name for each in path.parent.iterdir()] == [path.name]

    def test_without_links(self, url: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where a file cannot have two names, a store is made all the same."""

        def refuse(*names: object) -> None:
            raise PermissionError(*names)

        monkeypatch.setattr(os, "link", refuse)
        with closing(Store.open(url)) as store:
            store.rows.put(Row("k", 1.0))
        with closing(Store.open(url)) as store:
            assert store.rows.get("k") == Row("k", 1.0)
        assert [each.name for each in path.parent.iterdir()] == [path.name]

    def test_a_store_just_being_made(
        self, url: str, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that is empty for a moment is waited for."""
        path.parent.mkdir()
        path.touch()
        Store.open(f"{url}.made").close()

        def sleep(_: float) -> None:
            shutil.copy(f"{path}.made", path)

        clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
        monkeypatch.setattr(files, "time", clock)
        Store.open(url).close()


class TestReadOnly:
    @pytest.fixture
    def written(self, store: Store, path: Path) -> Path:
        """Return the path of a store with a row that was not used for long."""
        store.rows.put(Row("k", 1.0, answer="a"))
        store.close()
        tamper(path, "UPDATE rows SET used = 1")
        return path

    @pytest.mark.parametrize("option", ["mode=ro", "immutable=1"])
    def test_is_read(self, written: Path, option: str) -> None:
        """What is in a store that cannot be written is found."""
        with closing(Store.open(f"sqlite:///file:{written}?{option}&uri=true")) as store:
            assert store.rows.get("k") == Row("k", 1.0, answer="a")
            assert store.rows.by_answer(["a"])["a"].key == "k"

    def test_is_not_written(self, written: Path) -> None:
        """Whatever writes to it says that it is read-only, and what to do."""
        with closing(Store.open(f"sqlite:///file:{written}?mode=ro&uri=true")) as store:
            for write in (
                lambda: store.rows.put(Row("new", 1.0)),
                lambda: store.prune(days=1),
                lambda: store.lease("key", "me").wait(on_wait=print),
            ):
                with pytest.raises(StoreError) as caught:
                    write()
                assert is_told(caught, written, "read-only")

    def test_makes_no_folder_of_a_uri(
        self, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file name that only SQLite can read makes no folder of that name."""
        monkeypatch.chdir(tmp_path)
        Store.open(f"sqlite:///file:{written}?mode=ro&uri=true").close()
        assert [each.name for each in tmp_path.iterdir()] == [written.parent.name]

    def test_an_older_one(self, written: Path) -> None:
        """A store that would have to be brought up to this version says that it cannot be."""
        tamper(written, "UPDATE about SET version = 1")
        with pytest.raises(StoreError) as caught:
            Store.open(f"sqlite:///file:{written}?mode=ro&uri=true")
        assert is_told(caught, written, "read-only")

    @pytest.mark.usefixtures("unprivileged")
    def test_a_file_without_permission(self, shared: Path) -> None:
        """A file that may not be written is read, and says so when it is to be written."""
        path = shared / "store.db"
        with closing(Store.open(f"sqlite:///{path}")) as store:
            store.rows.put(Row("k", 1.0))
        path.chmod(0o400)
        with closing(Store.open(f"sqlite:///{path}")) as store:
            assert store.rows.get("k") == Row("k", 1.0)
            with pytest.raises(StoreError) as caught:
                store.rows.put(Row("new", 1.0))
        assert is_told(caught, path, "read-only")

    @pytest.mark.usefixtures("unprivileged")
    def test_a_folder_without_permission(self, shared: Path) -> None:
        """In a folder that may not be written, an error names the store and what to do."""
        path = shared / "store.db"
        Store.open(f"sqlite:///{path}").close()
        shared.chmod(0o500)
        for wanted in (path, shared / "new.db", shared / "deeper" / "new.db"):
            with pytest.raises(StoreError) as caught:
                Store.open(f"sqlite:///{wanted}")
            assert is_told(caught, wanted, "")
        with closing(Store.open(f"sqlite:///file:{path}?immutable=1&uri=true")) as store:
            assert store.rows.get("k") is None


class TestFullDisk:
    def test_stops_and_goes_on(self, store: Store, path: Path) -> None:
        """A write that finds no room raises, and everything before and after it is kept."""
        limit(store, 40)
        written = fill(store)
        assert written
        with pytest.raises(StoreError) as caught:
            store.rows.put(Row("more", 1.0, "x" * 9000))
        assert is_told(caught, path, "full")
        limit(store, 100_000)
        store.rows.put(Row("after", 1.0))
        assert len(store.rows.get_many([*written, "after", "more"])) == len(written) + 1

    def test_writes_all_or_nothing(self, store: Store) -> None:
        """Of records written together, none is there if there was no room for all."""
        limit(store, 40)
        rows = [Row(f"{number}", 1.0, "x" * 1000) for number in range(500)]
        with pytest.raises(StoreError):
            store.rows.put(*rows)
        assert store.rows.get_many(row.key for row in rows) == {}

    def test_is_still_read(self, store: Store, path: Path) -> None:
        """That there is no room to note its use is no reason not to hand a record out."""
        written = fill(store, 50)
        tamper(path, "UPDATE rows SET used = 1")
        tamper(path, GROW)
        limit(store, 1)
        assert len(store.rows.get_many(written)) == len(written)

    @pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
    def test_a_file_that_may_not_grow(self, url: str, path: Path) -> None:
        """A process whose files may not grow stops with an error; what it reported is there."""
        done = subprocess.run(
            [sys.executable, "-c", FILLER, url],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        *written, message = done.stdout.splitlines()
        assert str(path) in message
        assert NEXT_STEP.search(message)
        assert len(written) > 20
        with closing(Store.open(url)) as store:
            found = store.rows.get_many(written)
            assert {key: row.score * 2 for key, row in found.items()} == {
                key: int(key) for key in written
            }
            store.rows.put(Row("after", 1.0))


def limit(store: Store, pages: int) -> None:
    """Let the only connection of ``store`` use no more than some pages."""
    with store.connection() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


def fill(store: Store, most: int = 10_000) -> list[str]:
    """Write rows until there is no room, and return the keys of those that were written."""
    written = []
    for number in range(most):
        try:
            store.rows.put(Row(f"{number}", 1.0, "x" * 1000))
        except StoreError:
            break
        written.append(f"{number}")
    return written


class TestMessages:
    def test_another_process_writes(
        self, store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who cannot write because somebody else does not stop writing is told so."""
        with store.connection() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=100")
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError) as caught:
                store.rows.put(Row("k", 1.0))
        assert is_told(caught, path, "another process")

    def test_no_secret_is_repeated(self) -> None:
        """What a driver says is cited without the password."""
        error = OperationalError("", {}, Exception("invalid dsn: user=me password=hunter2 host=h"))
        told = explain("postgresql://h/db", error, "postgresql", ["hunter2"])
        assert "hunter2" not in str(told)
        assert "invalid dsn: user=me" in str(told)
        assert NEXT_STEP.search(str(told))

    def test_no_record_is_repeated(self, store: Store, path: Path) -> None:
        """A text that is none any more is not cited in full."""
        store.rows.put(Row("k", 1.0, "x" * 5000))
        tamper(path, "UPDATE rows SET value = CAST(x'ff' || value AS TEXT)")
        with pytest.raises(StoreError) as caught:
            store.rows.get("k")
        assert is_told(caught, path, "UTF-8")
        assert len(str(caught.value)) < 600

    @pytest.mark.parametrize("url", ["mysql://me:hunter2@localhost/store", "oracle://h/store"])
    def test_another_kind_of_database(self, url: str) -> None:
        """Databases that were never tried are refused, by name and without the password."""
        with pytest.raises(StoreError, match=r"use SQLite or PostgreSQL") as caught:
            Store.open(url)
        assert "hunter2" not in str(caught.value)
