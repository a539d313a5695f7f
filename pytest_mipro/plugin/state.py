"""What the plugin keeps in the stashes of pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from pytest_mipro.canonical import JSON
    from pytest_mipro.plugin.options import Settings
    from pytest_mipro.records import Usage
    from pytest_mipro.session import Outcome


class Collection(Protocol):
    """What others ask of ``leftovers.Leftovers``."""

    def use(self, node: pytest.Item) -> None:
        """Take note of a test that asks for its outcome."""

    @property
    def orphans(self) -> list[str] | None:
        """The references of no test; None if only some tests were run."""


class Tasks(Protocol):
    """What hooks and fixtures ask of ``running.Running``."""

    def declare(self, node: pytest.Item) -> None:
        """Check what ``node`` declares, at collection."""

    def outcome(self, request: pytest.FixtureRequest) -> Outcome:
        """Return the outcome of the requesting test."""

    @property
    def usage(self) -> Usage:
        """What all tasks of this process have asked so far."""

    def name_of(self, node: pytest.Item) -> str:
        """Return the name of a test's task."""

    def veil(self, value: JSON) -> JSON:
        """Return ``value`` without the credentials that this process knows."""

    def close(self) -> None:
        """Let go of the store."""


class Workers(Protocol):
    """What others ask of ``xdist.Controller``."""

    def spent(self) -> dict[str, Usage]:
        """Return what each worker has spent so far, by its name; calls and cost, no tokens."""


SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
"""In the config's stash while ``--mipro`` is on."""

TASK_RUNNER: pytest.StashKey[Tasks] = pytest.StashKey()
"""In the config's stash while ``--mipro`` is on, in a process that runs tests."""

WORKERS: pytest.StashKey[Workers] = pytest.StashKey()
"""In the config's stash while ``--mipro`` is on, in a process that only controls workers."""

ORPHANS: pytest.StashKey[Collection] = pytest.StashKey()
"""In the config's stash while ``--mipro`` is on."""

OUTCOME: pytest.StashKey[Outcome] = pytest.StashKey()
"""In the stash of a test that got its outcome."""
