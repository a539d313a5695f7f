"""The width and the colours of pytest's terminal, of which ``-p no:terminal`` leaves none."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def terminal_width(config: pytest.Config) -> int:
    """Return the number of columns; without a terminal the texts go to reports of plugins."""
    if _has_terminal(config):
        return config.get_terminal_writer().fullwidth
    return shutil.get_terminal_size().columns


def is_coloured(config: pytest.Config) -> bool:
    """Whether pytest colours what it shows."""
    return _has_terminal(config) and config.get_terminal_writer().hasmarkup


def _has_terminal(config: pytest.Config) -> bool:
    return config.pluginmanager.has_plugin("terminalreporter")
