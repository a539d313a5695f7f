"""What the plugin keeps in the stashes of pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_mipro.plugin.options import Settings
    from pytest_mipro.plugin.running import Running
    from pytest_mipro.session import Outcome

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
"""In the config's stash while ``--mipro`` is on."""

RUNNING: pytest.StashKey[Running] = pytest.StashKey()
"""In the config's stash while ``--mipro`` is on, in a process that runs tests."""

OUTCOME: pytest.StashKey[Outcome] = pytest.StashKey()
"""In the stash of a test that got its outcome."""
