from __future__ import annotations

import random
import re
import threading
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Artifact, Candidate, Proposal, Row, Trace, Trial, Usage
from pytest_mipro.store import Store, files, url
from pytest_mipro.store import lock as lease_module

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping

RUNS = 6 * settings().max_examples
"""How many damaged stores are tried: as many more as Hypothesis tries examples."""
PAGE = 4096
ADVICE = re.compile(r"move it aside|use (another|the)|make (room|sure|the file)|put a copy")
"""How an error says what to do."""
STEPS = 3
"""What is tried with a store after it was opened."""

ROWS = {
    f"row {number}": Row(
        f"row {number}",
        number / 100,
        {"answer": "x" * (7 * number % 900)},
        Usage(number),
        answer=f"answer {number % 40}" if number % 5 else None,
    )
    for number in range(150)
}
TRACES = {f"t{n}": Trace(f"t{n}", None, {"predict": [{"q": "y" * n}]}) for n in range(20)}
PROPOSALS = {f"p{number}": Proposal(f"p{number}", "z" * 30 * number) for number in range(20)}
ARTIFACTS = {
    f"a{n}": Artifact(f"a{n}", f"task {n % 2}", {}, {}, {"demos": "w" * 6000}, Usage(), 1.0, "now")
    for n in range(4)
}
TRIALS = [Trial(n, Candidate((n,), (0,)), n, n / 10, dropped=False) for n in range(12)]
NEW = Row("new", 0.5, answer="new")


@dataclass(frozen=True)
class Files:
    """
    A store as it is on disk.

    Attributes:
        closed: The file of one that nobody uses.
        main: The file of one that is in use.
        log: What was written to that one lately.

    """

    closed: bytes
    main: bytes
    log: bytes


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Write a store, a part of it before it was closed once."""
    path = tmp_path_factory.mktemp("intact") / "store.db"
    for half in (0, 1):
        store = Store.open(f"sqlite:///{path}")
        store.rows.put(*islice(ROWS.values(), half, None, 2))
        store.traces.put(*islice(TRACES.values(), half, None, 2))
        store.proposals.put(*islice(PROPOSALS.values(), half, None, 2))
        store.artifacts.put(*islice(ARTIFACTS.values(), half, None, 2))
        store.put_trial("search", *TRIALS[half::2])
        with store.connection() as connection:
            connection.exec_driver_sql("UPDATE rows SET used = 1 WHERE rowid % 3 = 0")
            values = f"('{half}', 'gone', 'gone', 1.0)"
            connection.exec_driver_sql(f"INSERT INTO leases VALUES {values}")
        main = path.read_bytes()
        log = Path(f"{path}-wal").read_bytes()
        store.close()
    return Files(path.read_bytes(), main, log)


def configure_for_speed(connection: sqlite3.Connection, _record: object) -> None:
    """Leave it to the system when to write to the disk."""
    connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing that takes long."""
    monkeypatch.setattr(url, "_configure", configure_for_speed)
    monkeypatch.setattr(files, "_BIRTH", 0.0)
    monkeypatch.setattr(lease_module, "BEAT", 0.002)
    monkeypatch.setattr(lease_module, "SILENCE", 0.01)
    monkeypatch.setattr(lease_module, "_POLL", 0.002)


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
    """Cut the end off."""
    del content[rng.randrange(len(content)) :]


def zero(rng: random.Random, content: bytearray) -> None:
    """Zero a range."""
    start = rng.randrange(len(content))
    stop = min(start + rng.choice([1, 16, 200, PAGE, 5 * PAGE]), len(content))
    content[start:stop] = bytes(stop - start)


def copy(rng: random.Random, content: bytearray) -> None:
    """Copy a range over another."""
    size = min(rng.choice([16, 200, PAGE]), len(content))
    start, to = (rng.randrange(len(content) - size + 1) for _ in range(2))
    content[to : to + size] = content[start : start + size]


def swap(rng: random.Random, content: bytearray) -> None:
    """Swap two pages."""
    pages = len(content) // PAGE
    if pages:
        one, other = (slice(n * PAGE, n * PAGE + PAGE) for n in rng.choices(range(pages), k=2))
        content[one], content[other] = content[other], content[one]


def insert(rng: random.Random, content: bytearray) -> None:
    """Insert garbage."""
    at = rng.randrange(len(content))
    content[at:at] = rng.randbytes(rng.choice([1, 7, 512, PAGE]))


DAMAGES = (flip, overwrite, overwrite_the_first_page, truncate, zero, copy, swap, insert)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Return ``content`` after something has happened to it."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2])):
        if changed:
            rng.choice(DAMAGES)(rng, changed)
    return bytes(changed)


def lay_out(rng: random.Random, intact: Files, path: Path) -> None:
    """Write a damaged store to ``path``: one that was closed, or one that was not."""
    if rng.random() < 0.6:
        path.write_bytes(damaged(rng, intact.closed))
        return
    which = rng.random()
    path.write_bytes(damaged(rng, intact.main) if which < 0.4 else intact.main)
    log = damaged(rng, intact.log) if which > 0.2 else intact.log
    Path(f"{path}-wal").write_bytes(log)


def agree(found: Mapping[str, Any], written: Mapping[str, Any]) -> None:
    """Check that what was found is a part of what was written."""
    assert {key: written[key] for key in found} == found


def among(found: Iterable[Trial], written: Iterable[Trial]) -> None:
    """Check the same about trials."""
    assert {trial.number for trial in found} <= {trial.number for trial in written}
    assert all(trial == TRIALS[trial.number] for trial in found)


def read_recent(store: Store) -> None:
    """Find artifacts by their task."""
    for number in (0, 1):
        for artifact in store.artifacts.recent(f"task {number}"):
            assert artifact == ARTIFACTS[artifact.key]
            assert artifact.task == f"task {number}"


def read_answers(store: Store) -> None:
    """Find rows by their answer."""
    for key, row in store.rows.by_answer(f"answer {number}" for number in range(40)).items():
        assert row == ROWS[row.key]
        assert row.answer == key


def write_row(store: Store) -> None:
    """Write a row and read it back."""
    store.rows.put(NEW)
    agree(store.rows.get_many(["new"]), {"new": NEW})


def write_trials(store: Store) -> None:
    """Write trials and read them back."""
    store.put_trial("new", *TRIALS)
    among(store.trials("new"), TRIALS)


def hold(key: str, store: Store) -> None:
    """Hold a lease for some heartbeats."""
    with store.lease(key, "me").wait(on_wait=lambda _: None) as lease:
        threading.Event().wait(0.006)
        lease.is_held()


TRIED: tuple[Callable[[Store], object], ...] = (
    lambda store: agree(store.rows.get_many(ROWS), ROWS),
    lambda store: agree(store.rows.get_many(["row 7"]), ROWS),
    lambda store: agree(store.traces.get_many(TRACES), TRACES),
    lambda store: agree(store.proposals.get_many(PROPOSALS), PROPOSALS),
    lambda store: agree(store.artifacts.get_many(ARTIFACTS), ARTIFACTS),
    lambda store: among(store.trials("search"), TRIALS),
    lambda store: store.prune(days=1),
    read_recent,
    read_answers,
    write_row,
    write_trials,
    partial(hold, "free"),
    partial(hold, "1"),
)


@dataclass
class Tried:
    """
    What came of what was tried with the store at ``path``.

    Attributes:
        path: Where it is.
        done: How often it worked.
        errors: What was said when it did not.

    """

    path: Path
    done: int = 0
    errors: list[str] = field(default_factory=list)

    def all(self, steps: Iterable[Callable[[Store], object]]) -> None:
        """Try to open the store, and then everything else."""
        try:
            store = Store.open(f"sqlite:///{self.path}")
        except StoreError as error:
            self.errors.append(str(error))
            return
        with closing(store):
            for step in steps:
                self.one(partial(step, store))

    def one(self, step: Callable[[], object]) -> None:
        """Try one thing."""
        try:
            step()
            self.done += 1
        except StoreError as error:
            self.errors.append(str(error))


@pytest.mark.usefixtures("impatient")
def test_no_damage_gives_a_wrong_value(intact: Files, tmp_path: Path) -> None:
    """Whatever happens to the file, all that is read is what was written, or there is an error."""
    tried = []
    for run in range(RUNS):
        rng = random.Random(run)
        what = Tried(tmp_path / f"{run}.db")
        lay_out(rng, intact, what.path)
        what.all(rng.sample(TRIED, STEPS))
        assert all(str(what.path) in error for error in what.errors)
        assert all(ADVICE.search(error) for error in what.errors), what.errors
        tried.append(what)
    # Neither do all of them fail at once, nor does all of it work.
    assert sum(what.done == 0 for what in tried) > RUNS / 20
    assert sum(what.done == STEPS for what in tried) > RUNS / 20
    assert sum(bool(what.done and what.errors) for what in tried) > RUNS / 20
