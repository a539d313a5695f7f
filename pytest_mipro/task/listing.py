"""Lists of findings in a message: how many there are, and the first few."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_SHOWN = 3


def counted(items: Sequence[object], noun: str) -> str:
    """Return the number of items with their noun, such as ``"2 examples"``."""
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def listed(lines: Sequence[str]) -> str:
    """Return the first lines, each on a new line, and the number of the rest."""
    shown = "".join(f"\n  {line}" for line in lines[:_MOST_SHOWN])
    hidden = len(lines) - _MOST_SHOWN
    return shown + (f"\n  … and {hidden} more" if hidden > 0 else "")
