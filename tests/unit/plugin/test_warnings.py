"""The line that a warning points at."""

from __future__ import annotations

import inspect
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_mipro import MiproWarning
from pytest_mipro.plugin.warnings import warn_about

if TYPE_CHECKING:
    from collections.abc import Generator

HELPER = compile("def call(function, *arguments):\n    function(*arguments)\n", "helper.py", "exec")


@pytest.fixture
def recorded() -> Generator[list[warnings.WarningMessage]]:
    """Record all warnings of a test."""
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        yield records


def test_the_line_of_the_test_that_runs(
    request: pytest.FixtureRequest, recorded: list[warnings.WarningMessage]
) -> None:
    """The warning points at the call in the test, not at frames of other files."""
    helper: dict[str, object] = {}
    exec(HELPER, helper)
    line = inspect.getframeinfo(sys._getframe()).lineno + 1
    helper["call"](warn_about, request.node, "text")  # type: ignore[operator]
    (warning,) = recorded
    assert (warning.category, str(warning.message)) == (MiproWarning, "text")
    assert (warning.filename, warning.lineno) == (__file__, line)


def test_the_line_of_the_definition_during_set_up(
    request: pytest.FixtureRequest,
    recorded: list[warnings.WarningMessage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a frame of the test's file, the warning points at the test."""
    monkeypatch.setattr(request.node, "path", Path("without_a_frame.py"))
    warn_about(request.node, "text")
    (warning,) = recorded
    assert (warning.category, str(warning.message)) == (MiproWarning, "text")
    assert "test_warnings.py" in warning.filename


@pytest.mark.parametrize("path", [Path(__file__), Path("without_a_frame.py")])
def test_a_filter_that_makes_it_an_error_is_named(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """The exception has the advice, says why it is one, and what keeps it a warning."""
    monkeypatch.setattr(request.node, "path", path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MiproWarning) as caught:
            warn_about(request.node, "text")
    advice, reason = str(caught.value).split("\n")
    assert advice == "text"
    assert "a filter" in reason
    assert "default::pytest_mipro.MiproWarning" in reason
