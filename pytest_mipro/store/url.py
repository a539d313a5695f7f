"""The URL of a store: read, checked, and resolved to a backend."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pytest_mipro.errors import StoreError
from pytest_mipro.store.backend import url_for_messages

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from pytest_mipro.store.backend import Backend

BACKENDS = {"sqlite": "SqliteBackend", "postgresql": "PostgresqlBackend"}
"""The class by SQLAlchemy's name of the database, which is the name of the module, too."""

_EXAMPLES = "URLs look like sqlite:///.mipro/store.db or postgresql://host/database"


def backend_at(url: str) -> Backend:
    """Return the backend for a SQLAlchemy URL.

    Raises:
        StoreError: The text is not a URL, or the database is of a kind that is not supported.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # The URL may hold a password anywhere but in its first part.
        message = (
            f"the store URL {url.partition(':')[0]!r}… is not one SQLAlchemy knows; {_EXAMPLES}"
        )
        raise StoreError(message) from error
    return _backend_of(_unquoted(parsed))


def backend_of_file(path: Path) -> Backend:
    """Return the backend for a SQLite store in the file at ``path``, under any name."""
    return _backend_of(URL.create("sqlite", database=str(path)))


def _unquoted(url: URL) -> URL:
    """Return a URL whose database is text; SQLAlchemy 2.0 leaves some of its escapes."""
    is_text = make_url("sqlite:///%25").database == "%"
    return url if is_text or url.database is None else url.set(database=unquote(url.database))


def _backend_of(parsed: URL) -> Backend:
    kind = parsed.get_backend_name()
    if kind not in BACKENDS:
        message = (
            f"the store {url_for_messages(parsed)} cannot be kept in a database of that kind; "
            f"use SQLite or PostgreSQL; {_EXAMPLES}"
        )
        raise StoreError(message)
    # A backend imports the dialect of its database; most sessions need SQLite's alone.
    module = import_module(f"pytest_mipro.store.{kind}")
    backend: Backend = getattr(module, BACKENDS[kind])(parsed)
    return backend


def open_engine(backend: Backend) -> Engine:
    """Return the engine that connects to the store; nothing is opened yet.

    Raises:
        StoreError: The driver is not installed, or refuses the URL.
    """
    try:
        return backend.create_engine()
    except (ModuleNotFoundError, SQLAlchemyError) as error:
        message = (
            f"the store {backend.name} cannot be opened: {error}; "
            f"install the driver it needs, or use another store; {_EXAMPLES}"
        )
        raise StoreError(message) from error
    except (TypeError, ValueError) as error:
        # The error of an option may cite a password.
        message = f"the store {backend.name} cannot be opened: check its options; {_EXAMPLES}"
        raise StoreError(message) from error
