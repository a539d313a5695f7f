from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_mipro.errors import BudgetExceeded
from pytest_mipro.records import Usage
from pytest_mipro.spending.account import Account
from pytest_mipro.spending.limits import Limit
from pytest_mipro.spending.shared_spending import SharedSpending

if TYPE_CHECKING:
    from pathlib import Path


def test_processes_share_the_limit_of_an_account(tmp_path: Path) -> None:
    """The spending of one process counts in another; a file of another format does not."""
    limit = Limit("calls", 3, "--mipro-max-calls")
    first, second = (
        Account([limit], shared_spending=SharedSpending(tmp_path, name)) for name in ("a", "b")
    )
    (tmp_path / "c.spent").write_text("half")
    first.charge("search", "m", Usage(1, 10, 2))
    second.charge("search", "m", Usage(1, 10, 2))
    first.admit()
    second.charge("search", "m", Usage(1, 10, 2))
    for account in (first, second):
        with pytest.raises(BudgetExceeded):
            account.admit()
