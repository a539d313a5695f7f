"""End a test whose task was measured for a move: keep the figures for the report, and skip it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_mipro.plugin.safe_text import safe_line

if TYPE_CHECKING:
    from pytest_mipro.records import Migration

MIGRATION: pytest.StashKey[Migration] = pytest.StashKey()
"""In the stash of a test whose task was measured for a move."""


def skip_measured(node: pytest.Item, migration: Migration) -> NoReturn:
    """Skip a test after its task was measured."""
    node.stash[MIGRATION] = migration
    pytest.skip(safe_line(f"--mipro-migrate: measured {migration.moves}"))
