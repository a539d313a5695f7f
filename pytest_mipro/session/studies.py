"""Write the searches of a session into Optuna studies, for those who look at searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.canonical import digest
from pytest_mipro.redaction import url_without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mipro.session.callbacks import Callbacks
    from pytest_mipro.session.context import TaskContext
    from pytest_mipro.session.storage import Storage

_LOCK = digest("studies")
"""The key of the lock under which studies are written: Optuna makes its tables without one."""
_DIGITS = 8
"""Digits of a compile key in the name of a study."""
_LONGEST = 300
"""Most characters that a warning cites of an error."""


class Studies:
    """Writes studies into one database; what fails there changes nothing but a warning."""

    def __init__(self, storage: Storage, url: str, callbacks: Callbacks) -> None:
        """Write to the database at ``url``; if that is empty, nothing is written."""
        self._storage = storage
        self._url = url
        self._callbacks = callbacks

    def write(self, context: TaskContext, write_study: Callable[[str, str], None] | None) -> None:
        """Write the search that compiled a task, if the optimizer searched."""
        if not self._url or write_study is None:
            return
        name = f"{context.task.test} {context.fingerprint.key[:_DIGITS]}"
        with self._storage.lock(_LOCK, on_wait=lambda _: None):
            problem = self._problem(write_study, name)
        if problem:
            self._callbacks.advise(
                f"{context.task.name}: its search is not in a study of mipro_study="
                f"{url_without_secrets(self._url)}: {problem}; the result is as without a study; "
                "make sure that the database can be reached and written, and that its driver is "
                "installed"
            )

    def _problem(self, write_study: Callable[[str, str], None], name: str) -> str:
        """Write a study, and return why it cannot be written; empty if it is."""
        try:
            write_study(self._url, name)
        except Exception as error:  # ruff: ignore[blind-except] - Optuna, SQLAlchemy and drivers raise anything
            return f"{type(error).__name__}: {' '.join(str(error).split())[:_LONGEST]}"
        return ""
