from __future__ import annotations

from typing import TYPE_CHECKING

from dspy._vendor.lm15.transports import _proxy
from dspy.adapters import utils
from dspy.clients import costs

from pytest_mipro.dspy_internals import quick_calls

if TYPE_CHECKING:
    from collections.abc import Callable


def test_all_functions_are_replaced() -> None:
    """The price list is cached, simple types are prepared, and proxies are found quickly."""

    def present() -> tuple[Callable[..., object], ...]:
        return vars(costs)["model_info"], vars(utils)["TypeAdapter"], vars(_proxy)["getproxies"]

    outside = present()
    with quick_calls():
        assert not set(outside) & set(present())
    assert present() == outside
