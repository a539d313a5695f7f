"""A clock that retries wait on, for tests that take no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

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

    def do_nothing(self) -> None:
        """Stand for the other threads during a wait."""

    def monotonic(self) -> float:
        return self.now

    def wait(self, throttle: Throttle, seconds: float) -> bool:
        """Stand in for ``Throttle.wait``."""
        self.during_wait()
        self.now += seconds
        return not throttle.stopped
