"""Values that are new in each process, such as a time stamp, and would make each key new."""

from __future__ import annotations

import datetime as dt
import os
import re
import tempfile
import time
from uuid import UUID

_UUID = re.compile(
    r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE
)
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]{6,}")
_RECENT = 24 * 60 * 60
"""Seconds before now in which a process began that still runs."""
_EARLIEST = 10**9
"""The least time stamp: the seconds from 1970 to 2001."""
_SHORTEST = len("2001-01-01T00:00")
"""Characters of the shortest text that is looked at."""
_UNITS = (1, 10**3, 10**6, 10**9)
"""Parts of a second in which time stamps count."""


def process_value(value: object) -> str:
    """Return in words what ``value`` is if it may be new in each process, or nothing."""
    if isinstance(value, UUID):
        return "a UUID"
    if isinstance(value, dt.datetime):
        return "the time" if _is_recent(value.timestamp()) else ""
    if isinstance(value, str):
        return _process_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if value == os.getpid():
        return "the number of the process"
    is_stamp = value >= _EARLIEST and any(_is_recent(value / unit) for unit in _UNITS)
    return "the time" if is_stamp else ""


def without_addresses(text: str) -> str:
    """Return a text without addresses in memory, such as that of an object."""
    return _ADDRESS.sub("", text)


def _process_text(text: str) -> str:
    if text.startswith(f"{tempfile.gettempdir()}{os.sep}"):
        return "a temporary path"
    if len(text) < _SHORTEST:
        return ""
    if _UUID.fullmatch(text):
        return "a UUID"
    if _ADDRESS.search(text):
        return "an address in memory"
    try:
        return process_value(dt.datetime.fromisoformat(text))
    except ValueError:
        return ""


def _is_recent(seconds: float) -> bool:
    return 0 <= time.time() - seconds < _RECENT
