from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Artifact, Candidate, Proposal, Row, Trace, Trial, Usage
from pytest_mipro.store import Store, schema

if TYPE_CHECKING:
    from pathlib import Path

FIRST = """
CREATE TABLE about (
    id INTEGER NOT NULL, application VARCHAR NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (id)
);
CREATE TABLE leases (
    "key" VARCHAR NOT NULL, holder VARCHAR NOT NULL, who VARCHAR NOT NULL, beat FLOAT NOT NULL,
    PRIMARY KEY ("key")
);
CREATE TABLE rows (
    "key" VARCHAR NOT NULL, value JSON NOT NULL, created FLOAT NOT NULL, PRIMARY KEY ("key")
);
CREATE TABLE traces (
    "key" VARCHAR NOT NULL, value JSON NOT NULL, created FLOAT NOT NULL, PRIMARY KEY ("key")
);
CREATE TABLE proposals (
    "key" VARCHAR NOT NULL, value JSON NOT NULL, created FLOAT NOT NULL, PRIMARY KEY ("key")
);
CREATE TABLE trials (
    search VARCHAR NOT NULL, number INTEGER NOT NULL, value JSON NOT NULL,
    PRIMARY KEY (search, number)
);
CREATE TABLE artifacts (
    "key" VARCHAR NOT NULL, task VARCHAR NOT NULL, value JSON NOT NULL, created FLOAT NOT NULL,
    PRIMARY KEY ("key")
);
CREATE INDEX artifacts_by_task ON artifacts (task, created);
INSERT INTO about VALUES (1, 'pytest-mipro', 1);
"""
"""The tables of version 1, as that version made them."""

NO_USAGE = {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
ROW = {
    "key": "old",
    "score": 0.5,
    "prediction": {"answer": "\u00e4"},
    "usage": {"calls": 1, "prompt_tokens": 10, "completion_tokens": 2},
    "failure": None,
}
TRACE = {"key": "t", "score": 1.0, "demos": {"predict": [{"q": 1}]}, "usage": NO_USAGE}
PROPOSAL = {"key": "p", "text": "Answer.", "usage": NO_USAGE}
CANDIDATE = {"instructions": [1], "demos": [0]}
TRIAL = {"number": 0, "candidate": CANDIDATE, "rows": 5, "score": 0.75, "dropped": False}
ARTIFACT = {
    "key": "a",
    "task": "task",
    "parts": {"metric": "12ab"},
    "where": {},
    "state": {"predict": {"demos": []}},
    "usage": NO_USAGE,
    "seconds": 1.5,
    "created": "2026-07-01T12:00:00Z",
}

OPENER = """
import sys
from pytest_mipro.store import Store

store = Store.open(sys.argv[1])
assert store.rows.get("old").score == 0.5
store.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a store as version 1 wrote it."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(FIRST)
        answered = {**ROW, "key": "new", "answer": "digest"}
        rows = [("old", json.dumps(ROW), 1.5), ("new", json.dumps(answered), 2.5)]
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?)", rows)
        connection.execute("INSERT INTO traces VALUES (?, ?, ?)", ("t", json.dumps(TRACE), 1.0))
        values = ("p", json.dumps(PROPOSAL), 1.0)
        connection.execute("INSERT INTO proposals VALUES (?, ?, ?)", values)
        connection.execute("INSERT INTO trials VALUES (?, ?, ?)", ("one", 0, json.dumps(TRIAL)))
        artifacts = [
            ("a", "task", json.dumps(ARTIFACT), 2.0),
            ("b", "task", json.dumps({**ARTIFACT, "key": "b"}), 1.0),
        ]
        connection.executemany("INSERT INTO artifacts VALUES (?, ?, ?, ?)", artifacts)
        connection.commit()
    return path


def url_of(path: Path) -> str:
    """Return the URL of the store at ``path``."""
    return f"sqlite:///{path}"


def layout(path: Path) -> dict[str, list[str]]:
    """Return the columns of each table and index in a file."""
    query = "SELECT name FROM sqlite_master ORDER BY name"
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute(query)]
        return {
            name: sorted(
                each[1] if len(each) > 3 else each[2]
                for pragma in ("table_info", "index_info")
                for each in connection.execute(f"PRAGMA {pragma}({name})")
            )
            for name in names
        }


def test_the_content_of_version_1_is_kept(path: Path) -> None:
    """A store of version 1 opens, and everything in it is found as before."""
    with closing(Store.open(url_of(path))) as store:
        old = Row("old", 0.5, {"answer": "ä"}, Usage(1, 10, 2))
        new = Row("new", 0.5, {"answer": "ä"}, Usage(1, 10, 2), answer="digest")
        assert store.rows.get_many(["old", "new"]) == {"old": old, "new": new}
        assert store.rows.by_answer(["digest"]) == {"digest": new}
        assert store.traces.get("t") == Trace("t", 1.0, {"predict": [{"q": 1}]})
        assert store.proposals.get("p") == Proposal("p", "Answer.")
        assert store.trials("one") == [Trial(0, Candidate((1,), (0,)), 5, 0.75, dropped=False)]
        assert store.artifacts.recent("task")[0] == Artifact.from_dict(ARTIFACT)


def test_version_1_has_the_tables_of_a_new_store(path: Path, tmp_path: Path) -> None:
    """A store that was brought up has the tables, columns and indexes of one made today."""
    Store.open(url_of(path)).close()
    Store.open(url_of(tmp_path / "new.db")).close()
    assert layout(path) == layout(tmp_path / "new.db")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version FROM about").fetchall() == [(schema.VERSION,)]


def test_version_1_is_written_to_afterwards(path: Path) -> None:
    """A store that was brought up takes new records, and keeps them."""
    with closing(Store.open(url_of(path))) as store:
        store.rows.put(Row("k", 1.0, answer="digest"))
    with closing(Store.open(url_of(path))) as store:
        assert store.rows.get("k") == Row("k", 1.0, answer="digest")
        assert store.rows.by_answer(["digest"])["digest"].key == "new"


def test_nothing_is_pruned_that_was_just_brought_up(path: Path) -> None:
    """Nobody knows when a record of version 1 was last used, so it counts as used now."""
    with closing(Store.open(url_of(path))) as store:
        assert not any(store.prune(days=1).values())


def test_a_damaged_record_of_version_1(path: Path) -> None:
    """A record that cannot be read is named, and the store stays what it was."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE rows SET value = '{\"key\": ' WHERE key = 'new'")
        connection.commit()
    before = layout(path)
    with pytest.raises(StoreError, match="rows/new") as caught:
        Store.open(url_of(path))
    assert str(path) in str(caught.value)
    assert re.search(r"[;,] move it aside", str(caught.value))
    assert layout(path) == before


def test_several_processes_bring_a_store_up(path: Path) -> None:
    """Processes that open a store of version 1 at once both find its content."""
    command = [sys.executable, "-c", OPENER, url_of(path)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]


@pytest.mark.parametrize("version", ["0", "-3", "'two'", "2.5"])
def test_a_version_there_never_was(path: Path, version: str) -> None:
    """A version that no store ever had is damage."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE about SET version = {version}")
        connection.commit()
    with pytest.raises(StoreError, match=re.escape(str(path))):
        Store.open(url_of(path))
