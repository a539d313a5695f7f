from __future__ import annotations

import pytest

from pytest_mipro.records import Usage
from pytest_mipro.report.formatting import calls, cost, duration, money, shortened


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0.04, "0.0 s"),
        (12.6, "12.6 s"),
        (75, "1 min 15 s"),
        (3600, "1 h 0 min"),
        (5430, "1 h 30 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    """A longer time has a coarser unit."""
    assert duration(seconds) == words


@pytest.mark.parametrize(
    "usage, texts",
    [
        (Usage(), ("0 LM calls", "$0", "$0")),
        (Usage(1, priced=1, usd=0.5), ("1 LM call", "$0.5000", "$0.5000")),
        (Usage(1234), ("1,234 LM calls", "cost unknown", "unknown")),
    ],
)
def test_usage(usage: Usage, texts: tuple[str, str, str]) -> None:
    """One call is in the singular, and an unknown cost is not zero."""
    assert (calls(usage), cost(usage), money(usage)) == texts


def test_a_long_text_is_shortened() -> None:
    """A shortened text has the given length and ends in an ellipsis."""
    assert [shortened("abcd", most) for most in (5, 4, 3)] == ["abcd", "abcd", "ab…"]
