"""Run work in the thread that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_mipro.evaluate.work import R, Work


class ThreadRunner:
    """Runs work in this process; the work itself retries its calls."""

    def run(self, work: Work[R]) -> R:
        """See ``WorkRunner``."""
        return work()

    def stop(self) -> None:
        """See ``WorkRunner``: the throttle stops the work."""
