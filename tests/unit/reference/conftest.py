"""A place for a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_mipro.reference.location import ReferenceLocation

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def location(tmp_path: Path) -> ReferenceLocation:
    """Return the location for a test in an empty folder."""
    command = "pytest --mipro --mipro-update test_x.py::test_x"
    return ReferenceLocation.beside(
        tmp_path / "test_x.py", ["test_x"], command=command, root=tmp_path
    )
