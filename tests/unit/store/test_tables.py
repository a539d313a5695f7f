from __future__ import annotations

import sqlite3
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from project import start_script
from sqlalchemy import select, true, update
from store_checks import artifact

from pytest_mipro.errors import StoreError
from pytest_mipro.records import (
    Artifact,
    FailStreak,
    Failure,
    Look,
    Proposal,
    Row,
    Trace,
    Usage,
    shown_row,
)
from pytest_mipro.store import RecordTable, Response, Store
from pytest_mipro.store.schema import ABOUT, METADATA, ROWS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from forks import ForkServer

pytestmark = pytest.mark.uses("sqlalchemy")

DAY = 86_400.0
WRITERS = 8
THOROUGH = 500
"""Examples that Hypothesis tries in the profile in which nothing is too slow."""


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


def fill(store: Store, name: str, number: int = 0) -> None:
    """Write one record of each kind, with a number in each."""
    text = f"text {number}"
    store.rows.put(Row(name, 1.0, text, prediction_key=f"answer of {name}"))
    store.traces.put(Trace(name, 1.0, {text: []}))
    store.proposals.put(Proposal(name, text))
    store.artifacts.put(replace(artifact(name, f"task of {name}"), created=text))
    store.streaks.put(FailStreak(name, 1, {text: text}))
    store.responses.put(Response(name, {"outputs": [text]}))
    store.responses.flush()
    store.looks.put(look(name, number))


def table_of(store: Store, kind: str) -> RecordTable[Any]:
    """Return the table of a kind of record."""
    table: RecordTable[Any] = getattr(store, kind)
    return table


def look(key: str, number: int, held_out: str = "set", test: str = "test") -> Look:
    """Return a look at one example."""
    return Look(key, number, "run", 9, (key,), test, held_out, ("example",))


RECORD_TABLES = [table for table in METADATA.sorted_tables if table is not ABOUT]


def age(store: Store, days: float, key: str | None = None) -> None:
    """Set the last use of all records, or of those under a key, to some days ago."""
    with store.connection() as connection:
        for table in RECORD_TABLES:
            condition = true() if key is None else table.c.key == key
            used = time.time() - days * DAY
            connection.execute(update(table).where(condition).values(used=used))


def contents(store: Store) -> list[object]:
    """Return the contents of all tables of records."""
    with store.connection() as connection:
        return [connection.execute(select(table)).all() for table in RECORD_TABLES]


def change(store: Store, **values: object) -> None:
    """Change the row of a store, as another program may."""
    with store.connection() as connection:
        connection.execute(update(ROWS).values(**values))


def run_at_once(url: str, work: Callable[[Store, int], object]) -> None:
    """Call ``work`` in 8 threads at the same time, with a store of its own and a number each."""
    barrier = threading.Barrier(WRITERS)

    def write(number: int) -> None:
        with closing(Store.open(url)) as store:
            barrier.wait(60)
            work(store, number)

    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(write, range(WRITERS)))


READERS: dict[str, Callable[[Store], object]] = {
    "rows": lambda store: store.rows.get_many(["k", "nothing"]),
    "traces": lambda store: store.traces.get("k"),
    "proposals": lambda store: store.proposals.get("k"),
    "artifacts": lambda store: store.artifacts.get("k"),
    "streaks": lambda store: store.streaks.get("k"),
    "responses": lambda store: store.responses.get("k"),
    "looks": lambda store: store.looks.related("set", "test"),
}


class StoreContract:
    """What a store does in every database; a subclass has the fixtures ``url`` and ``store``."""

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
            store.streaks.replace(FailStreak("k", fails, {"example": "answer"}))
            assert store.streaks.get("k") == FailStreak("k", fails, {"example": "answer"})

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

    def test_deletes_unused_records(self, store: Store) -> None:
        """Records without a recent use are deleted and counted; the others stay."""
        fill(store, "old")
        fill(store, "new")
        age(store, 40, "old")
        counts = {table.name: 1 for table in RECORD_TABLES}
        assert store.prune(days=30) == counts
        assert store.prune(days=30) == dict.fromkeys(counts, 0)
        for name in counts:
            assert set(table_of(store, name).get_many(["old", "new"])) == {"new"}

    def test_keeps_records_that_were_read(self, store: Store) -> None:
        """A record that was read lately stays, however old it is."""
        for kind, read in READERS.items():
            fill(store, "k")
            age(store, 40)
            read(store)
            kept_kinds = {name for name, count in store.prune(days=30).items() if count == 0}
            assert kept_kinds == {kind}

    def test_keeps_records_that_were_read_by_another_column(self, store: Store) -> None:
        """Reading a row by its answer or an artifact by its task is a use, too."""
        fill(store, "k")
        age(store, 40)
        store.rows.by_prediction(["answer of k"])
        store.artifacts.recent("task of k")
        removed = store.prune(days=30)
        assert removed["rows"] == removed["artifacts"] == 0

    @pytest.mark.parametrize("days", [-1, float("nan")])
    def test_refuses_to_prune_a_wrong_time(self, store: Store, days: float) -> None:
        """A negative number of days is refused, and NaN."""
        with pytest.raises(ValueError, match="use 0 or more"):
            store.prune(days)

    def test_writes_the_time_of_use_once_a_day(self, store: Store) -> None:
        """Reading writes the time of use once a day."""
        fill(store, "k")
        for read in READERS.values():
            content = contents(store)
            read(store)
            assert contents(store) == content
            age(store, 1.1)
            content = contents(store)
            read(store)
            assert contents(store) != content
            content = contents(store)
            read(store)
            assert contents(store) == content
            age(store, 0.0)

    def test_writes_the_time_of_use_of_many(self, store: Store) -> None:
        """The time of use is written for more keys than one statement takes."""
        store.rows.put(*(Row(f"{number}", 1.0) for number in range(1200)))
        age(store, 40)
        store.rows.get_many(str(number) for number in range(1, 1200))
        assert store.prune(days=30)["rows"] == 1

    def test_reads_the_oldest_row_with_an_answer(self, store: Store) -> None:
        """Of several rows with one answer, the first that was written is read."""
        for key in ("z", "a", "m"):
            store.rows.put(Row(key, 1.0, prediction_key="one"))
            time.sleep(0.01)
        store.rows.put(Row("other", 0.5, prediction_key="two"), Row("none", 0.0))
        rows = store.rows.by_prediction(["one", "two", "three"])
        assert {key: row.key for key, row in rows.items()} == {"one": "z", "two": "other"}

    def test_reads_the_usage_of_the_oldest_row_with_an_answer(self, store: Store) -> None:
        """It is that of the run that made the prediction."""
        for key, calls in (("z", 1), ("a", 2)):
            store.rows.put(Row(key, 1.0, usage=Usage(calls), prediction_key="one"))
            time.sleep(0.01)
        assert store.rows.usage_by_prediction(["one", "two"]) == {"one": Usage(1)}

    def test_cuts_what_only_reports_show(self, store: Store) -> None:
        """The store keeps all of a long prediction, of which a run holds the beginning."""
        long, short = Row("a", 1.0, {"answer": "x" * 500_000}), Row("b", 1.0, {"answer": "x"})
        store.rows.put(long, short)
        rows = store.rows.get_shown(["a", "b", "c"])
        assert rows == {"a": shown_row(long), "b": short}
        assert store.rows.get_many(["a"]) == {"a": long}

    def test_holds_one_long_row_at_a_time(self, store: Store) -> None:
        """A run from the store takes little memory, however long the predictions are."""
        answer = "x" * 1_000_000
        for number in range(12):
            row = Row(f"{number}", 1.0, {"answer": answer}, prediction_key=f"answer {number}")
            store.rows.put(row)
        tracemalloc.start()
        store.rows.get_shown(f"{number}" for number in range(12))
        store.rows.usage_by_prediction(f"answer {number}" for number in range(12))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 7 * len(answer)

    def test_reads_rows_with_many_answers(self, store: Store) -> None:
        """More answers than one statement takes may be read."""
        rows = [Row(f"{number}", 1.0, prediction_key=f"answer {number}") for number in range(1200)]
        store.rows.put(*rows)
        assert store.rows.by_prediction(row.prediction_key or "" for row in rows) == {
            row.prediction_key: row for row in rows
        }

    def test_names_that_are_no_unicode_text(self, store: Store) -> None:
        """A test file whose name cannot be encoded has artifacts like any other."""
        task = "test_\udcff.py::test"
        written = Artifact("a", task, {}, {}, Usage(), 1.0, "2026-07-01T12:00:00Z")
        store.artifacts.put(written)
        assert store.artifacts.recent(task)[0] == written

    def test_a_look_is_related_by_its_examples_or_its_test(self, store: Store) -> None:
        """Looks at the same examples and looks of the same test are read, each once."""
        store.looks.put(look("a", 1), look("b", 2, test="other"), look("c", 3, "other"))
        store.looks.put(look("d", 4, "other", "other"))
        assert set(store.looks.related("set", "test")) == {"a", "b", "c"}

    def test_a_name_of_a_look_that_is_no_unicode_text(self, store: Store) -> None:
        """A look of such a test is read by its name."""
        store.looks.put(look("a", 1, test="test_\udcff.py::test"))
        assert set(store.looks.related("nothing", "test_\udcff.py::test")) == {"a"}

    def test_of_writers_at_once_the_first_wins(self, store: Store, url: str) -> None:
        """8 writers of other records under one key leave one, which all of them read then."""
        records: dict[str, set[str]] = {kind: set() for kind in READERS}

        def write(writer: Store, number: int) -> None:
            fill(writer, "k", number)
            for kind, read in READERS.items():
                records[kind].add(repr(read(writer)))

        run_at_once(url, write)
        for kind, read in READERS.items():
            assert records[kind] == {repr(read(store))}
            assert table_of(store, kind).count() == 1

    def test_writers_at_once_lose_nothing(self, store: Store, url: str) -> None:
        """8 writers that also create the store put rows of their own and rows of all."""

        def write(writer: Store, number: int) -> None:
            for row in range(10):
                writer.rows.put(Row(f"{number}/{row}", 1.0), Row(f"all/{row}", float(number)))

        run_at_once(url, write)
        keys = [f"{name}/{row}" for name in (*range(WRITERS), "all") for row in range(10)]
        assert set(store.rows.get_many(keys)) == set(keys)

    @pytest.mark.parametrize(
        "values",
        [
            {"value": '{"neither": "nor"}'},
            {"value": '{"key": "k", "sco'},
            {"key": "other"},
            {"prediction_key": "other"},
            {"prediction_key": None},
            {"created": 1.5},
            {"checksum": "none"},
        ],
        ids=str,
    )
    def test_a_changed_row_is_an_error(self, store: Store, values: dict[str, object]) -> None:
        """A row that another program changed is refused by name, with the next step."""
        store.rows.put(Row("k", 0.25, prediction_key="a"))
        change(store, **values)
        with pytest.raises(StoreError, match=r"rows/.*in the store .*(backup|copy)") as error:
            store.rows.get_many(["k", "other"])
        assert store.name in str(error.value)

    def test_an_unsealed_row_counts_as_absent(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where a run has a key, it takes the place of a row without a seal."""
        with closing(Store.open(url)) as store:
            store.rows.put(Row("k", 0.25))
        monkeypatch.setenv("MIPRO_SEAL_KEY", "0123456789abcdef" * 2)
        with closing(Store.open(url)) as store:
            assert store.rows.get("k") is None
            assert store.unbelieved == 1
            store.rows.put(Row("k", 0.75))
            assert store.rows.get("k") == Row("k", 0.75)

    def test_responses_are_written_a_moment_later(self, store: Store, url: str) -> None:
        """Other processes read them once they are flushed."""
        for key in "abc":
            store.responses.put(Response(key, {"text": key}))
        store.responses.flush()
        with closing(Store.open(url)) as reader:
            assert set(reader.responses.get_many("abc")) == {*"abc"}

    @pytest.mark.skipif(
        settings().max_examples < THOROUGH,
        reason="100,000 rows are for --hypothesis-profile thorough",
    )
    def test_many_rows(self, store: Store) -> None:
        """Of 100,000 rows all are read, and counted, and deleted once they are not used."""
        keys = [f"{number}" for number in range(100_000)]
        for start in range(0, len(keys), 1000):
            store.rows.put(*(Row(key, 1.0, "x" * 200) for key in keys[start : start + 1000]))
        assert store.rows.count() == len(store.rows.get_many(keys)) == len(keys)
        age(store, 2)
        assert store.prune(days=1)["rows"] == len(keys)


class TestSqliteStore(StoreContract):
    def test_prunes_while_another_process_works(
        self, store: Store, url: str, tmp_path: Path, fork_server: ForkServer | None
    ) -> None:
        """A process that writes, reads and holds the compile lock meanwhile loses nothing."""
        store.rows.put(*(Row(f"{number}", 1.0, "x" * 1000) for number in range(3000)))
        age(store, 2)
        process = start_script(fork_server, BUSY, url, folder=tmp_path)
        assert process.stdout is not None
        with process.stdout as lines:
            assert lines.readline() == "0\n"
            assert store.prune(days=1)["rows"] == 3000
            assert len(lines.readlines()) == 299
        assert process.wait(timeout=60) == 0
        assert len(store.rows.get_many(f"busy/{number}" for number in range(300))) == 300

    def test_gives_space_back(self, store: Store, path: Path) -> None:
        """The file shrinks when records are deleted."""
        store.rows.put(*(Row(f"{number}", 1.0, "x" * 1000) for number in range(1500)))
        age(store, 2)
        store.rows.get("7")
        size = path.stat().st_size
        assert store.prune(days=1)["rows"] == 1499
        store.close()
        assert path.stat().st_size < size / 10
        with closing(Store.open(f"sqlite:///{path}")) as again:
            assert again.rows.get("7") == Row("7", 1.0, "x" * 1000)

    def test_is_looked_up_in_an_index(self, store: Store) -> None:
        """A query by answer uses an index."""
        query = "EXPLAIN QUERY PLAN SELECT key FROM rows WHERE prediction_key IN ('one')"
        with store.connection() as connection:
            plan = str(connection.exec_driver_sql(query).all())
        assert "rows_by_prediction" in plan

    def test_of_a_damaged_store(self, store: Store, path: Path) -> None:
        """An error while deleting names the store."""
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE traces")
        with pytest.raises(StoreError, match="no such table") as error:
            store.prune(days=1)
        assert str(path) in str(error.value)


class TestPostgresqlStore(StoreContract):
    @pytest.fixture
    def url(self, postgresql_url: str) -> str:
        return postgresql_url
