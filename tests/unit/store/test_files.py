from __future__ import annotations

import os
import shutil
import time
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from store_checks import explains

from pytest_mipro.canonical import digest
from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store import Store, files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give other processes no time to write the first page of a store."""
    monkeypatch.setattr(files, "_CREATION", 0.0)


@pytest.mark.usefixtures("quick")
def test_an_empty_file(path: Path, url: str) -> None:
    """An empty file is refused and stays empty."""
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StoreError) as error:
        Store.open(url)
    assert explains(error, path, "empty")
    assert path.read_bytes() == b""


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("size", [1, 100, 512, 4096, 100_000])
def test_a_file_of_zeros(path: Path, url: str, size: int) -> None:
    """A file of zeros is refused and not changed."""
    path.parent.mkdir()
    path.write_bytes(bytes(size))
    with pytest.raises(StoreError) as error:
        Store.open(url)
    assert explains(error, path, "no")
    assert path.read_bytes() == bytes(size)


def test_a_new_store_leaves_nothing_else(store: Store, path: Path) -> None:
    """The creation of a store leaves no other file behind."""
    store.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_without_links(url: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without links a store is created all the same."""

    def refuse(*names: object) -> None:
        raise PermissionError(*names)

    monkeypatch.setattr(os, "link", refuse)
    with closing(Store.open(url)) as store:
        store.rows.put(Row("k", 1.0))
    with closing(Store.open(url)) as store:
        assert store.rows.get("k") == Row("k", 1.0)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_store_that_another_process_creates(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is empty for a moment is opened once it is not."""
    path.parent.mkdir()
    path.touch()
    Store.open(f"{url}.made").close()

    def sleep(_: float) -> None:
        shutil.copy(f"{path}.made", path)

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(files, "time", clock)
    Store.open(url).close()


def test_files_are_the_owners_alone(store: Store, path: Path) -> None:
    """Nobody else may read the folder, the database, or the lock of a key."""
    store.rows.put(Row("k", 1.0))
    with store.compile_lock("key", "owner").wait(on_wait=pytest.fail):
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.rglob("*")}
    modes["folder"] = path.parent.stat().st_mode & 0o777
    assert modes.pop("folder") == modes.pop("store.db-locks") == 0o700
    assert len(modes) == 5
    assert set(modes.values()) == {0o600}


def test_a_link_in_place_of_the_store(path: Path, url: str, tmp_path: Path) -> None:
    """It is not written through."""
    path.parent.mkdir()
    path.symlink_to(tmp_path / "other.db")
    with pytest.raises(StoreError) as error:
        Store.open(url)
    assert explains(error, path, f"a link to {tmp_path / 'other.db'}")
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize(
    "name", ["store.db-locks", "store.db-locks/*.txt", "store.db-locks/*.lock"]
)
def test_a_link_in_place_of_a_lock(store: Store, path: Path, tmp_path: Path, name: str) -> None:
    """It is not written through either."""
    target = tmp_path / "target"
    key = f"{digest('key')}."
    link = path.parent / name.replace("*.", key)
    if link.parent != path.parent:
        link.parent.mkdir()
        target.write_text("mine")
    else:
        target.mkdir()
    link.symlink_to(target)
    with pytest.raises(StoreError, match=r"lock file .* cannot be used"):
        store.compile_lock("key", "owner").wait(on_wait=pytest.fail)
    assert target.is_dir() or target.read_text() == "mine"
    assert not target.is_dir() or not [*target.iterdir()]
