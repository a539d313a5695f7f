"""A session: each task compiled and scored once, and judged."""

from __future__ import annotations

from pytest_mipro.session.policy import Policy
from pytest_mipro.session.session import Session

__all__ = ["Policy", "Session"]
