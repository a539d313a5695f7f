"""What all tests have in common."""

from __future__ import annotations

import os


def pytest_configure() -> None:
    """Keep runs inside of tests from talking to the CI that the tests run in."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        os.environ.pop(name, None)
