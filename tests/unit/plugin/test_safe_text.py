from __future__ import annotations

import pytest

from pytest_mipro.plugin.options import OptionValue
from pytest_mipro.plugin.safe_text import safe_line, safe_text


def test_a_text_has_no_secret_and_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line has no line break, either."""
    monkeypatch.setenv("CANARY_API_KEY", "canary-safe-text-4711")
    text = "at postgresql://me:x1@db\n::error::canary-safe-text-4711 ##[group]\x1b[2J"
    shown = "at postgresql://me:***@db\n\\x3a:error::*** #\\x23[group]\\x1b[2J"
    assert safe_text(text) == shown
    assert safe_line(text) == shown.replace("\n", "\\n")


def test_a_refused_value_is_safe(pytester: pytest.Pytester) -> None:
    """The error of an option shows the value that the user wrote."""
    with pytest.raises(pytest.UsageError, match=r"^--x='#\\x23\[group\]a': expected b"):
        OptionValue("##[group]a", "--x", pytester.path).refuse("b")
