"""Namespaces that grow while something looks through them."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def growing(namespace: dict[str, Any]) -> Generator[None]:
    """Add a name to ``namespace`` at each collection of garbage, and let there be many.

    So does another thread, which may run at any of these times.
    """
    names: list[str] = []

    def add(phase: str, _: object) -> None:
        if phase == "start":
            names.append(f"added_{len(names)}")
            namespace[names[-1]] = ModuleType(names[-1])

    threshold = gc.get_threshold()
    gc.callbacks.append(add)
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(add)
        for name in names:
            del namespace[name]
    assert names
