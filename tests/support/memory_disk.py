"""Where tests write their files: to memory, as databases wait until a real disk has them."""

from __future__ import annotations

import shutil
from pathlib import Path

_FOLDER = Path("/dev/shm")
"""The disk in memory that Linux has."""
_NEEDED = 4 * 2**30
"""The bytes that must be free there; those of containers may have few."""


def memory_disk() -> Path | None:
    """Return the folder of a disk in memory, or None if there is none, or none of the size."""
    has_room = _FOLDER.is_dir() and shutil.disk_usage(_FOLDER).free >= _NEEDED
    return _FOLDER if has_room else None
