"""What all tests have in common."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile(
    "quick", max_examples=25, deadline=None, derandomize=bool(os.environ.get("CI"))
)
settings.register_profile("thorough", max_examples=500, deadline=None)
settings.load_profile("quick")


def pytest_configure() -> None:
    """Keep runs inside of tests from talking to the CI that the tests run in."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        os.environ.pop(name, None)
