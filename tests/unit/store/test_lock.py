from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Row
from pytest_mipro.store import lock as lease_module
from pytest_mipro.store.lock import BEAT, SILENCE, CompileLock
from pytest_mipro.store.schema import LEASES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from pytest_mipro.store import Store

pytestmark = pytest.mark.uses("sqlalchemy")

PATIENCE = 30.0
"""Seconds after which a test gives up; none of them waits so long."""

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


def is_other(store: Store, beat: float) -> bool:
    """Whether the only lease's last heartbeat is not that one."""
    return beat_of(store) != beat


def await_beat(store: Store) -> None:
    """Return once the holder of the only lease has begun to give a sign of life, and given it."""
    for _ in range(2):
        before = beat_of(store)
        until(partial(is_other, store, before))


def until(condition: Callable[[], bool]) -> None:
    """Return once ``condition`` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Clock:
    """
    The clocks that waiters look at.

    Attributes:
        ahead: How far the clock on the wall is ahead of this machine's.
        now: The time of the other clock, which stands still until it is set.
        runs: Whether it goes on by as much as a waiter sleeps.

    """

    def __init__(self) -> None:
        self.ahead = 0.0
        self.now = 0.0
        self.runs = False
        self._looks = 0

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Sleep for less, after a look that was in vain."""
        self._looks += 1
        if self.runs:
            self.now += seconds
        time.sleep(0.001)

    def await_look(self) -> None:
        """Return once a waiter has begun to look, and has looked in vain."""
        enough = self._looks + 2
        until(lambda: self._looks >= enough)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clocks of a test in which nobody waits for time to pass."""
    clock = Clock()
    monkeypatch.setattr(lease_module, "time", clock)
    return clock


@pytest.fixture
def lively(monkeypatch: pytest.MonkeyPatch) -> float:
    """Have holders give many signs of life a second; return the time between two."""
    monkeypatch.setattr(lease_module, "BEAT", 0.005)
    return lease_module.BEAT


class Waiter(threading.Thread):
    """Waits for a lease on ``key``, holds it until told to stop."""

    def __init__(self, store: Store, key: str, who: str) -> None:
        super().__init__()
        self.lease = store.lease(key, who)
        self.told: list[str] = []
        self.held = threading.Event()
        self.stop = threading.Event()
        self.start()

    def run(self) -> None:
        with self.lease.wait(on_wait=self.told.append):
            self.held.set()
            self.stop.wait(PATIENCE)

    def finish(self) -> None:
        """Wait until it holds the lease, and have it given back."""
        assert self.held.wait(PATIENCE)
        self.stop.set()
        self.join(PATIENCE)


def test_a_free_lease_is_taken_at_once(store: Store) -> None:
    """Nobody is waited for where nobody holds the lease, the first time and again."""
    for _ in range(3):
        with store.lease("key", "me").wait(on_wait=nobody):
            pass


def test_excludes_and_hands_over(store: Store, clock: Clock) -> None:
    """A lease that is held is not given to another until it is given back, and then it is."""
    with store.lease("key", "first").wait(on_wait=nobody):
        waiter = Waiter(store, "key", "second")
        clock.await_look()
        assert not waiter.held.is_set()
    waiter.finish()


def test_says_once_who_is_waited_for(store: Store, clock: Clock) -> None:
    """The waiter learns the holder's name, and is not told over and over."""
    with store.lease("key", "worker gw0").wait(on_wait=nobody):
        waiter = Waiter(store, "key", "worker gw1")
        clock.await_look()
        clock.await_look()
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


def test_one_at_a_time(store: Store, clock: Clock) -> None:
    """Of several who want the same lease, never two have it."""
    holding: list[int] = []
    overlaps: list[int] = []

    def work(number: int) -> None:
        with store.lease("key", f"{number}").wait(on_wait=lambda _: None):
            holding.append(number)
            if len(overlaps) < 4:  # There is somebody who wants it, too.
                clock.await_look()
            overlaps.append(len(holding))
            holding.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert overlaps == [1] * 5


def test_a_living_holder_keeps_it(store: Store, clock: Clock, lively: float) -> None:
    """A holder that works for longer than the silence of a dead one is not robbed."""
    with store.lease("key", "first").wait(on_wait=nobody):
        waiter = Waiter(store, "key", "second")
        clock.await_look()
        for _ in range(4):
            clock.now += SILENCE - lively
            clock.await_look()
            await_beat(store)
            clock.await_look()
        assert not waiter.held.is_set()
    waiter.finish()


def test_a_holder_that_lost_it_takes_nothing_back(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was silent for too long does not end the lease of who came after."""
    monkeypatch.setattr(lease_module, "BEAT", PATIENCE)
    with store.lease("key", "silent").wait(on_wait=nobody):
        monkeypatch.setattr(lease_module, "BEAT", BEAT)
        clock.runs = True
        waiter = Waiter(store, "key", "heir")
        assert waiter.held.wait(PATIENCE)
    with store.connection() as connection:
        assert connection.scalar(select(LEASES.c.who)) == "heir"
    waiter.finish()


@pytest.mark.parametrize("off", [-7200.0, 7200.0])
def test_a_beat_of_long_ago_is_no_life(store: Store, clock: Clock, off: float) -> None:
    """A lease left behind hours ago, by the clock or before it was set back, is soon taken."""
    clock.runs = True
    leave_behind(store, time.time() + off)
    told: list[str] = []
    with store.lease("key", "me").wait(on_wait=told.append):
        assert clock.now < SILENCE - 1
    assert told == ["gone"]


def test_a_killed_holder_loses_it(url: str, store: Store, clock: Clock) -> None:
    """A holder that is killed is named to who waits, and loses the lease in about 10 seconds."""
    clock.runs = True
    told: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
    with store.lease("key", "me").wait(on_wait=told.append):
        assert clock.now < 11
    assert told == ["the other process"]


def test_a_holder_that_slept(url: str, store: Store, clock: Clock) -> None:
    """A holder that is stopped loses the lease, and notices when it goes on; neither side fails."""
    clock.runs = True
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # It may not stop at once.
        with store.lease("key", "the heir").wait(on_wait=lambda _: None) as lease:
            store.rows.put(Row("k", 1.0))
            process.send_signal(signal.SIGCONT)
            said, _ = process.communicate("go on\n", timeout=PATIENCE)
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
def test_a_clock_that_jumps(store: Store, clock: Clock, lively: float, jump: float) -> None:
    """A clock that is set while one holds and one waits gives the lease to neither of them."""
    with store.lease("key", "first").wait(on_wait=nobody) as lease:
        waiter = Waiter(store, "key", "second")
        clock.await_look()
        clock.ahead = jump
        for silence in (2 * lively, SILENCE - lively, SILENCE - lively):
            clock.now += silence
            clock.await_look()
            await_beat(store)
            clock.await_look()
        assert not waiter.held.is_set()
        assert lease.is_held()
    waiter.finish()


def test_silence_while_nobody_can_write(
    path: Path, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder whose heartbeat had to wait for somebody else's writing is not robbed."""
    renew, inheriting = CompileLock._renew, threading.Event()

    def noticed(lease: CompileLock, connection: Connection) -> bool:
        if lease is waiter.lease:
            inheriting.set()
        return renew(lease, connection)

    with store.lease("key", "first").wait(on_wait=nobody) as lease:
        waiter = Waiter(store, "key", "second")
        clock.await_look()
        monkeypatch.setattr(CompileLock, "_renew", noticed)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            clock.now += SILENCE
            assert inheriting.wait(PATIENCE)
            clock.now += 2 * BEAT
        clock.await_look()
        assert not waiter.held.is_set()
        assert lease.is_held()
    waiter.finish()


@pytest.mark.usefixtures("lively")
def test_a_heartbeat_survives_trouble(path: Path, store: Store) -> None:
    """A heartbeat that does not get through is not the end of the next one."""
    first, lost = store.lease("key", "first"), threading.Event()

    def is_held() -> bool:
        try:
            return CompileLock.is_held(first)
        except StoreError:
            lost.set()
            raise

    vars(first)["is_held"] = is_held
    with first.wait(on_wait=nobody) as lease:
        rename(path, "leases", "away")
        assert lost.wait(PATIENCE)
        rename(path, "away", "leases")
        await_beat(store)
        assert lease.is_held()


def test_an_error_is_not_replaced(path: Path, store: Store) -> None:
    """What ends the work is raised, also if the lease cannot be given back."""

    def work() -> None:
        rename(path, "leases", "away")
        raise KeyError

    with pytest.raises(KeyError), store.lease("key", "first").wait(on_wait=nobody):
        work()


@pytest.mark.parametrize("column", ["holder", "who", "beat"])
def test_a_damaged_lease_blocks_nobody(path: Path, store: Store, clock: Clock, column: str) -> None:
    """A lease that nobody could have written is taken like one of a dead holder."""
    clock.runs = True
    leave_behind(store, time.time() - 100)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE leases SET {column} = x'00ff'")
        connection.commit()
    with store.lease("key", "me").wait(on_wait=lambda _: None) as lease:
        assert lease.is_held()


@pytest.mark.usefixtures("clock")
def test_a_lease_that_cannot_be_taken(path: Path, store: Store) -> None:
    """A table that keeps no lease is an error, and nothing to wait for without end."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER deaf BEFORE INSERT ON leases BEGIN SELECT raise(IGNORE); END"
        )
    with pytest.raises(StoreError, match="move it aside") as caught:
        store.lease("key", "me").wait(on_wait=nobody)
    assert str(path) in str(caught.value)
