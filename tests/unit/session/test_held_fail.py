from __future__ import annotations

from pytest_mipro.records import Verdict
from pytest_mipro.session.held_fail import HeldFail

FAIL = Verdict("no_regression", "FAIL", "worse", None, p_fail=0.01)


def test_an_assert_on_a_held_fail_holds_and_is_noted() -> None:
    """The record of a FAIL that no assert depends on is that of a FAIL as usual."""
    held = HeldFail.of(FAIL)
    assert repr(held) == "FAIL: worse"
    assert held.plain() == FAIL
    assert held
    assert held.plain() == Verdict("no_regression", "FAIL", "worse", None, p_fail=0.01, held=True)
    assert not FAIL
