"""The responses of language models, which DSPy keeps on disk."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.canonical import canonical_json, digest
from pytest_mipro.errors import InfrastructureError
from pytest_mipro.fingerprint import model
from pytest_mipro.spending import recall

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from dspy.clients.cache import Cache

    from pytest_mipro.canonical import JSON
    from pytest_mipro.task import Task


@contextmanager
def cached_responses(folder: Path, task: Task, *, again: bool = False) -> Generator[None]:
    """
    Let DSPy cache LM responses in a folder of the task's endpoints.

    DSPy's cache key leaves out the endpoint. Two endpoints that serve the same
    model name would answer for each other, so then nothing is cached; nor is
    it where the models are asked ``again``.

    Raises:
        InfrastructureError: The folder cannot be used; also raised by a call
            that finds it damaged.

    """
    models = [lm for lm in (task.lm, task.prompt_lm, task.teacher_lm) if lm is not None]
    described = {canonical_json(_where_served(lm)): lm.model for lm in models}
    nothing = again or len(set(described.values())) < len(described)
    before = vars(dspy).get("cache")
    used = _open(None if nothing else folder / digest(sorted(described))[:16])
    try:
        yield
    finally:
        vars(dspy).pop("cache")
        if used.enable_disk_cache:
            used.disk_cache.close()
        if before is not None:
            dspy.cache = before


def _open(folder: Path | None) -> Cache:
    """Have DSPy keep responses in ``folder``, or nowhere."""
    try:
        dspy.configure_cache(
            enable_disk_cache=folder is not None,
            enable_memory_cache=folder is not None,
            disk_cache_dir=str(folder),
            restrict_pickle=True,
        )
    except (OSError, sqlite3.Error) as error:
        raise _unusable(folder, error) from error
    cache: Cache = vars(dspy)["cache"]
    if folder is not None:
        _check_what_is_read(cache.disk_cache, folder)
        _recall_usage(cache)
    return cache


def _recall_usage(cache: Any) -> None:  # ruff: ignore[any-type] - its methods are not to be set
    """Tell what an answer took when it was asked for, which DSPy leaves out of a hit."""
    get = cache.get

    def told(*request: object, **options: object) -> object:
        record = get(*request, **options)
        # Only plain records keep their usage; of others it stays unknown.
        usage = record.get("usage") if isinstance(record, dict) else None
        if isinstance(usage, dict):
            recall(usage)
        return record

    cache.get = told


def _check_what_is_read(disk: Any, folder: Path) -> None:  # ruff: ignore[any-type] - has no types
    """Say of a damaged file that it is one, where a language model would be blamed."""
    get = disk.get

    def checked(key: str) -> object:
        try:
            return get(key)
        except sqlite3.Error as error:
            raise _unusable(folder, error) from error

    disk.get = checked


def _unusable(folder: Path | None, error: Exception) -> InfrastructureError:
    message = (
        f"the LM responses kept in {folder} cannot be used: {error}; make room, let the folder be "
        "written, or move it aside (nothing is deleted for you)"
    )
    return InfrastructureError(message)


def _where_served(lm: dspy.BaseLM) -> JSON:
    described = model(lm)
    return {name: described[name] for name in ("class", "model", "endpoint", "engine")}
