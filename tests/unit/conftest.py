"""What the tests of single rooms have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sessions import Checkout, FirstRun


@pytest.fixture
def store() -> Iterator[Store]:
    """Return a store that is gone after the test."""
    opened = Store.in_memory()
    yield opened
    opened.close()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a checkout in which nothing has run yet."""
    from sessions import Checkout

    return Checkout(tmp_path)


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    """Return a run that compiled a task, and was accepted afterwards; for looking only."""
    from sessions import Checkout, FirstRun

    checkout = Checkout(tmp_path_factory.mktemp("first_run"))
    outcome = checkout.outcome()
    # The model samples, so that an acceptance asks for rollouts of its own.
    Checkout(checkout.root).outcome(update=True)
    return FirstRun(checkout, outcome)


@pytest.fixture
def compiled(first_run: FirstRun, tmp_path: Path) -> Checkout:
    """Return a checkout whose store has the artifact and the scores; nothing is accepted."""
    return first_run.checkout.copied_to(tmp_path / "compiled", ".mipro")


@pytest.fixture
def accepted(first_run: FirstRun, tmp_path: Path) -> Checkout:
    """Return a checkout with an accepted reference, and the store that it was made with."""
    return first_run.checkout.copied_to(tmp_path / "accepted", ".mipro", "__mipro__")
