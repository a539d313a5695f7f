"""End a test whose task was measured for a move: keep the figures for the report, and skip it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_mipro.plugin.safe_text import safe_line

if TYPE_CHECKING:
    from pytest_mipro.records import Migration

MIGRATION: pytest.StashKey[Migration] = pytest.StashKey()
"""In the stash of a test whose task was measured for a move."""


def skip_measured(node: pytest.Item, migration: Migration, model: str | None) -> NoReturn:
    """Skip a test after its task was measured.

    Args:
        node: The test.
        migration: What was measured.
        model: The model that the user named with ``--mipro-lm``, if any.
    """
    option = "" if model is None else f" --mipro-lm {shlex.quote(model)}"
    node.stash[MIGRATION] = replace(migration, command=f"{migration.command}{option}")
    pytest.skip(safe_line(f"--mipro-migrate: measured {migration.moves}"))
