from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from project import start_script

from pytest_mipro.store import Store, lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forks import ForkServer
    from project import Run

pytestmark = [pytest.mark.uses("filelock", "sqlalchemy"), pytest.mark.usefixtures("sleeps")]

PATIENCE = 60.0
"""Seconds after which a test gives up; no passing test waits so long."""

TAKEOVER = 10.0
"""Most seconds until the lock of a holder that was killed is taken."""

HOLDER = """
import sys, time
from pathlib import Path
from pytest_mipro.store import Store

store = Store.open(sys.argv[1])
with store.compile_lock("key", "worker gw0").wait(on_wait=print):
    print("held", flush=True)
    while not Path(sys.argv[2]).exists():
        time.sleep(0.001)
"""


def refuse_to_wait(holder: str) -> None:
    """Fail because the lock is not free."""
    raise AssertionError(holder)


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, as SIGSTOP does it some time later."""
    state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    return state.split()[0] == "T"


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Count the sleeps of waiters, which are short, in a semaphore."""
    semaphore = threading.Semaphore(0)

    class Clock:
        @staticmethod
        def sleep(_seconds: float) -> None:
            semaphore.release()
            time.sleep(0.001)

    monkeypatch.setattr(lock, "time", Clock)
    return semaphore


class Waiter(threading.Thread):
    """A thread that waits for the lock, holds it, and releases it.

    Attributes:
        holders: The names that it was called with while it waited.
    """

    def __init__(self, store: Store, key: str, name: str) -> None:
        super().__init__()
        self.holders: list[str] = []
        self._lock = store.compile_lock(key, name)
        self._held = threading.Event()
        self._finish = threading.Event()
        self.start()

    def run(self) -> None:
        with self._lock.wait(on_wait=self.holders.append):
            self._held.set()
            self._finish.wait(PATIENCE)

    @property
    def holds(self) -> bool:
        """Whether it has taken the lock."""
        return self._held.is_set()

    def finish(self) -> None:
        """Wait until it holds the lock, and let it release it."""
        assert self._held.wait(PATIENCE)
        self._finish.set()
        self.join(PATIENCE)


def await_attempts(sleeps: threading.Semaphore) -> None:
    """Return after a waiter has tried at least twice to take the lock."""
    for _ in range(3):
        assert sleeps.acquire(timeout=PATIENCE)


class LockContract:
    """What the compile lock of every backend does; a subclass has the fixture ``store``."""

    def test_a_free_lock_is_taken_at_once(self, store: Store) -> None:
        """Nothing waits for a free lock, the first time and again."""
        for _ in range(3):
            with store.compile_lock("key", "first").wait(on_wait=refuse_to_wait):
                pass

    def test_excludes_and_hands_over(self, store: Store, sleeps: threading.Semaphore) -> None:
        """A waiter takes the lock when the holder releases it, and not earlier."""
        with store.compile_lock("key", "first").wait(on_wait=refuse_to_wait):
            waiter = Waiter(store, "key", "second")
            await_attempts(sleeps)
            assert not waiter.holds
        waiter.finish()

    def test_announces_the_holder_once(self, store: Store, sleeps: threading.Semaphore) -> None:
        """A waiter reports the holder's name once, however long it waits."""
        with store.compile_lock("key", "pytest's worker gw0").wait(on_wait=refuse_to_wait):
            waiter = Waiter(store, "key", "pytest's worker gw1")
            await_attempts(sleeps)
            await_attempts(sleeps)
        waiter.finish()
        assert waiter.holders == ["pytest's worker gw0"]

    def test_keys_are_independent(self, store: Store) -> None:
        """The lock on one key does not hinder the lock on another, whatever the keys are."""
        with (
            store.compile_lock("", "first").wait(on_wait=refuse_to_wait),
            store.compile_lock("../ä: *", "second").wait(on_wait=refuse_to_wait),
        ):
            pass

    def test_an_exception_releases_the_lock(self, store: Store) -> None:
        """An exception in the block is raised, and the lock is free afterwards."""
        with (
            pytest.raises(KeyError),
            store.compile_lock("key", "first").wait(on_wait=refuse_to_wait),
        ):
            raise KeyError
        with store.compile_lock("key", "second").wait(on_wait=refuse_to_wait):
            pass

    def test_waiting_can_be_interrupted(self, store: Store) -> None:
        """Ctrl-C ends the waiting; the holder keeps the lock, and it is free afterwards."""

        def interrupt(_holder: str) -> None:
            raise KeyboardInterrupt

        with store.compile_lock("key", "first").wait(on_wait=refuse_to_wait):
            with pytest.raises(KeyboardInterrupt):
                store.compile_lock("key", "second").wait(on_wait=interrupt)
            with pytest.raises(AssertionError, match="first"):
                store.compile_lock("key", "third").wait(on_wait=refuse_to_wait)
        with store.compile_lock("key", "fourth").wait(on_wait=refuse_to_wait):
            pass

    def test_one_holder_at_a_time(self, store: Store, sleeps: threading.Semaphore) -> None:
        """Of several threads that take the same lock, never two hold it."""
        holders: list[int] = []
        overlaps: list[int] = []

        def work(number: int) -> None:
            with store.compile_lock("key", f"{number}").wait(on_wait=lambda _: None):
                holders.append(number)
                if len(overlaps) < 4:  # Another thread waits.
                    await_attempts(sleeps)
                overlaps.append(len(holders))
                holders.remove(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert overlaps == [1] * 5


class ProcessLockContract(LockContract):
    """What a lock between processes does; a subclass has the fixtures ``store`` and ``url``."""

    @pytest.fixture
    def end(self, tmp_path: Path) -> Path:
        """Return the path of the file that tells the holder to end."""
        return tmp_path / "end"

    @pytest.fixture
    def holder(
        self, url: str, end: Path, tmp_path: Path, fork_server: ForkServer | None
    ) -> Iterator[Run]:
        """Return a process that holds the lock until it is told to end."""
        process = start_script(fork_server, HOLDER, url, str(end), folder=tmp_path)
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == "held\n"
            yield process
            end.touch()
            process.wait(PATIENCE)

    def test_a_holder_in_another_process(self, store: Store, holder: Run, end: Path) -> None:
        """A holder in another process is named, and the waiter takes the lock when it ends."""
        names: list[str] = []

        def let_it_end(name: str) -> None:
            names.append(name)
            end.touch()
            holder.wait(PATIENCE)

        with store.compile_lock("key", "waiter").wait(on_wait=let_it_end):
            assert holder.returncode == 0
        assert names == ["worker gw0"]

    @pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
    def test_a_killed_holder_loses_the_lock(self, store: Store, holder: Run) -> None:
        """A waiter soon takes the lock of a holder that is killed, and others wait for it then."""
        names: list[str] = []
        kills: list[float] = []

        def kill(name: str) -> None:
            names.append(name)
            kills.append(time.monotonic())
            holder.send_signal(signal.SIGKILL)

        with store.compile_lock("key", "heir").wait(on_wait=kill):
            assert time.monotonic() - kills[0] < TAKEOVER
            assert names == ["worker gw0"]
            with pytest.raises(AssertionError, match="heir"):
                store.compile_lock("key", "third").wait(on_wait=refuse_to_wait)
        with store.compile_lock("key", "fourth").wait(on_wait=refuse_to_wait):
            pass


class TestFileLock(ProcessLockContract):
    @pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
    def test_a_stopped_holder_keeps_the_lock(
        self, store: Store, holder: Run, end: Path, sleeps: threading.Semaphore
    ) -> None:
        """A holder whose process is stopped for a while, as a laptop is, still holds the lock."""
        holder.send_signal(signal.SIGSTOP)
        while not is_stopped(holder.pid):
            time.sleep(0.001)
        end.touch()
        waiter = Waiter(store, "key", "waiter")
        await_attempts(sleeps)
        assert not waiter.holds
        holder.send_signal(signal.SIGCONT)
        waiter.finish()
        assert holder.wait(PATIENCE) == 0


class TestMemoryLock(LockContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        with closing(Store.in_memory()) as store:
            yield store


class TestAdvisoryLock(ProcessLockContract):
    @pytest.fixture
    def url(self, postgresql_url: str) -> str:
        return postgresql_url
