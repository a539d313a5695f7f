"""Checks and helpers that several tests of the store share."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.errors import StoreError
from pytest_mipro.records import Artifact, Usage
from pytest_mipro.store import Store
from pytest_mipro.store.url import backend_at

if TYPE_CHECKING:
    from pathlib import Path

NEXT_STEP = re.compile(r"[;,] (?:\w+ )?(use|move|install|choose|check|make|give|set|upgrade)\b")
"""The beginning of the part of a message that names the next step."""


def url_of(path: Path) -> str:
    """Return the URL of the store at ``path``."""
    return f"sqlite:///{path}"


def artifact(key: str, task: str = "task") -> Artifact:
    """Return an artifact with all kinds of content."""
    return Artifact(
        key=key,
        task=task,
        parts={"metric": "12ab"},
        state={"predict": {"demos": [{"question": "ä\u2028\U0001f600"}], "train": []}},
        usage=Usage(3, 20, 5),
        seconds=1.5,
        created="2026-07-01T12:00:00Z",
    )


def explains(error: pytest.ExceptionInfo[StoreError], path: Path, problem: str) -> bool:
    """Whether a message names the store, the problem, and the next step."""
    message = str(error.value)
    return str(path) in message and problem in message and NEXT_STEP.search(message) is not None


def refusal(url: str) -> str:
    """Return the message of the error that opening ``url`` raises."""
    with pytest.raises(StoreError) as error:
        Store.open(url)
    return str(error.value)


def tamper(path: Path, statement: str, *values: object) -> None:
    """Change the file of a store with SQL."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, values)
        connection.commit()


def run_sql(url: str, *statements: str) -> None:
    """Change a database as another application may."""
    engine = backend_at(url).create_engine()
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()
