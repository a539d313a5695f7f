from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Artifact, Candidate, Proposal, Row, Trace, Trial, Usage
from pytest_mipro.store import Store
from pytest_mipro.store.schema import CONTENT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.uses("sqlalchemy")

DAY = 86_400.0

BUSY = """
import sys
from pytest_mipro.records import Row
from pytest_mipro.store import Store

store = Store.open(sys.argv[1])
with store.lease("key", "busy").wait(on_wait=print) as lease:
    for number in range(300):
        store.rows.put(Row(f"busy/{number}", 1.0, "x" * 2000))
        assert store.rows.get(f"busy/{number}").score == 1.0
        print(number, flush=True)
    assert lease.is_held()
"""


def trial(number: int) -> Trial:
    """Return a trial."""
    return Trial(number, Candidate((0,), (0,)), 1, 0.5, dropped=False)


def artifact(key: str) -> Artifact:
    """Return an artifact."""
    return Artifact(key, f"task of {key}", {}, {}, {}, Usage(), 1.0, "2026-07-01T12:00:00Z")


def fill(store: Store, name: str) -> None:
    """Write one record of each kind."""
    store.rows.put(Row(name, 1.0, answer=f"answer of {name}"))
    store.traces.put(Trace(name, 1.0))
    store.proposals.put(Proposal(name, "text"))
    store.put_trial(name, trial(0), trial(1))
    store.artifacts.put(artifact(name))


def age(path: Path, days: float, where: str = "1") -> None:
    """Let what is in the store not have been used for some days."""
    with closing(sqlite3.connect(path)) as connection:
        for table in CONTENT:
            condition = where.replace("name", table.columns[0].name)
            connection.execute(
                f"UPDATE {table.name} SET used = ? WHERE {condition}", [time.time() - days * DAY]
            )
        connection.commit()


def changes(path: Path) -> list[object]:
    """Return something that differs whenever the store was written to."""
    with closing(sqlite3.connect(path)) as connection:
        return [connection.execute(f"SELECT * FROM {each.name}").fetchall() for each in CONTENT]


READERS: dict[str, Callable[[Store], object]] = {
    "rows": lambda store: store.rows.get_many(["k", "nothing"]),
    "traces": lambda store: store.traces.get("k"),
    "proposals": lambda store: store.proposals.get("k"),
    "trials": lambda store: store.trials("k"),
    "artifacts": lambda store: store.artifacts.get("k"),
}


class TestPrune:
    def test_removes_what_is_not_used(self, store: Store, path: Path) -> None:
        """What nobody has used for long goes, the rest stays, and both are counted."""
        fill(store, "old")
        fill(store, "new")
        age(path, 40, "name = 'old'")
        counts = {"rows": 1, "traces": 1, "proposals": 1, "trials": 2, "artifacts": 1}
        assert store.prune(days=30) == counts
        assert store.prune(days=30) == dict.fromkeys(counts, 0)
        for shelf in (store.rows, store.traces, store.proposals, store.artifacts):
            assert set(shelf.get_many(["old", "new"])) == {"new"}
        assert store.trials("old") == []
        assert store.trials("new") == [trial(0), trial(1)]

    @pytest.mark.parametrize("kind", READERS)
    def test_keeps_what_was_read(self, store: Store, path: Path, kind: str) -> None:
        """What was read lately stays, however old it is, and only that."""
        fill(store, "k")
        age(path, 40)
        READERS[kind](store)
        left = {name for name, count in store.prune(days=30).items() if count == 0}
        assert left == {kind}

    def test_keeps_what_was_found_in_another_way(self, store: Store, path: Path) -> None:
        """A row found by its answer and an artifact found by its task are used, too."""
        fill(store, "k")
        age(path, 40)
        store.rows.by_answer(["answer of k"])
        store.artifacts.recent("task of k")
        removed = store.prune(days=30)
        assert removed["rows"] == removed["artifacts"] == 0

    def test_keeps_a_search_together(self, store: Store, path: Path) -> None:
        """A search of which one trial was written lately keeps the others."""
        store.put_trial("one", trial(0))
        age(path, 40)
        store.put_trial("one", trial(1))
        assert store.prune(days=30)["trials"] == 0
        assert store.trials("one") == [trial(0), trial(1)]

    def test_leaves_leases_alone(self, store: Store) -> None:
        """Who is compiling does not notice."""
        with store.lease("key", "me").wait(on_wait=print) as lease:
            store.prune(days=0)
            assert lease.is_held()

    def test_gives_space_back(self, store: Store, path: Path) -> None:
        """The file gets smaller."""
        store.rows.put(*(Row(f"{number}", 1.0, "x" * 1000) for number in range(1500)))
        age(path, 2)
        store.rows.get("7")
        before = path.stat().st_size
        assert store.prune(days=1)["rows"] == 1499
        store.close()
        assert path.stat().st_size < before / 10
        with closing(Store.open(f"sqlite:///{path}")) as again:
            assert again.rows.get("7") == Row("7", 1.0, "x" * 1000)

    def test_while_another_process_works(self, store: Store, path: Path, url: str) -> None:
        """A process that writes, reads and holds a lease meanwhile loses nothing."""
        store.rows.put(*(Row(f"{number}", 1.0, "x" * 1000) for number in range(3000)))
        age(path, 2)
        command = [sys.executable, "-c", BUSY, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "0\n"
            assert store.prune(days=1)["rows"] == 3000
            assert len(process.stdout.readlines()) == 299
        assert process.returncode == 0
        assert len(store.rows.get_many(f"busy/{number}" for number in range(300))) == 300

    @pytest.mark.parametrize("days", [-1, float("nan")])
    def test_a_time_that_is_none(self, store: Store, days: float) -> None:
        """A number of days that makes no sense is refused."""
        with pytest.raises(ValueError, match="use 0 or more"):
            store.prune(days)

    def test_of_a_damaged_store(self, store: Store, path: Path) -> None:
        """What cannot be pruned says which store it is."""
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE traces")
        with pytest.raises(StoreError, match="no such table") as caught:
            store.prune(days=1)
        assert str(path) in str(caught.value)


class TestUsed:
    @pytest.mark.parametrize("kind", READERS)
    def test_is_written_once_a_day(self, store: Store, path: Path, kind: str) -> None:
        """Reading writes nothing, until a day after the last use."""
        fill(store, "k")
        before = changes(path)
        READERS[kind](store)
        assert changes(path) == before
        age(path, 1.1)
        before = changes(path)
        READERS[kind](store)
        assert changes(path) != before
        before = changes(path)
        READERS[kind](store)
        assert changes(path) == before

    def test_of_many(self, store: Store, path: Path) -> None:
        """The use of more keys than one statement takes is noted."""
        store.rows.put(*(Row(f"{number}", 1.0) for number in range(1200)))
        age(path, 40)
        store.rows.get_many(str(number) for number in range(1, 1200))
        assert store.prune(days=30)["rows"] == 1


class TestByAnswer:
    def test_finds_the_oldest(self, store: Store) -> None:
        """Of several rows with one answer, the first that was written is found."""
        for key in ("z", "a", "m"):
            store.rows.put(Row(key, 1.0, answer="one"))
            time.sleep(0.01)
        store.rows.put(Row("other", 0.5, answer="two"), Row("none", 0.0))
        found = store.rows.by_answer(["one", "two", "three"])
        assert {key: row.key for key, row in found.items()} == {"one": "z", "two": "other"}

    def test_finds_many(self, store: Store) -> None:
        """More answers than one statement takes are found."""
        rows = [Row(f"{number}", 1.0, answer=f"answer {number}") for number in range(1200)]
        store.rows.put(*rows)
        assert store.rows.by_answer(row.answer or "" for row in rows) == {
            row.answer: row for row in rows
        }

    def test_is_looked_up_in_an_index(self, store: Store) -> None:
        """A row is found by its answer without reading all rows."""
        query = "EXPLAIN QUERY PLAN SELECT key FROM rows WHERE answer IN ('one')"
        with store.connection() as connection:
            plan = str(connection.exec_driver_sql(query).all())
        assert "rows_by_answer" in plan


def test_names_that_are_no_unicode_text(store: Store) -> None:
    """A test file whose name cannot be encoded has artifacts like any other."""
    task = "test_\udcff.py::test"
    kept = Artifact("a", task, {}, {}, {}, Usage(), 1.0, "2026-07-01T12:00:00Z")
    store.artifacts.put(kept)
    assert store.artifacts.recent(task)[0] == kept


def test_threads_share_a_store_in_memory() -> None:
    """Threads that write to one store in memory lose nothing of each other's."""
    with closing(Store.in_memory()) as store:

        def write(thread: int) -> None:
            for number in range(100):
                store.rows.put(Row(f"{thread}/{number}", 1.0))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        with store.lease("key", "me").wait(on_wait=print):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        keys = [f"{thread}/{number}" for thread in range(4) for number in range(100)]
        assert len(store.rows.get_many(keys)) == 400
