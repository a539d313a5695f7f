from __future__ import annotations

import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from database_server import PASSWORD
from round_trips import counted_round_trips
from sessions import COMPILE, ROWS, Checkout, with_demos

from pytest_mipro.errors import InfrastructureError, StoreError
from pytest_mipro.evaluate.throttle import current_throttle
from pytest_mipro.evaluate.worker_pool import WorkerPool
from pytest_mipro.records import ExampleCost, Usage
from pytest_mipro.session import dump_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from database_server import Server
    from dspy import lm15
    from scripted import ScriptedEngine
    from sessions import FirstRun

    from pytest_mipro.store import RecordTable


def alter(statement: str) -> Callable[[Path], object]:
    """Return a function that changes the tables of a store."""

    def change(store: Path) -> None:
        with closing(sqlite3.connect(store)) as connection:
            connection.execute(statement)
            connection.commit()

    return change


def overwrite(file: Path) -> None:
    """Replace the content of a file."""
    file.write_text("something else", encoding="utf-8")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (
        lambda store: store.write_bytes(store.read_bytes()[:5000]),
        "database disk image is malformed; .* move it aside",
    ),
    "no database": (overwrite, "file is not a database; .* move it aside"),
    "edited": (
        alter("UPDATE rows SET value = replace(value, '1.0', '0.0')"),
        "rows/.* is not what was written, in the store .*; .* move it aside",
    ),
    "newer": (alter("UPDATE about SET version = 99"), "has format 99, .*; use another store"),
    "foreign": (
        alter("UPDATE about SET application = 'another'"),
        "is a database of something else; use another one",
    ),
}


def test_the_folder_stays_out_of_version_control_and_backups(compiled: Checkout) -> None:
    """A session writes a ``.gitignore`` and a ``CACHEDIR.TAG``, and keeps those of the user."""
    assert (compiled.folder / ".gitignore").read_text() == "*\n"
    assert (compiled.folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d2")
    (compiled.folder / ".gitignore").write_text("lm\n")
    compiled.outcome()
    assert (compiled.folder / ".gitignore").read_text() == "lm\n"


def test_a_file_in_place_of_the_folder_is_an_error(checkout: Checkout) -> None:
    """The error comes before the first call."""
    checkout.folder.touch()
    with pytest.raises(StoreError, match=r"\.mipro, .* cannot be written: .*; move the file"):
        checkout.outcome()
    assert checkout.calls == 0


@pytest.mark.parametrize("damage, message", DAMAGE.values(), ids=DAMAGE)
def test_a_store_that_cannot_be_used_is_an_error(
    compiled: Checkout, damage: Callable[[Path], object], message: str
) -> None:
    """The session asks no model and leaves the file as it is."""
    damage(compiled.store)
    content = compiled.store.read_bytes()
    with pytest.raises(StoreError, match=message):
        compiled.outcome()
    assert compiled.calls == 0
    assert compiled.store.read_bytes() == content


def test_the_folder_is_the_owners_alone(compiled: Checkout) -> None:
    """Nobody else may read paid results."""
    modes = {path.name: path.stat().st_mode & 0o777 for path in compiled.folder.rglob("*")}
    assert compiled.folder.stat().st_mode & 0o777 == modes.pop("store.db-locks") == 0o700
    assert set(modes.values()) == {0o600}


def test_a_link_in_place_of_the_folder_is_an_error(checkout: Checkout) -> None:
    """The session writes nothing through it."""
    elsewhere = checkout.root / "elsewhere"
    elsewhere.mkdir()
    checkout.folder.symlink_to(elsewhere)
    with pytest.raises(StoreError, match=r"\.mipro, .* is a link to .*; put a folder"):
        checkout.outcome()
    assert not [*elsewhere.iterdir()]


def test_a_link_in_place_of_a_file_of_the_folder_stays(checkout: Checkout) -> None:
    """The session writes nothing through it."""
    checkout.folder.mkdir()
    (checkout.folder / ".gitignore").symlink_to(checkout.root / "target")
    checkout.outcome()
    assert not (checkout.root / "target").exists()


def test_a_store_that_cannot_be_opened_is_an_error(checkout: Checkout) -> None:
    """The error comes before the first call."""
    with pytest.raises(StoreError, match="store URL 'nonsense'"):
        checkout.outcome(store_url="nonsense")
    assert checkout.calls == 0


def test_processes_of_a_run_share_rescored_rows(compiled: Checkout) -> None:
    """They find them in the folder of the run."""
    shared_folder = compiled.root / "of this run"
    shared_folder.mkdir()
    for _ in range(2):
        compiled.outcome(rescore=True, shared_folder=shared_folder)
    assert compiled.calls == ROWS


def test_records_without_a_seal_are_not_believed(
    compiled: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key everything is asked again, once, and the user learns how much."""
    monkeypatch.setenv("MIPRO_SEAL_KEY", "k" * 32)
    compiled.outcome()
    assert compiled.calls == COMPILE + ROWS
    (warning,) = compiled.recorder.warnings[-1:]
    assert "records of the store" in warning
    assert "have no valid seal under MIPRO_SEAL_KEY and count as absent" in warning
    compiled.recorder.warnings.clear()
    compiled.outcome()
    assert compiled.calls == COMPILE + ROWS
    assert not [text for text in compiled.recorder.warnings if "seal" in text]


def test_a_folder_under_version_control(compiled: Checkout) -> None:
    """The user learns that its records can be changed by a commit."""
    for arguments in (["init", "-q"], ["add", "-f", ".mipro/store.db"]):
        subprocess.run(["git", *arguments], cwd=compiled.root, check=True)
    compiled.outcome()
    (warning,) = compiled.recorder.warnings
    assert warning.startswith(".mipro/store.db is under version control: everybody who can commit ")
    assert warning.endswith("take it out with: git rm -r --cached .mipro")


@pytest.fixture(scope="module")
def first_cached(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a checkout with a reference, whose store has nothing but LM responses."""
    checkout = caching(Checkout(tmp_path_factory.mktemp("responses")))
    checkout.outcome()
    checkout.outcome(update=True)
    for table in ("rows", "traces", "proposals", "artifacts"):
        alter(f"DELETE FROM {table}")(checkout.store)
    return checkout


@pytest.fixture
def cached(first_cached: Checkout, tmp_path: Path) -> Checkout:
    """Return a copy of that checkout."""
    return caching(first_cached.copied_to(tmp_path / "cached", ".mipro", "__mipro__"))


def caching(checkout: Checkout) -> Checkout:
    """Return ``checkout`` where the store keeps responses, and an optimizer asks no model."""
    checkout.caches_responses = True
    checkout.recorder.optimizer = with_demos
    return checkout


def test_stored_responses_answer_again(cached: Checkout) -> None:
    """They use nothing, and they have the costs of the first answers."""
    outcome = cached.outcome()
    assert outcome.report().origin == "compiled"
    assert cached.calls == 0
    assert outcome.compiled.usage == Usage()
    assert outcome.compiled.card.costs == (ExampleCost(12.0),) * 6
    assert outcome.beats_baseline()
    assert outcome.costs_no_more(than="reference", ratio=1)


def test_a_rescore_bypasses_stored_responses(cached: Checkout) -> None:
    """The model answers every row again, and none of its responses is stored."""
    keys = responses_in(cached.store)
    cached.outcome(rescore=True)
    assert cached.calls == ROWS
    assert responses_in(cached.store) == keys


def test_a_refresh_bypasses_stored_responses(checkout: Checkout) -> None:
    """The compile asks the model again, and none of its responses is stored."""
    checkout.caches_responses = True
    checkout.outcome()
    keys, calls = responses_in(checkout.store), checkout.calls
    checkout.outcome(refresh=True)
    assert checkout.calls > calls
    assert responses_in(checkout.store) == keys


def responses_in(store: Path) -> list[object]:
    """Return the keys of all responses in a store."""
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute("SELECT key FROM responses ORDER BY key").fetchall()


def test_dspy_keeps_no_cache_of_its_own(cached: Checkout) -> None:
    """Its cache would be a folder of pickles."""
    assert sorted(path.name for path in cached.folder.iterdir()) == [
        ".gitignore",
        "CACHEDIR.TAG",
        "store.db",
        "store.db-locks",
    ]


def test_a_damaged_response_is_an_error(cached: Checkout) -> None:
    """The error names the store, and no model is asked."""
    alter("UPDATE responses SET value = replace(value, 'stop', 'stip')")(cached.store)
    with pytest.raises(InfrastructureError, match=r"responses/.* not what was written, in the"):
        cached.outcome()
    assert cached.calls == 0


def test_a_server_that_restarts_during_a_compile(
    checkout: Checkout, first_run: FirstRun, postgresql: Server, postgresql_url: str
) -> None:
    """The run goes on, asks nothing twice, and finds the program that any run finds."""
    restarts: list[str] = []

    def restart(event: str) -> None:
        if event in {"bootstrap", "propose", "search", "evaluate"}:
            postgresql.stop(keep=True)
            postgresql.start()
            restarts.append(event)

    checkout.recorder.on_event = restart
    outcome = checkout.outcome(store_url=postgresql_url)
    assert {*restarts} == {"bootstrap", "propose", "search", "evaluate"}
    assert dump_state(outcome.compiled.program) == dump_state(first_run.outcome.compiled.program)
    assert checkout.calls == COMPILE + ROWS


@pytest.mark.parametrize("caches_responses", [True, False])
def test_a_server_that_stays_away(
    checkout: Checkout,
    caches_responses: bool,
    postgresql: Server,
    postgresql_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run ends with an error that says how to go on; the next one repeats no stored call."""
    monkeypatch.setattr("pytest_mipro.store.postgresql.RECONNECTION", 0.1)
    monkeypatch.setattr("pytest_mipro.store.postgresql._POLL", 0.01)
    monkeypatch.setattr("pytest_mipro.evaluate.throttle.LONGEST_WRITE", 0.0)

    written: list[object] = []
    write = WorkerPool.write

    def counted_write(pool: WorkerPool, table: RecordTable[Any], records: Sequence[Any]) -> None:
        write(pool, table, records)
        written.extend(records)

    monkeypatch.setattr(WorkerPool, "write", counted_write)

    @dataclass
    class Stopping:
        engine: ScriptedEngine

        def complete(self, request: lm15.Request) -> lm15.Response:
            # The event loop may be slower than a simulated answer: the server stops when all that
            # was answered is stored, and no later answer comes before the next write begins.
            throttle, earlier = current_throttle(), checkout.calls - 1
            deadline = time.monotonic() + 10
            while not (
                len(written) >= earlier
                if earlier <= 5
                else throttle.stopped or throttle.writing_since is not None
            ):
                assert time.monotonic() < deadline
                time.sleep(0.001)
            if earlier == 5:
                postgresql.stop(keep=True)
            return self.engine.complete(request)

    # By default, each call asks the store for its response first.
    checkout.caches_responses = caches_responses
    models = [checkout.model, checkout.writer]
    engines = [model._engine for model in models]
    for model in models:
        model._engine = Stopping(model._engine)  # type: ignore[assignment]
    try:
        with pytest.raises(StoreError, match="make sure that the server can be reached") as error:
            checkout.outcome(store_url=postgresql_url)
    finally:
        postgresql.start()
    assert PASSWORD not in str(error.value)
    calls = checkout.calls
    assert 0 < calls < COMPILE
    for model, engine in zip(models, engines, strict=True):
        model._engine = engine
    checkout.outcome(store_url=postgresql_url)
    assert checkout.calls <= COMPILE + ROWS + 2 * checkout.task().threads


def test_a_stored_task_takes_few_round_trips(checkout: Checkout, postgresql_url: str) -> None:
    """A server may be far away: each round trip is waited for."""
    checkout.outcome(store_url=postgresql_url)
    with (
        counted_round_trips(postgresql_url) as (url, proxy),
        checkout.session(store_url=url) as run,
    ):
        assert run.session._storage.store.rows.count()
        opening = proxy.count
        assert run.report().origin == "stored"
    assert proxy.count - opening <= 5
    # The connection alone takes five, and SQLAlchemy asks for the server's settings.
    assert opening <= 16
