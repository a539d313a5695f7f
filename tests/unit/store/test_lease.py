from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select, update

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store import lease as lease_module
from pytest_mipro.store.schema import LEASES

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mipro.store import Store

pytestmark = pytest.mark.uses("sqlalchemy")

SLEEPER = """
import sys
from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store import Store

store = Store.open(sys.argv[1])
with store.lease("key", "the sleeper").wait(on_wait=print) as lease:
    print("held", flush=True)
    sys.stdin.readline()
    print(lease.is_held(), flush=True)
    store.rows.put(Row("k", 0.25))
print(store.rows.get("k").score, flush=True)
"""

HOLDER = """
import sys, time
from pytest_mipro.store import Store

store = Store.open(sys.argv[1])
with store.lease("key", "the other process").wait(on_wait=print):
    print("held", flush=True)
    time.sleep(600)
"""


def nobody(who: str) -> None:
    """Refuse to be told that somebody is waited for."""
    raise AssertionError(who)


def leave_behind(store: Store, beat: float) -> None:
    """Leave a lease that nobody renews."""
    with store.connection() as connection:
        connection.execute(
            insert(LEASES), {"key": "key", "holder": "gone", "who": "gone", "beat": beat}
        )


def rename(path: Path, table: str, name: str) -> None:
    """Give a table of the store at ``path`` another name."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO {name}")


def beat_of(store: Store) -> float:
    """Return the time of the only lease's last heartbeat."""
    with store.connection() as connection:
        return connection.scalars(select(LEASES.c.beat)).one()


class Clock:
    """The clocks of this machine, the one on the wall as far ahead as told."""

    ahead = 0.0
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)

    def time(self) -> float:
        return time.time() + self.ahead


class Waiter(threading.Thread):
    """Waits for a lease on ``key``, holds it until told to stop."""

    def __init__(self, store: Store, key: str, who: str) -> None:
        super().__init__()
        self._lease = store.lease(key, who)
        self.told: list[str] = []
        self.held = threading.Event()
        self.stop = threading.Event()
        self.start()

    def run(self) -> None:
        with self._lease.wait(on_wait=self.told.append):
            self.held.set()
            self.stop.wait(30)

    def finish(self) -> None:
        self.stop.set()
        self.join(30)


def test_a_free_lease_is_taken_at_once(store: Store) -> None:
    """Nobody is waited for where nobody holds the lease, the first time and again."""
    for _ in range(3):
        with store.lease("key", "me").wait(on_wait=nobody):
            pass


def test_excludes_and_hands_over(store: Store) -> None:
    """A lease that is held is not given to another until it is given back, and then soon."""
    with store.lease("key", "first").wait(on_wait=nobody):
        waiter = Waiter(store, "key", "second")
        assert not waiter.held.wait(0.7)
    assert waiter.held.wait(5)
    waiter.finish()


def test_says_once_who_is_waited_for(store: Store) -> None:
    """The waiter learns the holder's name, and is not told over and over."""
    with store.lease("key", "worker gw0").wait(on_wait=nobody):
        waiter = Waiter(store, "key", "worker gw1")
        time.sleep(0.7)
    assert waiter.held.wait(5)
    waiter.finish()
    assert waiter.told == ["worker gw0"]


def test_other_keys_are_free(store: Store) -> None:
    """A lease on one key does not hinder another."""
    with (
        store.lease("one", "first").wait(on_wait=nobody),
        store.lease("other", "second").wait(on_wait=nobody),
    ):
        pass


def test_an_exception_gives_the_lease_back(store: Store) -> None:
    """Work that fails does not leave the key locked."""
    with pytest.raises(KeyError), store.lease("key", "first").wait(on_wait=nobody):
        raise KeyError
    with store.lease("key", "second").wait(on_wait=nobody):
        pass


def test_one_at_a_time(store: Store) -> None:
    """Of several who want the same lease, never two have it."""
    holding: list[int] = []
    overlaps: list[int] = []

    def work(number: int) -> None:
        with store.lease("key", f"{number}").wait(on_wait=lambda _: None):
            holding.append(number)
            time.sleep(0.05)
            overlaps.append(len(holding))
            holding.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert overlaps == [1] * 5


def test_a_living_holder_keeps_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that works for longer than the silence of a dead one is not robbed."""
    monkeypatch.setattr(lease_module, "BEAT", 0.1)
    monkeypatch.setattr(lease_module, "SILENCE", 0.6)
    with store.lease("key", "first").wait(on_wait=nobody):
        waiter = Waiter(store, "key", "second")
        assert not waiter.held.wait(1.5)
    assert waiter.held.wait(5)
    waiter.finish()


def test_a_holder_that_lost_it_takes_nothing_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was silent for too long does not end the lease of who came after."""
    monkeypatch.setattr(lease_module, "BEAT", 60.0)
    with store.lease("key", "silent").wait(on_wait=nobody):
        with store.connection() as connection:
            connection.execute(update(LEASES).values(beat=time.time() - 100))
        monkeypatch.setattr(lease_module, "BEAT", 0.1)
        waiter = Waiter(store, "key", "heir")
        assert waiter.held.wait(5)
    with store.connection() as connection:
        assert connection.scalar(select(LEASES.c.who)) == "heir"
    waiter.finish()


@pytest.mark.parametrize("off", [-7200.0, 7200.0])
def test_a_beat_of_long_ago_is_no_life(
    store: Store, monkeypatch: pytest.MonkeyPatch, off: float
) -> None:
    """A lease left behind hours ago, by the clock or before it was set back, is soon taken."""
    monkeypatch.setattr(lease_module, "BEAT", 0.2)
    leave_behind(store, time.time() + off)
    told: list[str] = []
    waiting = time.monotonic()
    with store.lease("key", "me").wait(on_wait=told.append):
        assert time.monotonic() - waiting < lease_module.SILENCE - 1
    assert told == ["gone"]


def test_a_killed_holder_loses_it(url: str, store: Store) -> None:
    """A holder that is killed is named to who waits, and loses the lease in about 10 seconds."""
    told: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    with store.lease("key", "me").wait(on_wait=told.append):
        waited = time.monotonic() - killed
    assert told == ["the other process"]
    assert waited < 11


def test_a_holder_that_slept(url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that is stopped loses the lease, and notices when it goes on; neither side fails."""
    monkeypatch.setattr(lease_module, "SILENCE", 3.0)
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGSTOP)
        with store.lease("key", "the heir").wait(on_wait=lambda _: None) as lease:
            store.rows.put(Row("k", 1.0))
            process.send_signal(signal.SIGCONT)
            said, _ = process.communicate("go on\n", timeout=30)
            assert lease.is_held()
    assert said.split() == ["False", "1.0"]
    assert process.returncode == 0


def test_is_held(store: Store) -> None:
    """A lease is held from when it is taken until it is given back."""
    lease = store.lease("key", "me")
    assert not lease.is_held()
    with lease.wait(on_wait=nobody):
        assert lease.is_held()
    assert not lease.is_held()


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_jumps(store: Store, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """A clock that is set while one holds and one waits gives the lease to neither of them."""
    clock = Clock()
    monkeypatch.setattr(lease_module, "time", clock)
    monkeypatch.setattr(lease_module, "BEAT", 0.1)
    with store.lease("key", "first").wait(on_wait=nobody) as lease:
        waiter = Waiter(store, "key", "second")
        assert not waiter.held.wait(0.3)
        clock.ahead = jump
        assert not waiter.held.wait(0.8)
        assert lease.is_held()
    assert waiter.held.wait(5)
    waiter.finish()


def test_silence_while_nobody_can_write(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder whose heartbeat had to wait for somebody else's writing is not robbed."""
    monkeypatch.setattr(lease_module, "BEAT", 0.2)
    monkeypatch.setattr(lease_module, "SILENCE", 0.7)
    with store.lease("key", "first").wait(on_wait=nobody) as lease:
        waiter = Waiter(store, "key", "second")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            assert not waiter.held.wait(1.3)
        assert not waiter.held.wait(0.7)
        assert lease.is_held()
    assert waiter.held.wait(5)
    waiter.finish()


def test_a_heartbeat_survives_trouble(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat that does not get through is not the end of the next one."""
    monkeypatch.setattr(lease_module, "BEAT", 0.05)
    with store.lease("key", "first").wait(on_wait=nobody) as lease:
        rename(path, "leases", "away")
        time.sleep(0.3)
        rename(path, "away", "leases")
        assert beat_of(store) < time.time() - 0.2
        time.sleep(0.3)
        assert beat_of(store) > time.time() - 0.2
        assert lease.is_held()


def test_an_error_is_not_replaced(path: Path, store: Store) -> None:
    """What ends the work is raised, also if the lease cannot be given back."""

    def work() -> None:
        rename(path, "leases", "away")
        raise KeyError

    with pytest.raises(KeyError), store.lease("key", "first").wait(on_wait=nobody):
        work()


@pytest.mark.parametrize("column", ["holder", "who", "beat"])
def test_a_damaged_lease_blocks_nobody(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    """A lease that nobody could have written is taken like one of a dead holder."""
    monkeypatch.setattr(lease_module, "BEAT", 0.2)
    leave_behind(store, time.time() - 100)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE leases SET {column} = x'00ff'")
        connection.commit()
    with store.lease("key", "me").wait(on_wait=lambda _: None) as lease:
        assert lease.is_held()


def test_a_lease_that_cannot_be_taken(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that keeps no lease is an error, and nothing to wait for without end."""
    monkeypatch.setattr(lease_module, "_POLL", 0.01)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER deaf BEFORE INSERT ON leases BEGIN SELECT raise(IGNORE); END"
        )
    with pytest.raises(StoreError, match="move it aside") as caught:
        store.lease("key", "me").wait(on_wait=nobody)
    assert str(path) in str(caught.value)
