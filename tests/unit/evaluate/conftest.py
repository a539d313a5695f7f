"""Fixtures for tests of evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import ProcessPoolExecutor

    import faulty
    from retry_clock import Clock


@pytest.fixture(scope="session")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Return two processes on which all tests of a session run rows."""
    from executors import running_pool

    with running_pool() as pool:
        yield pool


@pytest.fixture(scope="module")
def server() -> Iterator[faulty.Server]:
    """Return a server that replies as a test says."""
    from faulty import Server

    with Server.running() as running:
        yield running


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let all waits of the test take no time."""
    from retry_clock import Clock

    return Clock.installed(monkeypatch)
