"""What the plugin keeps in the stashes of pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from pytest_mipro.plugin.options import Settings
    from pytest_mipro.session import Outcome


class Tasks(Protocol):
    """What hooks and fixtures ask of ``running.Running``."""

    def declare(self, node: pytest.Item) -> None:
        """Check what ``node`` declares, at collection."""

    def outcome(self, request: pytest.FixtureRequest) -> Outcome:
        """Return the outcome of the requesting test."""

    def close(self) -> None:
        """Let go of the store."""


SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
"""In the config's stash while ``--mipro`` is on."""

RUNNING: pytest.StashKey[Tasks] = pytest.StashKey()
"""In the config's stash while ``--mipro`` is on, in a process that runs tests."""

OUTCOME: pytest.StashKey[Outcome] = pytest.StashKey()
"""In the stash of a test that got its outcome."""
