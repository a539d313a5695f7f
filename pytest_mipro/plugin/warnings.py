"""The warning category of the plugin, and the line that a warning points at."""

from __future__ import annotations

import inspect
import traceback
import warnings

import pytest


class MiproWarning(pytest.PytestWarning):
    """The examples do not decide a verdict that counts as passed, or compiling hardly pays."""

    __module__ = "pytest_mipro"  # The name that a filter has to give.


def warn_about(node: pytest.Item, text: str) -> None:
    """Warn at the line of the test's file that runs, or, during set-up, at the test itself."""
    file = str(node.path)
    for frame, line in traceback.walk_stack(inspect.currentframe()):
        if frame.f_code.co_filename == file:
            module = frame.f_globals["__name__"]
            warnings.warn_explicit(text, MiproWarning, file, line, module)
            return
    node.warn(MiproWarning(text))
