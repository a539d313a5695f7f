"""Make what DSPy and this package log safe before any handler, such as pytest's, shows it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pytest_mipro.plugin.safe_text import safe_text

if TYPE_CHECKING:
    from collections.abc import Callable

_PACKAGES = frozenset({"dspy", "litellm", "pytest_mipro"})
"""Packages that log texts of models and errors of providers."""
_FORMATTER = logging.Formatter()


def install_safe_logs() -> Callable[[], None]:
    """Escape and redact the log records of these packages from now on.

    Handlers are the wrong place: a live log, a captured log and a log file have one each, and
    DSPy another.

    Returns:
        A function that restores what was there.
    """
    create = logging.getLogRecordFactory()

    def create_safe(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = create(*args, **kwargs)
        if record.name.partition(".")[0].lower() in _PACKAGES:
            _make_safe(record)
        return record

    def restore() -> None:
        if logging.getLogRecordFactory() is create_safe:
            logging.setLogRecordFactory(create)

    logging.setLogRecordFactory(create_safe)
    return restore


def _make_safe(record: logging.LogRecord) -> None:
    try:
        text = record.getMessage()
    except (TypeError, ValueError, KeyError):
        return  # The arguments do not fit, which the handler reports as always.
    record.msg, record.args = safe_text(text), None
    if record.exc_info:
        record.exc_text = safe_text(_FORMATTER.formatException(record.exc_info))
