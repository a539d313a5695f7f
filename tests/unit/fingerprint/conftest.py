"""Fixtures that import the code of users, and the keys of code that is not edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fingerprints import Load

    from pytest_mipro.fingerprint import Fingerprint


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Return a function that writes files to a new folder and imports the last of them."""
    from fingerprints import loading

    with loading(tmp_path) as load:
        yield load


@pytest.fixture(scope="session")
def unedited(tmp_path_factory: pytest.TempPathFactory) -> Fingerprint:
    """Return the fingerprint of the task in ``ticket_project``, for looking only."""
    from fingerprints import loading
    from ticket_project import FILES

    from pytest_mipro.fingerprint import task_fingerprint

    with loading(tmp_path_factory.mktemp("unedited")) as load:
        return task_fingerprint(load(FILES).task())
