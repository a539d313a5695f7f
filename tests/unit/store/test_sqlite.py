from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from project import start_script
from store_checks import NEXT_STEP, explains, tamper

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forks import ForkServer

pytestmark = pytest.mark.uses("filelock", "sqlalchemy")

NOBODY = 65534


GROW = """
CREATE TRIGGER grow AFTER UPDATE ON rows BEGIN
    INSERT INTO traces VALUES (new.key, hex(randomblob(100000)), 0, 0, '');
END
"""
"""A trigger that makes the update of a time of use take more room than there is."""


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


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder that every user may write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Run as a user who may not write everywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield
    if user == 0:
        os.seteuid(user)


class TestReadOnly:
    @pytest.fixture
    def written(self, store: Store, path: Path) -> Path:
        """Return the path of a store with a row whose last use is long ago."""
        store.rows.put(Row("k", 1.0, prediction_key="a"))
        store.close()
        tamper(path, "UPDATE rows SET used = 1")
        return path

    @pytest.mark.parametrize("option", ["mode=ro", "immutable=1"])
    def test_is_read(self, written: Path, option: str) -> None:
        """A store that cannot be written is read."""
        with closing(Store.open(f"sqlite:///file:{written}?{option}&uri=true")) as store:
            assert store.rows.get("k") == Row("k", 1.0, prediction_key="a")
            assert store.rows.by_prediction(["a"])["a"].key == "k"

    def test_is_not_written(self, written: Path) -> None:
        """Every operation that writes raises an error with a next step."""
        with closing(Store.open(f"sqlite:///file:{written}?mode=ro&uri=true")) as store:
            for write in (
                lambda: store.rows.put(Row("new", 1.0)),
                lambda: store.prune(days=1),
                lambda: store.compile_lock("key", "test").wait(on_wait=print),
            ):
                with pytest.raises(StoreError) as error:
                    write()
                assert explains(error, written, "read-only")

    def test_makes_no_folder_of_a_uri(
        self, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file: URI creates no folder of that name."""
        monkeypatch.chdir(tmp_path)
        Store.open(f"sqlite:///file:{written}?mode=ro&uri=true").close()
        assert [file.name for file in tmp_path.iterdir()] == [written.parent.name]

    @pytest.mark.usefixtures("unprivileged")
    def test_a_file_without_permission(self, shared: Path) -> None:
        """A file that may not be written is read, and writing raises an error."""
        path = shared / "store.db"
        with closing(Store.open(f"sqlite:///{path}")) as store:
            store.rows.put(Row("k", 1.0))
        path.chmod(0o400)
        with closing(Store.open(f"sqlite:///{path}")) as store:
            assert store.rows.get("k") == Row("k", 1.0)
            with pytest.raises(StoreError) as error:
                store.rows.put(Row("new", 1.0))
        assert explains(error, path, "read-only")

    @pytest.mark.usefixtures("unprivileged")
    def test_a_folder_without_permission(self, shared: Path) -> None:
        """In a folder that may not be written, an error names the store and a next step."""
        path = shared / "store.db"
        Store.open(f"sqlite:///{path}").close()
        shared.chmod(0o500)
        for database in (path, shared / "new.db", shared / "deeper" / "new.db"):
            with pytest.raises(StoreError) as error:
                Store.open(f"sqlite:///{database}")
            assert explains(error, database, "")
        with closing(Store.open(f"sqlite:///file:{path}?immutable=1&uri=true")) as store:
            assert store.rows.get("k") is None


class TestFullDisk:
    def test_stops_and_goes_on(self, store: Store, path: Path) -> None:
        """A write without room raises an error; the records before and after it are kept."""
        limit(store, 40)
        written = fill(store)
        assert written
        with pytest.raises(StoreError) as error:
            store.rows.put(Row("more", 1.0, "x" * 9000))
        assert explains(error, path, "full")
        limit(store, 100_000)
        store.rows.put(Row("after", 1.0))
        assert len(store.rows.get_many([*written, "after", "more"])) == len(written) + 1

    def test_writes_all_or_nothing(self, store: Store) -> None:
        """Of records that are written together, all are written or none."""
        limit(store, 40)
        rows = [Row(f"{number}", 1.0, "x" * 1000) for number in range(500)]
        with pytest.raises(StoreError):
            store.rows.put(*rows)
        assert store.rows.get_many(row.key for row in rows) == {}

    def test_is_still_read(self, store: Store, path: Path) -> None:
        """Records are read even if there is no room for their time of use."""
        written = fill(store, 50)
        tamper(path, "UPDATE rows SET used = 1")
        tamper(path, GROW)
        limit(store, 1)
        assert len(store.rows.get_many(written)) == len(written)

    @pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
    def test_a_file_that_may_not_grow(
        self, url: str, path: Path, tmp_path: Path, fork_server: ForkServer | None
    ) -> None:
        """A process whose files may not grow gets an error; all records it reported are stored."""
        process = start_script(fork_server, FILLER, url, folder=tmp_path)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        *written, message = output.splitlines()
        assert str(path) in message
        assert NEXT_STEP.search(message)
        assert len(written) > 20
        with closing(Store.open(url)) as store:
            rows = store.rows.get_many(written)
            assert {key: row.score * 2 for key, row in rows.items()} == {
                key: int(key) for key in written
            }
            store.rows.put(Row("after", 1.0))


def limit(store: Store, pages: int) -> None:
    """Limit the only connection of ``store`` to some pages."""
    with store.connection() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


def fill(store: Store, most: int = 10_000) -> list[str]:
    """Write rows until there is no room, and return the keys of the written ones."""
    written = []
    for number in range(most):
        try:
            store.rows.put(Row(f"{number}", 1.0, "x" * 1000))
        except StoreError:
            break
        written.append(f"{number}")
    return written


def test_another_process_writes(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that another process blocks for too long raises an error."""
    with store.connection() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=100")
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as error:
            store.rows.put(Row("k", 1.0))
    assert explains(error, path, "another process")


def lock_files(path: Path) -> list[Path]:
    """Return the files of the compile locks of the store at ``path``."""
    return list(path.with_name(f"{path.name}-locks").glob("*"))


def interrupt(holder: str) -> None:
    """Stop waiting for ``holder``."""
    raise KeyboardInterrupt(holder)


class TestLockFiles:
    def test_are_deleted(self, store: Store, path: Path) -> None:
        """The files of a lock exist while it is held, and no longer."""
        with store.compile_lock("key", "test").wait(on_wait=pytest.fail):
            assert {file.suffix for file in lock_files(path)} == {".lock", ".txt"}
        assert lock_files(path) == []

    def test_of_a_dead_holder_are_used_again(self, store: Store, path: Path) -> None:
        """The files that a killed holder leaves behind block nothing, and are deleted."""
        with store.compile_lock("key", "test").wait(on_wait=pytest.fail):
            remains = {file: file.read_bytes() for file in lock_files(path)}
        for file, content in remains.items():
            file.write_bytes(content)
        with store.compile_lock("key", "test").wait(on_wait=pytest.fail):
            assert len(lock_files(path)) == 2
        assert lock_files(path) == []

    def test_survive_their_deletion(self, store: Store, path: Path) -> None:
        """A holder whose files a user has deleted ends its work without an error."""
        with store.compile_lock("key", "test").wait(on_wait=pytest.fail):
            shutil.rmtree(path.with_name(f"{path.name}-locks"))
        with store.compile_lock("key", "test").wait(on_wait=pytest.fail):
            assert len(lock_files(path)) == 2

    def test_with_an_unreadable_name(self, store: Store, path: Path) -> None:
        """A holder whose name is damaged is waited for all the same."""
        with store.compile_lock("key", "test").wait(on_wait=pytest.fail):
            (name_file,) = (file for file in lock_files(path) if file.suffix == ".txt")
            name_file.write_bytes(b"\xff")
            with pytest.raises(KeyboardInterrupt, match="\ufffd"):
                store.compile_lock("key", "waiter").wait(on_wait=interrupt)

    def test_in_a_folder_that_is_a_file(self, store: Store, path: Path) -> None:
        """A folder of lock files that cannot be created is an error with a next step."""
        path.with_name(f"{path.name}-locks").touch()
        with pytest.raises(StoreError) as error:
            store.compile_lock("key", "test").wait(on_wait=pytest.fail)
        assert explains(error, path, "lock file")
