"""Run work that may hang in a thread of its own, and leave it there if it does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from pytest_mipro.evaluate.thread_pool import ContextThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_INTERVAL = 0.5
"""Seconds between two checks whether the work hangs."""


class WorkHangs(Exception):
    """The work goes on in its thread, and its result will be dropped."""


class _Helper:
    """A thread that runs the work of the thread that made it, and ends with it."""

    def __init__(self) -> None:
        self.pool = ContextThreadPool(1, thread_name_prefix="mipro-work")

    def __del__(self) -> None:
        self.pool.shutdown(wait=False)


class _Helpers(threading.local):
    """The helper of each thread; work after work reuses it."""

    helper: _Helper | None = None


_HELPERS = _Helpers()


def supervised(work: Callable[[], T], hangs: Callable[[], bool]) -> T:
    """Return ``work()``, unless ``hangs()`` becomes true first.

    Raises:
        WorkHangs: It became true. The work's thread is left alone, as no thread can be ended.
    """
    helper = _HELPERS.helper = _HELPERS.helper or _Helper()
    future = helper.pool.submit(work)
    finished = threading.Event()
    future.add_done_callback(lambda _: finished.set())
    while not finished.wait(_INTERVAL):
        if hangs():
            _HELPERS.helper = None
            raise WorkHangs
    return future.result()
