from __future__ import annotations

from pytest_mipro.records import Verdict
from pytest_mipro.session.deferred_fail import DeferredFail

FAIL = Verdict("no_regression", "FAIL", "worse", None, p_fail=0.01)


def test_an_assert_on_a_deferred_fail_holds_and_is_noted() -> None:
    """The record of a FAIL that no assert depends on is that of a FAIL as usual."""
    deferred = DeferredFail.of(FAIL)
    assert repr(deferred) == "FAIL: worse"
    assert deferred.plain() == FAIL
    assert deferred
    assert deferred.plain() == Verdict(
        "no_regression", "FAIL", "worse", None, p_fail=0.01, deferred=True
    )
    assert not FAIL
