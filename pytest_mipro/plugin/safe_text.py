"""Texts that this plugin prints: without secrets, and without anything a terminal or CI obeys."""

from __future__ import annotations

from pytest_mipro.escaping import escaped_line, printable
from pytest_mipro.redaction import SECRETS


def safe_text(text: str) -> str:
    """Return ``text`` as it may be printed."""
    return printable(SECRETS.redact_text(text))


def safe_line(text: str) -> str:
    """Return ``text`` as it may be printed, on one line."""
    return escaped_line(SECRETS.redact_text(text))
