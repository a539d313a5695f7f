"""The warning a test gets where there is no error, and yet something to know."""

from __future__ import annotations

import pytest


class MiproWarning(pytest.PytestWarning):
    """The examples do not decide a verdict that counts as passed, or compiling hardly pays."""

    __module__ = "pytest_mipro"  # where a filter finds it
