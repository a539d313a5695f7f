"""The keys of the plugin in the stashes of pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_mipro.plugin.orphans import OrphanedReferences
    from pytest_mipro.plugin.settings import Settings
    from pytest_mipro.plugin.task_runner import TaskRunner
    from pytest_mipro.plugin.xdist import Controller
    from pytest_mipro.session import Outcome

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
"""In the config's stash while ``--mipro`` is on."""

TASK_RUNNER: pytest.StashKey[TaskRunner] = pytest.StashKey()
"""In the config's stash while ``--mipro`` is on, in a process that runs tests."""

CONTROLLER: pytest.StashKey[Controller] = pytest.StashKey()
"""In the config's stash while ``--mipro`` is on, in a process that only controls workers."""

ORPHANS: pytest.StashKey[OrphanedReferences] = pytest.StashKey()
"""In the config's stash while ``--mipro`` is on."""

OUTCOME: pytest.StashKey[Outcome] = pytest.StashKey()
"""In the stash of a test that got its outcome."""

WORKER_USAGE = "mipro_usage"
"""The key of a worker's usage in xdist's ``workeroutput``."""
