"""Texts of containers that hold plain values only, however many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SCALARS = frozenset({str, int, float, bool, type(None)})
CONTAINERS = frozenset({dict, list, tuple})
"""The types of containers that may have a text."""


def plain_text(value: object) -> str | None:
    """Return the JSON text of a container; None if it holds anything that is not plain.

    A text takes a fraction of the time of a description value by value. A dictionary's order
    does not change it, as in other descriptions.
    """
    if not _is_plain(value):
        return None
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (RecursionError, ValueError):  # it contains itself, or a number is too long
        return None


def values_in(value: Any) -> Iterator[object]:  # ruff: ignore[any-type]  # of any type
    """Yield the values in a container of plain values, at any depth."""
    if type(value) not in CONTAINERS:
        yield value
        return
    for item in value.values() if isinstance(value, dict) else value:
        yield from values_in(item)


def _is_plain(value: Any) -> bool:  # ruff: ignore[any-type]  # of any type
    """Whether all values inside are plain: of the very types, for a subclass may hold more."""
    visited: set[int] = set()
    pending = [value]
    while pending:
        container = pending.pop()
        kind = type(container)
        if kind not in CONTAINERS or (kind is dict and not set(map(type, container)) <= {str}):
            return False
        visited.add(id(container))
        items: Iterable[object] = container.values() if kind is dict else container
        pending += [
            item for item in items if type(item) not in _SCALARS and id(item) not in visited
        ]
    return True
