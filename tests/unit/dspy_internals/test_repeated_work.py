from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from dspy.adapters import utils
from dspy.clients import costs

from pytest_mipro.dspy_internals import quick_calls
from pytest_mipro.dspy_internals.repeated_work import SharedBlock
from pytest_mipro.dspy_internals.replacement import Replacement

if TYPE_CHECKING:
    from collections.abc import Callable


def slow() -> str:
    """Stand for a function."""
    return "slow"


def fast() -> str:
    """Stand for its replacement."""
    return "fast"


@pytest.fixture
def module() -> ModuleType:
    """Return a module that has imported ``slow``."""
    module = ModuleType("module")
    module.slow = slow  # type: ignore[attr-defined]
    return module


def test_the_last_of_several_blocks_restores_the_function(module: ModuleType) -> None:
    """Blocks may overlap, again and again, and end by an error."""
    block = SharedBlock(Replacement((module,), slow, fast))

    def fail() -> None:
        with block:
            with block:
                assert module.slow is fast
            assert module.slow is fast
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fail()
        assert module.slow is slow


def test_blocks_of_many_threads_restore_the_function(module: ModuleType) -> None:
    """In a block of any thread the function is replaced, and after all blocks it is not."""
    block = SharedBlock(Replacement((module,), slow, fast))

    def enter_and_leave() -> set[str]:
        results = set()
        for _ in range(200):
            with block:
                results.add(module.slow())
        return results

    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(enter_and_leave) for _ in range(8)]:
            assert future.result() == {"fast"}
    assert module.slow is slow


def test_all_functions_are_replaced() -> None:
    """The price list is cached, and adapters of simple types are prepared."""

    def present() -> tuple[Callable[..., object], Callable[..., object]]:
        return vars(costs)["model_info"], vars(utils)["TypeAdapter"]

    outside = present()
    with quick_calls():
        assert not set(outside) & set(present())
    assert present() == outside
