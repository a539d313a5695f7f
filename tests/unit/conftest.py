"""What the tests of single rooms have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_mipro.store import Store
from pytest_mipro.store.url import backend_at, open_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sessions import Checkout, FirstRun
    from sqlalchemy import Engine

    from pytest_mipro.store.backend import Backend


@pytest.fixture(scope="session", autouse=True)  # ruff: ignore[pytest-fixture-autouse]
def statements_compiled_once() -> Iterator[None]:
    """Let all stores in SQLite share the texts of their statements, as tests open hundreds.

    SQLAlchemy makes them once for each engine, and keeps them by the dialect that they are in.
    """
    first = open_engine(backend_at("sqlite://"))
    first.connect().close()  # A dialect is complete once it has met a database.

    def open_sharing(backend: Backend) -> Engine:
        engine = open_engine(backend)
        if isinstance(engine.dialect, type(first.dialect)):
            engine.dialect, engine._compiled_cache = first.dialect, first._compiled_cache
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_mipro.store.connections.open_engine", open_sharing)
        yield
    first.dispose()


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
