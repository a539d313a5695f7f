"""Keep Python's garbage collector out of what is loaded."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def loading() -> Generator[None]:
    """
    Import modules without collecting garbage, of which that makes none.

    What is loaded, DSPy above all, stays until the process ends. So it is also
    taken out of later collections: pytest makes two when a session ends, and
    Python more as it exits, all of which would walk through all of it. Both
    together took a third of the time of a session with nothing to compile.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
