"""The session's account: what all its tasks together may spend, in all its processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.plugin.xdist import shared_folder
from pytest_mipro.spending import Account, Limit, Price, Prices, SharedSpending

if TYPE_CHECKING:
    import pytest

    from pytest_mipro.plugin.options import Settings


def account_of(config: pytest.Config, settings: Settings) -> Account:
    """Return the account of ``config``'s session; xdist's workers share theirs."""
    limits = []
    if settings.max_calls is not None:
        limits.append(Limit("calls", settings.max_calls, "--mipro-max-calls"))
    if settings.max_cost is not None:
        limits.append(Limit("usd", settings.max_cost, "--mipro-max-cost"))
    prices = Prices({model: Price(*each) for model, each in settings.prices.items()})
    return Account(limits, prices=prices, elsewhere=_elsewhere(config))


def _elsewhere(config: pytest.Config) -> SharedSpending | None:
    folder = shared_folder(config)
    if folder is None:
        return None
    return SharedSpending(folder, str(getattr(config, "workerinput", {}).get("workerid")))
