from __future__ import annotations

import warnings
from typing import Any

import pytest
from ci_commands import commands, control_characters

from pytest_mipro.plugin.safe_report import SafeReports, make_safe

HOSTILE = "\n::error::x ##[group]y\x1b[2J"
TEST = """
import pytest

def test_raises():
    print(HOSTILE)
    try:
        raise KeyError(HOSTILE)
    except KeyError as error:
        raise ValueError(HOSTILE) from error

def test_asserts():
    answer = HOSTILE
    assert answer + "a" == answer + "b"

def test_fails():
    pytest.fail(HOSTILE, pytrace=False)

def test_skips():
    pytest.skip(HOSTILE)
"""


@pytest.mark.parametrize("style", ["long", "short", "native", "line"])
def test_a_report_is_safe(pytester: pytest.Pytester, style: str) -> None:
    """With each kind of traceback, in all that pytest may print of it."""
    pytester.makepyfile(f"HOSTILE = {HOSTILE!r}\n{TEST}")
    run = pytester.inline_run("--tb", style, "-l", "-p", "no:cacheprovider")
    reports = run.getreports("pytest_runtest_logreport")
    reports = [report for report in reports if report.when == "call"]
    assert len(reports) == TEST.count("def test_")
    for report in reports:
        assert commands(texts(report)) != [], report.nodeid
        make_safe(report, coloured=False)
        assert "error::x" in texts(report)
        assert commands(texts(report)) == [], report.nodeid
        assert control_characters(texts(report)) == set(), report.nodeid


@pytest.mark.parametrize(
    "text, shown",
    [
        (HOSTILE, "\n\\x3a:error::x #\\x23[group]y\\x1b[2J"),
        ("no answer from https://me:hunter22@host/", "no answer from https://me:***@host/"),
    ],
)
def test_a_warning_is_safe(pytestconfig: pytest.Config, text: str, shown: str) -> None:
    """It keeps its category, which pytest shows."""
    message = warnings.WarningMessage(UserWarning(text), UserWarning, "test_x.py", 1)
    SafeReports(pytestconfig).pytest_warning_recorded(message)
    assert str(message.message) == shown
    assert message.category is UserWarning


def test_a_warning_that_is_safe_stays(pytestconfig: pytest.Config) -> None:
    """Other plugins may look at its attributes."""
    warning = UserWarning("few rows", 3)
    message = warnings.WarningMessage(warning, UserWarning, "test_x.py", 1)
    SafeReports(pytestconfig).pytest_warning_recorded(message)
    assert message.message is warning


def texts(report: Any) -> str:
    """Return what pytest may print of a report."""
    longrepr = report.longrepr
    parts = [str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr or "")]
    if crash := getattr(longrepr, "reprcrash", None):
        parts.append(crash.message)
    return "\n".join([*parts, *(text for _, text in report.sections)])
