from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select, update

from pytest_mipro.store import Store
from pytest_mipro.store import lease as lease_module
from pytest_mipro.store.schema import LEASES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDER = """
import sys, time
from pytest_mipro.store import Store

store = Store.open(sys.argv[1])
with store.lease("key", "the other process").wait(on_wait=print):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a store."""
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """Return a new store."""
    opened = Store.open(url)
    yield opened
    opened.close()


def nobody(who: str) -> None:
    """Refuse to be told that somebody is waited for."""
    raise AssertionError(who)


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
    monkeypatch.setattr(lease_module, "SILENCE", 0.8)
    with store.lease("key", "first").wait(on_wait=nobody):
        waiter = Waiter(store, "key", "second")
        assert not waiter.held.wait(2.5)
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


def test_a_beat_from_the_far_future_is_no_life(store: Store) -> None:
    """A lease left behind before the clock was set back does not lock the key for hours."""
    with store.connection() as connection:
        connection.execute(
            insert(LEASES),
            {"key": "key", "holder": "gone", "who": "gone", "beat": time.time() + 7200},
        )
    with store.lease("key", "me").wait(on_wait=nobody):
        pass


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
    assert waited < 12
