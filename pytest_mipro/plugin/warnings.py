"""The warning category of the plugin, and the line that a warning points at."""

from __future__ import annotations

import inspect
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

_FILTERED = (
    "this is advice, no fault: a filter (filterwarnings, -W or PYTHONWARNINGS) turns warnings into "
    "errors; keep this kind a warning with `default::pytest_mipro.MiproWarning` after it"
)


class MiproWarning(pytest.PytestWarning):
    """The examples do not decide a verdict that counts as passed, or compiling hardly pays."""

    __module__ = "pytest_mipro"  # The name that a filter has to give.


def warn_about(node: pytest.Item, text: str) -> None:
    """Warn at the line of the test's file that runs, or, during set-up, at the test itself."""
    file = str(node.path)
    for frame, line in traceback.walk_stack(inspect.currentframe()):
        if frame.f_code.co_filename == file:
            module = frame.f_globals["__name__"]
            with _explained(text):
                warnings.warn_explicit(text, MiproWarning, file, line, module)
            return
    with _explained(text):
        node.warn(MiproWarning(text))


@contextmanager
def _explained(text: str) -> Generator[None]:
    """Say of a warning that a filter turns into an exception that this is so."""
    __tracebackhide__ = True
    try:
        yield
    except MiproWarning:
        raise MiproWarning(f"{text}\n{_FILTERED}") from None
