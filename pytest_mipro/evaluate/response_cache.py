"""DSPy's cache of language model responses, in a folder per task."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dspy
from dspy.clients import DISK_CACHE_LIMIT
from dspy.clients.cache import Cache

from pytest_mipro.canonical import canonical_json, digest
from pytest_mipro.errors import InfrastructureError
from pytest_mipro.fingerprint import describe_model
from pytest_mipro.spending import count_cached_response

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pytest_mipro.canonical import JSON
    from pytest_mipro.task import Task


@contextmanager
def cached_responses(folder: Path, task: Task, *, again: bool = False) -> Generator[None]:
    """Let DSPy cache responses in a subfolder for the task's endpoints.

    DSPy's cache key leaves out the endpoint, so two endpoints that serve the same model name
    would share responses. With such a task, and with ``again``, nothing is cached.

    Raises:
        InfrastructureError: The folder cannot be used; a call also raises it, if the cache is
            damaged.
    """
    models = [lm for lm in (task.lm, task.prompt_lm, task.teacher_lm) if lm is not None]
    names = {canonical_json(_endpoint(lm)): lm.model for lm in models}
    is_cached = not again and len(set(names.values())) == len(names)
    user_cache = vars(dspy).get("cache")
    cache = _ResponseCache.open(folder / digest(sorted(names))[:16]) if is_cached else None
    # It holds DSPy's lock, so that no other thread replaces the cache by the default one.
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    if cache is not None:
        dspy.cache = cache
    try:
        yield
    finally:
        vars(dspy).pop("cache")
        if cache is not None:
            cache.disk_cache.close()
        if user_cache is not None:
            dspy.cache = user_cache


class _ResponseCache(Cache):
    """A cache that reports the usage of a cached response, and an error if it is damaged."""

    @classmethod
    def open(cls, folder: Path) -> _ResponseCache:
        """Open the cache in ``folder``."""
        try:
            return cls(
                enable_disk_cache=True,
                enable_memory_cache=True,
                disk_cache_dir=str(folder),
                disk_size_limit_bytes=DISK_CACHE_LIMIT,
                restrict_pickle=True,
            )
        except (OSError, sqlite3.Error) as error:
            raise _unusable(str(folder), error) from error

    def get(
        self, request: dict[str, Any], ignored_args_for_cache_key: list[str] | None = None
    ) -> object:
        """Return the cached response of ``request``, or None."""
        try:
            response: object = super().get(request, ignored_args_for_cache_key)
        except sqlite3.Error as error:  # DSPy would report it as an error of the model.
            raise _unusable(self.disk_cache_dir, error) from error
        # DSPy leaves the usage in plain records only.
        usage = response.get("usage") if isinstance(response, dict) else None
        if isinstance(usage, dict):
            count_cached_response(usage)
        return response


def _unusable(folder: str | None, error: Exception) -> InfrastructureError:
    message = (
        f"the LM responses kept in {folder} cannot be used: {error}; make room, let the folder be "
        "written, or move it aside (nothing is deleted for you)"
    )
    return InfrastructureError(message)


def _endpoint(lm: dspy.BaseLM) -> JSON:
    description = describe_model(lm)
    return {name: description[name] for name in ("class", "model", "endpoint", "engine")}
