from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.records import Usage
from pytest_mipro.spending import Account, Limit, Shares

if TYPE_CHECKING:
    from pytest_mipro.spending.shares import Share


def account_of(most: float, unit: str = "calls") -> Account:
    """Return an account with one limit."""
    return Account([Limit(unit, most, unit)])  # type: ignore[arg-type]


def spend(account: Account, calls: int) -> None:
    """Charge so many calls."""
    for _ in range(calls):
        account.charge("search", "m", Usage(1, 10, 10))


def test_rows_in_flight_share_what_is_left() -> None:
    """All shares together are no more than the account has."""
    shares, account = Shares(4), account_of(10)
    with ExitStack() as rows:
        limits = [rows.enter_context(shares.share(account))[0] for _ in range(4)]
    assert [limit.most for limit in limits] == [3, 3, 2, 2]


def test_what_a_row_leaves_is_shared_again() -> None:
    """Its calls are charged before its share is free."""
    shares, account = Shares(2), account_of(10)
    with shares.share(account) as (first,):
        with shares.share(account) as (second,):
            spend(account, 1)
        with shares.share(account) as (third,):
            assert [limit.most for limit in (first, second, third)] == [5, 5, 4]


def test_a_row_waits_for_the_shares_of_others() -> None:
    """It begins once a row has returned what it did not need."""
    shares, account, began = Shares(1), account_of(1), threading.Event()

    def begin() -> None:
        with shares.share(account):
            began.set()

    with shares.share(account):
        thread = threading.Thread(target=begin)
        thread.start()
        assert not began.wait(0.05)
    assert began.wait(5)
    thread.join()


def test_a_share_that_was_not_enough_is_followed_by_a_larger_one() -> None:
    """It doubles, up to all that is left; then the budget is spent."""
    shares, account = Shares(8), account_of(20)
    share: Share = ()
    amounts = []
    for _ in range(3):
        with shares.share(account, share) as share:
            amounts.append(share[0].most)
            spend(account, int(share[0].most))
    assert amounts == [3, 6, 11]
    with pytest.raises(BudgetExceeded), shares.share(account, share):
        pass


def test_a_share_is_enough_for_a_row_like_those_before() -> None:
    """Rows wait rather than begin with less."""
    shares, account = Shares(4), account_of(12)
    shares.record(Usage(calls=5))
    with shares.share(account) as (first,), shares.share(account) as (second,):
        assert (first.most, second.most) == (5, 5)


def test_time_is_not_divided() -> None:
    """It passes for all rows alike."""
    shares, account = Shares(2), account_of(60, "seconds")
    with shares.share(account) as (first,), shares.share(account) as (second,):
        assert first.most == pytest.approx(60, abs=5)
        assert second.most == pytest.approx(60, abs=5)


def test_without_a_limit_there_are_no_shares() -> None:
    """Any number of calls may begin."""
    with Shares(1).share(Account()) as share, Shares(1).share(None) as none:
        assert (share, none) == ((), ())
