from __future__ import annotations

from pytest_mipro.evaluate.retry_policy import DEFAULT


def test_the_default_waits_for_minutes() -> None:
    """In CI a run survives some minutes of errors, and ends then."""
    waits = [
        min(DEFAULT.longest_wait, DEFAULT.first_wait * 2**attempt)
        for attempt in range(DEFAULT.attempts)
    ]

    assert 60 < sum(waits[:-1]) <= DEFAULT.total <= 600
