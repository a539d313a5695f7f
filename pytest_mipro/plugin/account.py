"""The account of a session: the limits of all its tasks, in all its processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.plugin.xdist import shared_folder, worker_id
from pytest_mipro.spending import Account, Limit, Price, Prices, SharedSpending

if TYPE_CHECKING:
    import pytest

    from pytest_mipro.plugin.settings import Settings


def account_of(config: pytest.Config, settings: Settings) -> Account:
    """Return the account of the session of ``config``; the workers of xdist share one."""
    limits = []
    if settings.max_calls is not None:
        limits.append(Limit("calls", settings.max_calls, "--mipro-max-calls"))
    if settings.max_cost is not None:
        limits.append(Limit("usd", settings.max_cost, "--mipro-max-cost"))
    prices = Prices({model: Price(*price) for model, price in settings.prices.items()})
    return Account(limits, prices=prices, shared_spending=_shared_spending(config))


def _shared_spending(config: pytest.Config) -> SharedSpending | None:
    folder = shared_folder(config)
    return None if folder is None else SharedSpending(folder, worker_id(config))
