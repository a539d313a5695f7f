from __future__ import annotations

from typing import TYPE_CHECKING

from dspy.adapters import utils
from dspy.clients import costs

from pytest_mipro.dspy_internals import quick_calls

if TYPE_CHECKING:
    from collections.abc import Callable


def test_all_functions_are_replaced() -> None:
    """The price list is cached, and adapters of simple types are prepared."""

    def present() -> tuple[Callable[..., object], Callable[..., object]]:
        return vars(costs)["model_info"], vars(utils)["TypeAdapter"]

    outside = present()
    with quick_calls():
        assert not set(outside) & set(present())
    assert present() == outside
