"""Errors of asking for held-out rows while a test runs, which are errors and no failures.

A sequential task asks for rows when a verdict needs them. That is work of the set-up, done later.
"""

from __future__ import annotations

from typing import NoReturn

import pytest

_ERROR: pytest.StashKey[BaseException] = pytest.StashKey()


def stop_with_error(item: pytest.Item, message: str) -> NoReturn:
    """Stop the running test with an error that has this message."""
    error = item.stash[_ERROR] = pytest.fail.Exception(message, pytrace=False)
    raise error


def is_asking_error(item: pytest.Item, call: pytest.CallInfo[None]) -> bool:
    """Whether such an error ended the call."""
    return call.excinfo is not None and call.excinfo.value is item.stash.get(_ERROR, None)
