from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Artifact, Candidate, Failure, Proposal, Row, Trace, Trial, Usage
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.uses("sqlalchemy")

NEXT_STEP = re.compile(r"[;,] (?:\w+ )?(use|move|install|choose|check|make|give|set|upgrade)\b")
"""How a message says what to do now."""

WRITER = """
import sys
from pytest_mipro.records import Row
from pytest_mipro.store import Store

url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Store.open(url)
for number in range(count):
    store.rows.put(Row(f"{name}/{number}", number / 2, {"answer": "x" * 200}))
    sys.stdout.write(f"{name}/{number}\\n")
    sys.stdout.flush()
"""


def url_of(path: Path) -> str:
    """Return the URL of the store at ``path``."""
    return f"sqlite:///{path}"


def artifact(key: str, task: str = "task") -> Artifact:
    """Return an artifact with a bit of everything."""
    return Artifact(
        key=key,
        task=task,
        parts={"metric": "12ab"},
        where={"metric": "test_x.py:3"},
        state={"predict": {"demos": [{"question": "ä\u2028\U0001f600"}], "train": []}},
        usage=Usage(3, 20, 5),
        seconds=1.5,
        created="2026-07-01T12:00:00Z",
    )


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    """Start a process that writes ``count`` rows and reports each."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url_of(path), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )


class TestShelves:
    @pytest.mark.parametrize(
        "row",
        [
            Row("k", 1.0, {"answer": "4"}, Usage(1, 10, 2)),
            Row("k", 0.25, [1, None, {"x": "ä\u0000\U0001f600"}]),
            Row("k", 0.0, None, Usage(), Failure("ValueError", "no", "Traceback ...")),
        ],
    )
    def test_a_row_comes_back_as_it_was(self, store: Store, row: Row) -> None:
        """What was written about an evaluation is read back unchanged."""
        store.rows.put(row)
        assert store.rows.get("k") == row

    def test_a_trace_comes_back_as_it_was(self, store: Store) -> None:
        """A bootstrap attempt keeps its demos in call order, also one that failed."""
        demos: dict[str, list[dict[str, Any]]] = {"a.b": [{"q": 1, "augmented": True}, {"q": 2}]}
        good, failed = Trace("good", 0.5, demos, Usage(2)), Trace("bad", None)
        store.traces.put(good, failed)
        assert store.traces.get_many(["good", "bad"]) == {"good": good, "bad": failed}
        assert list(good.demos["a.b"]) == demos["a.b"]

    def test_a_proposal_comes_back_as_it_was(self, store: Store) -> None:
        """An answer of the prompt model keeps its text and its cost."""
        proposal = Proposal("p", 'Say "ä"\nand stop.', Usage(1, 2, 3))
        store.proposals.put(proposal)
        assert store.proposals.get("p") == proposal

    def test_an_artifact_comes_back_as_it_was(self, store: Store) -> None:
        """A compiled program keeps its state and how it came about."""
        store.artifacts.put(artifact("a"))
        assert store.artifacts.get("a") == artifact("a")

    def test_trials_come_back_by_number(self, store: Store) -> None:
        """The trials of one search come back in order, without those of another."""
        trials = [
            Trial(number, Candidate((number, 1), (0, 2)), 10, number / 7, dropped=number == 1)
            for number in (2, 0, 1)
        ]
        for trial in trials:
            store.put_trial("one", trial)
        store.put_trial("other", trials[0])
        assert store.trials("one") == sorted(trials, key=lambda trial: trial.number)
        assert store.trials("other") == [trials[0]]
        assert store.trials("none") == []

    def test_the_first_trial_under_a_number_stays(self, store: Store) -> None:
        """A trial that was reported twice is the one that was used."""
        first = Trial(0, Candidate((0,), (1,)), 10, 0.5, dropped=False)
        store.put_trial("one", first)
        store.put_trial("one", Trial(0, Candidate((1,), (1,)), 10, 0.9, dropped=False))
        assert store.trials("one") == [first]

    def test_the_kinds_do_not_mix(self, store: Store) -> None:
        """The same key may name a row and a proposal."""
        store.rows.put(Row("k", 1.0))
        store.proposals.put(Proposal("k", "text"))
        assert store.rows.get("k") == Row("k", 1.0)
        assert store.proposals.get("k") == Proposal("k", "text")
        assert store.traces.get("k") is None

    def test_a_missing_key_is_none(self, store: Store) -> None:
        """Asking for what is not there is no error."""
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
        """More keys than one statement takes are found, repeated and unknown ones included."""
        rows = {f"{number}": Row(f"{number}", number / 2) for number in range(1234)}
        store.rows.put(*rows.values())
        asked = [*rows, *(f"unknown {number}" for number in range(600)), *rows]
        assert store.rows.get_many(iter(asked)) == rows

    def test_the_recent_artifacts_of_a_task(self, store: Store) -> None:
        """Artifacts are found by their task: the one written last is the first."""
        for key in ("z", "a"):
            store.artifacts.put(artifact(key))
            time.sleep(0.01)
        store.artifacts.put(artifact("other", "another task"))
        assert [each.key for each in store.artifacts.recent("task")] == ["a", "z"]

    def test_an_artifact_is_replaced(self, store: Store) -> None:
        """An artifact that was compiled again takes the place of the first, and is the latest."""
        store.artifacts.put(artifact("a"))
        store.artifacts.put(artifact("b"))
        again = replace(artifact("a"), seconds=7.0)
        store.artifacts.replace(again)
        store.artifacts.replace(artifact("new", "new task"))
        assert store.artifacts.get("a") == again
        assert store.artifacts.recent("task")[0] == again
        assert store.artifacts.recent("new task") == [artifact("new", "new task")]

    def test_something_else_under_a_key_is_an_error(self, store: Store, path: Path) -> None:
        """A value that is no row, as another tool might leave it, is named and not guessed at."""
        store.rows.put(Row("k", 1.0))
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE rows SET value = ?", ('{"neither": "nor"}',))
        connection.close()
        with pytest.raises(StoreError, match=re.escape(str(path))) as caught:
            store.rows.get("k")
        assert "rows/k" in str(caught.value)
        assert NEXT_STEP.search(str(caught.value))

    def test_damaged_json_is_an_error(self, store: Store, path: Path) -> None:
        """A value that is not even JSON is a StoreError like any other damage."""
        store.rows.put(Row("k", 1.0))
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE rows SET value = ?", ('{"key": "k", "sco',))
        connection.close()
        with pytest.raises(StoreError, match=re.escape(str(path))):
            store.rows.get("k")

    def test_a_trial_that_is_none_is_an_error(self, store: Store, path: Path) -> None:
        """A damaged trial is a StoreError too."""
        store.put_trial("one", Trial(0, Candidate((0,), (0,)), 1, 0.5, dropped=False))
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE trials SET value = ?", ('{"neither": "nor"}',))
        connection.close()
        with pytest.raises(StoreError, match=re.escape(str(path))):
            store.trials("one")


class TestDurability:
    def test_survives_reopening(self, store: Store, path: Path) -> None:
        """What was written is there after the store was closed and opened again."""
        store.rows.put(Row("k", 0.5))
        store.put_trial("one", Trial(0, Candidate((0,), (1,)), 1, 0.5, dropped=True))
        store.artifacts.put(artifact("a"))
        store.close()
        again = Store.open(url_of(path))
        assert again.rows.get("k") == Row("k", 0.5)
        assert [trial.number for trial in again.trials("one")] == [0]
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
        """Each store in memory is one of its own."""
        one, other = Store.in_memory(), Store.in_memory()
        one.rows.put(Row("k", 1.0))
        assert one.rows.get("k") == Row("k", 1.0)
        assert other.rows.get("k") is None
        one.close()
        other.close()


class TestFolder:
    def test_a_missing_folder_is_made(self, tmp_path: Path) -> None:
        """The folders on the way to a new store are made."""
        path = tmp_path / "one" / "two" / "store.db"
        Store.open(url_of(path)).close()
        assert path.is_file()

    def test_an_existing_folder_is_left_alone(self, tmp_path: Path) -> None:
        """In a folder that was there before, only the store is written."""
        Store.open(url_of(tmp_path / "store.db")).close()
        assert {each.name.partition("-")[0] for each in tmp_path.iterdir()} == {"store.db"}


def refused(url: str) -> str:
    """Return the message with which opening ``url`` is refused."""
    with pytest.raises(StoreError) as caught:
        Store.open(url)
    return str(caught.value)


class TestRefused:
    def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        """A text file is refused by name, with what to do, and not touched."""
        path = tmp_path / "notes.txt"
        path.write_text("not a database " * 400, encoding="ascii")
        message = refused(url_of(path))
        assert str(path) in message
        assert NEXT_STEP.search(message)
        assert path.read_text(encoding="ascii") == "not a database " * 400

    def test_a_truncated_store(self, tmp_path: Path) -> None:
        """A store that lost its second half is refused by name, when opened or when read."""
        path = tmp_path / "store.db"
        store = Store.open(url_of(path))
        store.rows.put(*(Row(f"{number}", 1.0, "x" * 500) for number in range(200)))
        store.close()
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(StoreError, match=re.escape(str(path))) as caught:
            Store.open(url_of(path)).rows.get_many(str(number) for number in range(200))
        assert NEXT_STEP.search(str(caught.value))

    @pytest.mark.parametrize("table", ["bookmarks", "about", "rows"])
    def test_a_database_of_another_application(self, tmp_path: Path, table: str) -> None:
        """Another application's database is refused, whatever its tables are called."""
        path = tmp_path / "places.sqlite"
        connection = sqlite3.connect(path)
        connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute(f"INSERT INTO {table} VALUES (7, 'mine')")
        connection.commit()
        connection.close()
        message = refused(url_of(path))
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
        before = path.read_bytes()
        refused(url_of(path))
        assert path.read_bytes() == before

    def test_a_newer_format(self, tmp_path: Path) -> None:
        """A store of a later version is refused with both formats, and not written to."""
        path = tmp_path / "store.db"
        Store.open(url_of(path)).close()
        connection = sqlite3.connect(path)
        connection.execute("UPDATE about SET version = 41")
        connection.commit()
        connection.close()
        message = refused(url_of(path))
        assert str(path) in message
        assert "format 41" in message
        assert NEXT_STEP.search(message)

    def test_a_folder_that_is_a_file(self, tmp_path: Path) -> None:
        """Where a file is in the way of the folder, the message names the store."""
        (tmp_path / "taken").write_text("", encoding="ascii")
        path = tmp_path / "taken" / "deeper" / "store.db"
        message = refused(url_of(path))
        assert str(path) in message
        assert NEXT_STEP.search(message)

    def test_a_store_that_is_a_folder(self, tmp_path: Path) -> None:
        """A folder is no store."""
        message = refused(url_of(tmp_path))
        assert str(tmp_path) in message
        assert NEXT_STEP.search(message)

    @pytest.mark.parametrize(
        "url",
        [
            "store.db",
            "",
            "nosuchdatabase://localhost/store",
            "postgresql://localhost:notaport/store",
            "sqlite+nosuchdriver:///store.db",
        ],
    )
    def test_a_wrong_url(self, url: str) -> None:
        """A URL that leads nowhere is named, with one that would do or what to install."""
        message = refused(url)
        assert ("store" in message) if url else ("''" in message)
        assert "sqlite:///" in message or NEXT_STEP.search(message)

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql+nosuchdriver://alice:hunter2@localhost/store",
            "nosuchdatabase://alice:hunter2@localhost/store",
            "postgresql:/alice:hunter2@localhost/store",
            "postgresql://alice:hunter2@localhost:notaport/store",
            "postgresql+nosuchdriver://localhost/store?user=alice&password=hunter2",
        ],
    )
    def test_no_password_in_a_message(self, url: str) -> None:
        """However wrong a URL is, the password in it is not repeated, not even in a cause."""
        with pytest.raises(StoreError) as caught:
            Store.open(url)
        assert "hunter2" not in str(caught.value)

    def test_a_store_deleted_while_open(self, store: Store, path: Path) -> None:
        """A store whose table is gone says so by name instead of with a driver's traceback."""
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE rows")
        connection.commit()
        connection.close()
        with pytest.raises(StoreError, match=re.escape(str(path))) as caught:
            store.rows.put(Row("k", 1.0))
        assert NEXT_STEP.search(str(caught.value))
