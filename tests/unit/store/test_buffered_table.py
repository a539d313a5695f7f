from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.errors import StoreError
from pytest_mipro.store import Response, Store, buffered_table

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.uses("sqlalchemy")


def written(path: Path) -> list[str]:
    """Return the keys of the responses in the file of a store."""
    with closing(sqlite3.connect(path)) as connection:
        return [key for (key,) in connection.execute("SELECT key FROM responses ORDER BY key")]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a transaction follow another one after an hour at the earliest."""
    monkeypatch.setattr(buffered_table, "INTERVAL", 3600.0)


def test_the_first_record_is_written_at_once(store: Store, path: Path) -> None:
    """It survives the death of the process."""
    store.responses.put(Response("a", 1))
    assert written(path) == ["a"]


@pytest.mark.usefixtures("slow")
def test_later_records_are_written_together(store: Store, path: Path) -> None:
    """Until then the process reads them, and after that every process does."""
    for key in "abc":
        store.responses.put(Response(key, key))
    assert written(path) == ["a"]
    assert store.responses.get("c") == Response("c", "c")
    store.responses.flush()
    assert written(path) == ["a", "b", "c"]


def test_the_last_record_is_written_without_another_one(store: Store, path: Path) -> None:
    """A process that dies later than a moment after it loses nothing."""
    store.responses.put(Response("a", 1))
    store.responses.put(Response("b", 2))
    if (timer := store.responses._timer) is not None:  # Else it has written already.
        timer.join(60)
    assert written(path) == ["a", "b"]


@pytest.mark.usefixtures("slow")
def test_the_first_record_of_a_key_stays(store: Store) -> None:
    """This holds before it is written, and after it."""
    for content in (1, 2):
        store.responses.put(Response("a", content))
        store.responses.put(Response("b", content))
    store.responses.flush()
    assert [store.responses.get(key) for key in "ab"] == [Response("a", 1), Response("b", 1)]


@pytest.mark.usefixtures("slow")
def test_records_wait_while_the_store_cannot_be_written(store: Store, path: Path) -> None:
    """The error is raised, and the next transaction writes them."""
    store.responses.put(Response("a", 1))
    store.responses.put(Response("b", 2))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE responses RENAME TO elsewhere")
        with pytest.raises(StoreError, match="no such table"):
            store.responses.flush()
        connection.execute("ALTER TABLE elsewhere RENAME TO responses")
    store.responses.flush()
    assert written(path) == ["a", "b"]


def test_threads_write_at_the_same_time(store: Store, path: Path) -> None:
    """Each of their records is written."""
    keys = [[f"{thread}-{number}" for number in range(50)] for thread in range(8)]

    def write(keys: list[str]) -> None:
        for key in keys:
            store.responses.put(Response(key, key))

    threads = [threading.Thread(target=write, args=[names]) for names in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.responses.flush()
    assert written(path) == sorted(key for names in keys for key in names)
