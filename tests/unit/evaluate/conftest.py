"""Fixtures for tests of evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from retry_clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let all waits of the test take no time."""
    from retry_clock import Clock

    return Clock.installed(monkeypatch)
