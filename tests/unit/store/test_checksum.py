from __future__ import annotations

import random
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from store_checks import NEXT_STEP, explains, tamper

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Artifact, Proposal, Row, Trace, Usage
from pytest_mipro.store import Store, files, sqlite
from pytest_mipro.store.checksum import DamagedRecord, parse_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

RUNS = 6 * settings().max_examples
"""Damaged stores: more where Hypothesis tries more examples."""


PAGE = 4096


ADVICE = re.compile(r"move it aside|use (another|the)|make (room|sure|the file)|put a copy")
"""The next step in a message."""


STEPS = 3
"""Operations on a store after it was opened."""


ROWS = {
    f"row {number}": Row(
        f"row {number}",
        number / 100,
        {"answer": "x" * (7 * number % 900)},
        Usage(number),
        prediction_key=f"answer {number % 40}" if number % 5 else None,
    )
    for number in range(150)
}


TRACES = {f"t{n}": Trace(f"t{n}", None, {"predict": [{"q": "y" * n}]}) for n in range(20)}


PROPOSALS = {f"p{number}": Proposal(f"p{number}", "z" * 30 * number) for number in range(20)}


ARTIFACTS = {
    f"a{n}": Artifact(f"a{n}", f"task {n % 2}", {}, {"demos": "w" * 6000}, Usage(), 1.0, "now")
    for n in range(4)
}


NEW = Row("new", 0.5, prediction_key="new")


@dataclass(frozen=True)
class Files:
    """The files of a store.

    Attributes:
        closed: The database file after the store was closed.
        main: The database file while the store is open.
        log: The write-ahead log while the store is open.
    """

    closed: bytes
    main: bytes
    log: bytes


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return the files of a store that was closed and opened again between its two halves."""
    path = tmp_path_factory.mktemp("intact") / "store.db"
    for half in (0, 1):
        store = Store.open(f"sqlite:///{path}")
        store.rows.put(*islice(ROWS.values(), half, None, 2))
        store.traces.put(*islice(TRACES.values(), half, None, 2))
        store.proposals.put(*islice(PROPOSALS.values(), half, None, 2))
        store.artifacts.put(*islice(ARTIFACTS.values(), half, None, 2))
        with store.connection() as connection:
            connection.exec_driver_sql("UPDATE rows SET used = 1 WHERE rowid % 3 = 0")
        main = path.read_bytes()
        log = Path(f"{path}-wal").read_bytes()
        store.close()
    return Files(path.read_bytes(), main, log)


def configure_for_speed(connection: sqlite3.Connection, _record: object) -> None:
    """Let the operating system decide when to write to the disk."""
    connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the waits for the disk and for other processes."""
    monkeypatch.setattr(sqlite, "_configure", configure_for_speed)
    monkeypatch.setattr(files, "_CREATION", 0.0)


def flip(rng: random.Random, content: bytearray) -> None:
    """Flip some bits."""
    for _ in range(rng.choice([1, 1, 3, 20])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def overwrite(rng: random.Random, content: bytearray) -> None:
    """Overwrite some bytes."""
    for _ in range(rng.choice([1, 5, 50])):
        content[rng.randrange(len(content))] = rng.randrange(256)


def overwrite_the_first_page(rng: random.Random, content: bytearray) -> None:
    """Overwrite a byte of the page where SQLite keeps its table of tables."""
    content[rng.randrange(min(len(content), PAGE))] = rng.randrange(256)


def truncate(rng: random.Random, content: bytearray) -> None:
    """BudgetCut the end off."""
    del content[rng.randrange(len(content)) :]


def zero(rng: random.Random, content: bytearray) -> None:
    """Zero a range."""
    start = rng.randrange(len(content))
    stop = min(start + rng.choice([1, 16, 200, PAGE, 5 * PAGE]), len(content))
    content[start:stop] = bytes(stop - start)


def copy(rng: random.Random, content: bytearray) -> None:
    """Copy a range over another."""
    size = min(rng.choice([16, 200, PAGE]), len(content))
    source, target = (rng.randrange(len(content) - size + 1) for _ in range(2))
    content[target : target + size] = content[source : source + size]


def swap(rng: random.Random, content: bytearray) -> None:
    """Swap two pages."""
    pages = len(content) // PAGE
    if pages:
        first, second = (slice(n * PAGE, n * PAGE + PAGE) for n in rng.choices(range(pages), k=2))
        content[first], content[second] = content[second], content[first]


def insert(rng: random.Random, content: bytearray) -> None:
    """Insert garbage."""
    position = rng.randrange(len(content))
    content[position:position] = rng.randbytes(rng.choice([1, 7, 512, PAGE]))


DAMAGES = (flip, overwrite, overwrite_the_first_page, truncate, zero, copy, swap, insert)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Return ``content`` with one or two kinds of damage."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2])):
        if changed:
            rng.choice(DAMAGES)(rng, changed)
    return bytes(changed)


def lay_out(rng: random.Random, intact: Files, path: Path) -> None:
    """Write a damaged store to ``path``, one that was closed or one that is open."""
    if rng.random() < 0.6:
        path.write_bytes(damaged(rng, intact.closed))
        return
    share = rng.random()
    path.write_bytes(damaged(rng, intact.main) if share < 0.4 else intact.main)
    log = damaged(rng, intact.log) if share > 0.2 else intact.log
    Path(f"{path}-wal").write_bytes(log)


def agree(records: Mapping[str, Any], written: Mapping[str, Any]) -> None:
    """Check that ``records`` are some of those that were written."""
    assert {key: written[key] for key in records} == records


def read_recent(store: Store) -> None:
    """Read artifacts by their task."""
    for number in (0, 1):
        for artifact in store.artifacts.recent(f"task {number}"):
            assert artifact == ARTIFACTS[artifact.key]
            assert artifact.task == f"task {number}"


def read_answers(store: Store) -> None:
    """Read rows by their answer."""
    for key, row in store.rows.by_prediction(f"answer {number}" for number in range(40)).items():
        assert row == ROWS[row.key]
        assert row.prediction_key == key


def write_row(store: Store) -> None:
    """Write a row and read it back."""
    store.rows.put(NEW)
    agree(store.rows.get_many(["new"]), {"new": NEW})


def hold(key: str, store: Store) -> None:
    """Hold the compile lock."""
    with store.compile_lock(key, "test").wait(on_wait=pytest.fail):
        pass


OPERATIONS: tuple[Callable[[Store], object], ...] = (
    lambda store: agree(store.rows.get_many(ROWS), ROWS),
    lambda store: agree(store.rows.get_many(["row 7"]), ROWS),
    lambda store: agree(store.traces.get_many(TRACES), TRACES),
    lambda store: agree(store.proposals.get_many(PROPOSALS), PROPOSALS),
    lambda store: agree(store.artifacts.get_many(ARTIFACTS), ARTIFACTS),
    lambda store: store.prune(days=1),
    read_recent,
    read_answers,
    write_row,
    partial(hold, "key"),
)


@dataclass
class Attempt:
    """Operations on the store at ``path``, and their results.

    Attributes:
        path: The path of the store.
        successes: The number of operations without an error.
        errors: The messages of the StoreErrors.
    """

    path: Path
    successes: int = 0
    errors: list[str] = field(default_factory=list)

    def carry_out(self, steps: Iterable[Callable[[Store], object]]) -> None:
        """Open the store, and carry out the operations."""
        try:
            store = Store.open(f"sqlite:///{self.path}")
        except StoreError as error:
            self.errors.append(str(error))
            return
        with closing(store):
            for step in steps:
                self._attempt(partial(step, store))

    def _attempt(self, step: Callable[[], object]) -> None:
        """Carry out one operation."""
        try:
            step()
            self.successes += 1
        except StoreError as error:
            self.errors.append(str(error))


class TestDamage:
    def test_json_of_another_program_is_an_error(self, store: Store, path: Path) -> None:
        """A JSON value that is no row, as another program might write it, is an error."""
        store.rows.put(Row("k", 1.0))
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE rows SET value = ?", ('{"neither": "nor"}',))
        connection.close()
        with pytest.raises(StoreError, match=re.escape(str(path))) as error:
            store.rows.get("k")
        assert "rows/k" in str(error.value)
        assert NEXT_STEP.search(str(error.value))

    def test_damaged_json_is_an_error(self, store: Store, path: Path) -> None:
        """A value that is no JSON is an error."""
        store.rows.put(Row("k", 1.0))
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE rows SET value = ?", ('{"key": "k", "sco',))
        connection.close()
        with pytest.raises(StoreError, match=re.escape(str(path))):
            store.rows.get("k")

    @pytest.mark.parametrize(
        "change",
        [
            "value = replace(value, '0.25', '0.75')",
            'value = \'{"neither": "nor"}\'',
            "value = x'00'",
            "key = 'other'",
            "prediction_key = 'other'",
            "prediction_key = NULL",
            "created = created + 1",
            "created = 'once'",
            "checksum = 'none'",
            "checksum = 0",
        ],
    )
    def test_a_changed_row(self, store: Store, path: Path, change: str) -> None:
        """A row with any changed column is an error."""
        store.rows.put(Row("k", 0.25, prediction_key="a"))
        tamper(path, f"UPDATE rows SET {change}")
        with pytest.raises(StoreError) as error:
            store.rows.get_many(["k", "other"])
        assert explains(error, path, "rows/")

    def test_a_changed_row_found_by_its_answer(self, store: Store, path: Path) -> None:
        """A changed row is an error for a query by answer, too."""
        store.rows.put(Row("k", 0.25, prediction_key="a"))
        tamper(path, "UPDATE rows SET value = replace(value, '0.25', '0.75')")
        with pytest.raises(StoreError) as error:
            store.rows.by_prediction(["a"])
        assert explains(error, path, "rows/k/a")

    def test_a_record_of_another_kind(self, store: Store, path: Path) -> None:
        """A record of another kind is an error, even if its checksum fits."""
        store.rows.put(Row("k", 0.25))
        tamper(
            path,
            "INSERT INTO proposals SELECT key, value, created, used, ?, seal FROM rows",
            _checksum(path),
        )
        with pytest.raises(StoreError, match="no Proposal") as error:
            store.proposals.get("k")
        assert explains(error, path, "proposals/k")


def _checksum(path: Path) -> str:
    from pytest_mipro.store.checksum import checksum

    with closing(sqlite3.connect(path)) as connection:
        key, created, value = connection.execute("SELECT key, created, value FROM rows").fetchone()
    return checksum([key], created, value)


@pytest.mark.parametrize(
    "text",
    [
        '{"neither": "nor"}',
        '{"key": "k", "score": NaN}',
        '{"key": "k", "score": -Infinity}',
        '{"key": "k", "score": 1e999}',
        '{"key": "k", "score": 1e308}',
        '{"key": "k", "score": 1.0, "prediction": {"answer": NaN}}',
        '{"key": "k", "score": 1.0, "prediction": ' + "[" * 200_000 + "]" * 200_000 + "}",
    ],
    ids=["other", "NaN", "infinity", "overflow", "huge", "NaN in a prediction", "deep"],
)
def test_what_this_package_never_writes_is_damage(text: str) -> None:
    """Also with the right checksum, which anybody can compute."""
    with pytest.raises(DamagedRecord, match="rows/k holds something that is no Row"):
        parse_record(Row, "rows/k", text)


@pytest.mark.usefixtures("quick")
def test_no_damage_gives_a_wrong_value(intact: Files, tmp_path: Path) -> None:
    """From a damaged file the store reads what was written, or raises an error."""
    attempts = []
    for run in range(RUNS):
        rng = random.Random(run)
        attempt = Attempt(tmp_path / f"{run}.db")
        lay_out(rng, intact, attempt.path)
        attempt.carry_out(rng.sample(OPERATIONS, STEPS))
        assert all(str(attempt.path) in error for error in attempt.errors)
        assert all(ADVICE.search(error) for error in attempt.errors), attempt.errors
        attempts.append(attempt)
    # The damage is neither too great nor too small to show anything.
    assert sum(attempt.successes == 0 for attempt in attempts) > RUNS / 20
    assert sum(attempt.successes == STEPS for attempt in attempts) > RUNS / 20
    assert sum(bool(attempt.successes and attempt.errors) for attempt in attempts) > RUNS / 20
