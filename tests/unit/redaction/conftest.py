"""What the tests of this room have in common."""

from __future__ import annotations

import os

import pytest

from pytest_mipro.redaction.names import Strength, strength
from pytest_mipro.redaction.secrets import Secrets


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the credentials that the environment of the tests may have."""
    for name, value in list(os.environ.items()):
        if strength(name) > Strength.PUBLIC or "@" in value:
            monkeypatch.delenv(name)


@pytest.fixture
def secrets() -> Secrets:
    """Return a collection that has no secret yet."""
    return Secrets()
