from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from store_checks import artifact

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Artifact, FailStreak, Failure, Look, Proposal, Row, Trace, Usage
from pytest_mipro.store import RecordTable, Response, Store
from pytest_mipro.store.schema import RECORD_TABLES

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
with store.compile_lock("key", "busy").wait(on_wait=print):
    for number in range(300):
        store.rows.put(Row(f"busy/{number}", 1.0, "x" * 2000))
        assert store.rows.get(f"busy/{number}").score == 1.0
        print(number, flush=True)
"""


def fill(store: Store, name: str) -> None:
    """Write one record of each kind."""
    store.rows.put(Row(name, 1.0, prediction_key=f"answer of {name}"))
    store.traces.put(Trace(name, 1.0))
    store.proposals.put(Proposal(name, "text"))
    store.artifacts.put(artifact(name, f"task of {name}"))
    store.streaks.replace(FailStreak(name, 1, "scores"))
    store.responses.put(Response(name, {"outputs": ["text"]}))
    store.responses.flush()
    store.looks.put(look(name, 1))


def look(key: str, number: int, held_out: str = "set", test: str = "test") -> Look:
    """Return a look at one example."""
    return Look(key, number, "run", 9, test, held_out, ("example",))


def age(path: Path, days: float, where: str = "1") -> None:
    """Set the last use of the records ``where`` a condition holds to some days ago."""
    with closing(sqlite3.connect(path)) as connection:
        for table in RECORD_TABLES:
            connection.execute(
                f"UPDATE {table.name} SET used = ? WHERE {where}", [time.time() - days * DAY]
            )
        connection.commit()


def contents(path: Path) -> list[object]:
    """Return the contents of all tables of records."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            connection.execute(f"SELECT * FROM {table.name}").fetchall() for table in RECORD_TABLES
        ]


READERS: dict[str, Callable[[Store], object]] = {
    "rows": lambda store: store.rows.get_many(["k", "nothing"]),
    "traces": lambda store: store.traces.get("k"),
    "proposals": lambda store: store.proposals.get("k"),
    "artifacts": lambda store: store.artifacts.get("k"),
    "streaks": lambda store: store.streaks.get("k"),
    "responses": lambda store: store.responses.get("k"),
    "looks": lambda store: store.looks.related("set", "test"),
}


class TestRecords:
    @pytest.mark.parametrize(
        "row",
        [
            Row("k", 1.0, {"answer": "4"}, Usage(1, 10, 2)),
            Row("k", 0.25, [1, None, {"x": "ä\u0000\U0001f600"}]),
            Row("k", 0.0, None, Usage(), Failure("ValueError", "no", "Traceback ...")),
        ],
    )
    def test_a_row_is_read_back(self, store: Store, row: Row) -> None:
        """A row is read back as it was written."""
        store.rows.put(row)
        assert store.rows.get("k") == row

    def test_a_trace_is_read_back(self, store: Store) -> None:
        """A trace keeps its demos in call order, and a failed one has no score."""
        demos: dict[str, list[dict[str, Any]]] = {"a.b": [{"q": 1, "augmented": True}, {"q": 2}]}
        good, failed = Trace("good", 0.5, demos, Usage(2)), Trace("bad", None)
        store.traces.put(good, failed)
        assert store.traces.get_many(["good", "bad"]) == {"good": good, "bad": failed}
        assert list(good.demos["a.b"]) == demos["a.b"]

    def test_a_proposal_is_read_back(self, store: Store) -> None:
        """A proposal keeps its text and its usage."""
        proposal = Proposal("p", 'Say "ä"\nand stop.', Usage(1, 2, 3))
        store.proposals.put(proposal)
        assert store.proposals.get("p") == proposal

    def test_an_artifact_is_read_back(self, store: Store) -> None:
        """An artifact keeps its state and its origin."""
        store.artifacts.put(artifact("a"))
        assert store.artifacts.get("a") == artifact("a")

    def test_a_streak_is_replaced(self, store: Store) -> None:
        """A run writes its count in place of that of the run before."""
        for fails in (1, 2):
            store.streaks.replace(FailStreak("k", fails, "scores"))
            assert store.streaks.get("k") == FailStreak("k", fails, "scores")

    def test_the_kinds_do_not_mix(self, store: Store) -> None:
        """The same key may name a row and a proposal."""
        store.rows.put(Row("k", 1.0))
        store.proposals.put(Proposal("k", "text"))
        assert store.rows.get("k") == Row("k", 1.0)
        assert store.proposals.get("k") == Proposal("k", "text")
        assert store.traces.get("k") is None

    def test_a_missing_key_is_none(self, store: Store) -> None:
        """A key that the store does not have is no error."""
        assert store.rows.get("nothing") is None
        assert store.rows.get_many([]) == {}
        assert store.artifacts.recent("nothing") == []

    def test_the_first_record_stays(self, store: Store) -> None:
        """A second record under a key is ignored, and those written with it are not."""
        store.rows.put(Row("k", 1.0))
        store.rows.put(Row("before", 0.5), Row("k", 0.0), Row("after", 0.5))
        rows = store.rows.get_many(["before", "k", "after"])
        assert {key: row.score for key, row in rows.items()} == {
            "before": 0.5,
            "k": 1.0,
            "after": 0.5,
        }

    def test_many_keys_at_once(self, store: Store) -> None:
        """More keys than one statement takes may be read, repeated and unknown ones included."""
        rows = {f"{number}": Row(f"{number}", number / 2) for number in range(1234)}
        store.rows.put(*rows.values())
        keys = [*rows, *(f"unknown {number}" for number in range(600)), *rows]
        assert store.rows.get_many(iter(keys)) == rows

    def test_the_recent_artifacts_of_a_task(self, store: Store) -> None:
        """Artifacts are read by their task, the newest first."""
        for key in ("z", "a"):
            store.artifacts.put(artifact(key))
            time.sleep(0.01)
        store.artifacts.put(artifact("other", "another task"))
        assert [recent.key for recent in store.artifacts.recent("task")] == ["a", "z"]

    def test_an_artifact_is_replaced(self, store: Store) -> None:
        """An artifact that was compiled again takes the place of the first, and is the newest."""
        store.artifacts.put(artifact("a"))
        store.artifacts.put(artifact("b"))
        again = replace(artifact("a"), seconds=7.0)
        store.artifacts.replace(again)
        store.artifacts.replace(artifact("new", "new task"))
        assert store.artifacts.get("a") == again
        assert store.artifacts.recent("task")[0] == again
        assert store.artifacts.recent("new task") == [artifact("new", "new task")]


class TestPrune:
    def test_deletes_unused_records(self, store: Store, path: Path) -> None:
        """Records without a recent use are deleted and counted; the others stay."""
        fill(store, "old")
        fill(store, "new")
        age(path, 40, "key = 'old'")
        counts = {table.name: 1 for table in RECORD_TABLES}
        assert store.prune(days=30) == counts
        assert store.prune(days=30) == dict.fromkeys(counts, 0)
        for name in counts:
            table: RecordTable[Any] = getattr(store, name)
            assert set(table.get_many(["old", "new"])) == {"new"}

    @pytest.mark.parametrize("kind", READERS)
    def test_keeps_records_that_were_read(self, store: Store, path: Path, kind: str) -> None:
        """A record that was read lately stays, however old it is."""
        fill(store, "k")
        age(path, 40)
        READERS[kind](store)
        kept_kinds = {name for name, count in store.prune(days=30).items() if count == 0}
        assert kept_kinds == {kind}

    def test_keeps_records_that_were_read_by_another_column(self, store: Store, path: Path) -> None:
        """Reading a row by its answer or an artifact by its task is a use, too."""
        fill(store, "k")
        age(path, 40)
        store.rows.by_prediction(["answer of k"])
        store.artifacts.recent("task of k")
        removed = store.prune(days=30)
        assert removed["rows"] == removed["artifacts"] == 0

    def test_gives_space_back(self, store: Store, path: Path) -> None:
        """The file shrinks when records are deleted."""
        store.rows.put(*(Row(f"{number}", 1.0, "x" * 1000) for number in range(1500)))
        age(path, 2)
        store.rows.get("7")
        size = path.stat().st_size
        assert store.prune(days=1)["rows"] == 1499
        store.close()
        assert path.stat().st_size < size / 10
        with closing(Store.open(f"sqlite:///{path}")) as again:
            assert again.rows.get("7") == Row("7", 1.0, "x" * 1000)

    def test_while_another_process_works(self, store: Store, path: Path, url: str) -> None:
        """A process that writes, reads and holds the compile lock meanwhile loses nothing."""
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
    def test_refuses_a_wrong_time(self, store: Store, days: float) -> None:
        """A negative number of days is refused, and NaN."""
        with pytest.raises(ValueError, match="use 0 or more"):
            store.prune(days)

    def test_of_a_damaged_store(self, store: Store, path: Path) -> None:
        """An error while deleting names the store."""
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE traces")
        with pytest.raises(StoreError, match="no such table") as error:
            store.prune(days=1)
        assert str(path) in str(error.value)


class TestUsed:
    @pytest.mark.parametrize("kind", READERS)
    def test_is_written_once_a_day(self, store: Store, path: Path, kind: str) -> None:
        """Reading writes the time of use once a day."""
        fill(store, "k")
        content = contents(path)
        READERS[kind](store)
        assert contents(path) == content
        age(path, 1.1)
        content = contents(path)
        READERS[kind](store)
        assert contents(path) != content
        content = contents(path)
        READERS[kind](store)
        assert contents(path) == content

    def test_of_many(self, store: Store, path: Path) -> None:
        """The time of use is written for more keys than one statement takes."""
        store.rows.put(*(Row(f"{number}", 1.0) for number in range(1200)))
        age(path, 40)
        store.rows.get_many(str(number) for number in range(1, 1200))
        assert store.prune(days=30)["rows"] == 1


class TestByAnswer:
    def test_finds_the_oldest(self, store: Store) -> None:
        """Of several rows with one answer, the first that was written is read."""
        for key in ("z", "a", "m"):
            store.rows.put(Row(key, 1.0, prediction_key="one"))
            time.sleep(0.01)
        store.rows.put(Row("other", 0.5, prediction_key="two"), Row("none", 0.0))
        rows = store.rows.by_prediction(["one", "two", "three"])
        assert {key: row.key for key, row in rows.items()} == {"one": "z", "two": "other"}

    def test_finds_many(self, store: Store) -> None:
        """More answers than one statement takes may be read."""
        rows = [Row(f"{number}", 1.0, prediction_key=f"answer {number}") for number in range(1200)]
        store.rows.put(*rows)
        assert store.rows.by_prediction(row.prediction_key or "" for row in rows) == {
            row.prediction_key: row for row in rows
        }

    def test_is_looked_up_in_an_index(self, store: Store) -> None:
        """A query by answer uses an index."""
        query = "EXPLAIN QUERY PLAN SELECT key FROM rows WHERE prediction_key IN ('one')"
        with store.connection() as connection:
            plan = str(connection.exec_driver_sql(query).all())
        assert "rows_by_prediction" in plan


def test_names_that_are_no_unicode_text(store: Store) -> None:
    """A test file whose name cannot be encoded has artifacts like any other."""
    task = "test_\udcff.py::test"
    written = Artifact("a", task, {}, {}, {}, Usage(), 1.0, "2026-07-01T12:00:00Z")
    store.artifacts.put(written)
    assert store.artifacts.recent(task)[0] == written
