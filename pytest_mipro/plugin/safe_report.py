"""Make what pytest reports of a test safe: tracebacks, output and warnings cite models."""

from __future__ import annotations

import dataclasses
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.escaping import escaped_line, printable_output
from pytest_mipro.plugin.terminal import is_coloured
from pytest_mipro.redaction import SECRETS

if TYPE_CHECKING:
    import warnings
    from collections.abc import Callable

_SAFE = "mipro_is_safe"
"""An attribute of a report that was made safe, which pytest copies to those of subtests."""


class SafeReports:
    """Hooks that make safe what comes after ``pytest_runtest_makereport``."""

    def __init__(self, config: pytest.Config) -> None:
        """Keep the colours of ``config``'s terminal."""
        self._config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Make the report of a subtest safe: its name and its output were added to a safe one."""
        if _SAFE in vars(report) and _is_of_subtest(report):
            make_safe(report, coloured=is_coloured(self._config))

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Make a warning safe, before pytest keeps its text and xdist sends it."""
        text = str(warning_message.message)
        safe = _safe(text)
        if safe != text:
            warning_message.message = Warning(safe)


def make_safe(report: pytest.TestReport, *, coloured: bool) -> None:
    """Escape and redact the texts of ``report``.

    Args:
        report: Pytest's report of a phase of a test, or of a subtest.
        coloured: Whether pytest colours what it compares, in the texts themselves.
    """
    report.sections = [(title, _safe(text)) for title, text in report.sections]
    report.longrepr = _mapped(report.longrepr, partial(_safe, coloured=coloured))
    if hasattr(report, "wasxfail"):
        report.wasxfail = _safe(report.wasxfail)
    if _is_of_subtest(report):
        vars(report)["context"] = _safe_context(report.context)
    vars(report)[_SAFE] = True


def _is_of_subtest(report: pytest.TestReport) -> bool:
    return hasattr(getattr(report, "context", None), "kwargs")


def _safe(text: str, *, coloured: bool = False) -> str:
    return printable_output(SECRETS.redact(text), coloured=coloured)


def _safe_context(context: Any) -> Any:
    """Return the name and the parameters of a subtest, each on one line."""
    safe = copy(context)
    for name, value in (("msg", context.msg), ("kwargs", context.kwargs)):
        # ruff: ignore[unnecessary-dunder-call]: it is frozen, and a new one would quote them again
        object.__setattr__(safe, name, _mapped(value, _safe_line))
    return safe


def _safe_line(text: str) -> str:
    return escaped_line(SECRETS.redact(text))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return ``value`` with its texts changed; the records of a traceback are changed in place."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _mapped(item, change) for name, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    if type(value) is tuple:
        return tuple(_mapped(item, change) for item in value)
    if dataclasses.is_dataclass(value):
        for name, item in vars(value).items():
            setattr(value, name, _mapped(item, change))
    return value
