from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.plugin.unasserted import dropped_verdict_warning

if TYPE_CHECKING:
    from collections.abc import Callable


def bare(mipro: Any) -> None:
    """Drop a verdict."""
    if mipro.compiled.score:
        mipro.no_regression(tolerance=0.02)


def asserted(mipro: Any) -> None:
    """Assert on a verdict."""
    assert mipro.beats_baseline()
    mipro.compiled.program(question="?")


def named(mipro: Any) -> None:
    """Show a verdict."""
    verdict = mipro.costs_no_more()
    mipro.show(verdict)


def raising(mipro: Any) -> None:
    """Expect an error instead of a verdict."""
    with pytest.raises(ValueError, match="x"):
        mipro.no_regression()


def test_a_dropped_verdict_is_named() -> None:
    """The warning has the line and what to write."""
    warning = dropped_verdict_warning(bare)
    line = bare.__code__.co_firstlineno + 3
    assert warning.startswith(f"line {line} asks for no_regression() and asserts nothing")
    assert "write `assert mipro.no_regression(tolerance=0.02)`, or" in warning


@pytest.mark.parametrize("function", [asserted, named, raising, len, None])
def test_a_verdict_that_is_used_is_no_reason(function: Callable[..., object] | None) -> None:
    """Nor is a test without a source."""
    assert not dropped_verdict_warning(function)
