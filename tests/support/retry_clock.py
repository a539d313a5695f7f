"""A clock that retries wait on, for tests that take no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from pytest_mipro.evaluate.throttle import Throttle


class Clock:
    """Stands in for the ``time`` module, and moves on during waits only.

    Attributes:
        now: Seconds since the test began.
        during_wait: Called at the beginning of each wait.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.during_wait: Callable[[], object] = self.do_nothing

    @classmethod
    def installed(cls, monkeypatch: pytest.MonkeyPatch) -> Clock:
        """Let all waits of a test take no time."""
        from pytest_mipro.evaluate import retrying, throttle

        clock = cls()

        def wait(waiting: throttle.Throttle, seconds: float) -> bool:
            return clock.wait(waiting, seconds)

        monkeypatch.setattr(retrying, "time", clock)
        monkeypatch.setattr(throttle, "time", clock)
        monkeypatch.setattr(throttle.Throttle, "wait", wait)
        return clock

    def do_nothing(self) -> None:
        """Stand for the other threads during a wait."""

    def monotonic(self) -> float:
        return self.now

    def wait(self, throttle: Throttle, seconds: float) -> bool:
        """Stand in for ``Throttle.wait``."""
        self.during_wait()
        self.now += seconds
        return not throttle.stopped
