"""Fixtures for tests of evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from retry_clock import Clock

    from pytest_mipro.evaluate.throttle import Throttle


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let all waits of the test take no time."""
    from retry_clock import Clock

    from pytest_mipro.evaluate import retrying, throttle

    clock = Clock()

    def wait(throttle: Throttle, seconds: float) -> bool:
        return clock.wait(throttle, seconds)

    monkeypatch.setattr(retrying, "time", clock)
    monkeypatch.setattr(throttle, "time", clock)
    monkeypatch.setattr(throttle.Throttle, "wait", wait)
    return clock
