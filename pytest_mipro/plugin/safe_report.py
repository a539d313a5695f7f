"""Make pytest's report of a test safe: its tracebacks and captured output cite models."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_mipro.escaping import printable_output
from pytest_mipro.redaction import SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def make_safe(report: pytest.TestReport, *, coloured: bool) -> None:
    """Escape and redact the texts of ``report``.

    Args:
        report: Pytest's report of a phase of a test.
        coloured: Whether pytest colours what it compares, in the texts themselves.
    """
    report.sections = [(title, _safe(text)) for title, text in report.sections]
    report.longrepr = _mapped(report.longrepr, partial(_safe, coloured=coloured))


def _safe(text: str, *, coloured: bool = False) -> str:
    return printable_output(SECRETS.redact(text), coloured=coloured)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return ``value`` with its texts changed; the records of a traceback are changed in place."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    if type(value) is tuple:
        return tuple(_mapped(item, change) for item in value)
    if dataclasses.is_dataclass(value):
        for name, item in vars(value).items():
            setattr(value, name, _mapped(item, change))
    return value
