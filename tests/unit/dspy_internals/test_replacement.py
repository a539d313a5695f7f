from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import ModuleType

import pytest

from pytest_mipro.dspy_internals.replacement import Replacement, ReplacingBlock


def slow() -> str:
    """Stand for the function."""
    return "slow"


def fast() -> str:
    """Stand for its replacement."""
    return "fast"


@pytest.fixture
def modules() -> tuple[ModuleType, ModuleType]:
    """Return two modules that have imported ``slow``."""
    first, second = ModuleType("first"), ModuleType("second")
    first.slow = second.slow = slow  # type: ignore[attr-defined]
    return first, second


@pytest.fixture
def block(modules: tuple[ModuleType, ModuleType]) -> ReplacingBlock:
    """Return a block in which ``fast`` is in the place of ``slow``."""
    return ReplacingBlock(Replacement(modules, "slow", slow, fast))


def test_it_lasts_as_long_as_the_block(
    modules: tuple[ModuleType, ModuleType], block: ReplacingBlock
) -> None:
    """All modules have the replacement in the block, and the function after it, each time."""
    for _ in range(2):
        with block:
            assert [module.slow for module in modules] == [fast, fast]
        assert [module.slow for module in modules] == [slow, slow]


def test_an_error_restores_the_function(
    modules: tuple[ModuleType, ModuleType], block: ReplacingBlock
) -> None:
    """The function is back after a block that raises."""
    with pytest.raises(KeyError), block:
        raise KeyError
    assert modules[0].slow is slow


def test_the_last_of_several_blocks_restores_the_function(
    modules: tuple[ModuleType, ModuleType], block: ReplacingBlock
) -> None:
    """Overlapping blocks may end in any order."""
    first, second = ExitStack(), ExitStack()
    first.enter_context(block)
    second.enter_context(block)
    first.close()
    assert modules[0].slow is fast
    second.close()
    assert modules[0].slow is slow


def test_blocks_of_many_threads_restore_the_function(
    modules: tuple[ModuleType, ModuleType], block: ReplacingBlock
) -> None:
    """In a block of any thread the modules have the replacement, and after all blocks not."""

    def enter_and_leave() -> set[str]:
        results = set()
        for _ in range(200):
            with block:
                results |= {module.slow() for module in modules}
        return results

    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(enter_and_leave) for _ in range(8)]:
            assert future.result() == {"fast"}
    assert [module.slow for module in modules] == [slow, slow]


def test_another_replacement_stays(
    modules: tuple[ModuleType, ModuleType], block: ReplacingBlock
) -> None:
    """A function that other code has put in its place stays before, in and after a block."""
    first, second = modules
    first.slow = str  # type: ignore[attr-defined]
    with block:
        assert first.slow is str
        second.slow = int  # type: ignore[attr-defined]
    assert (first.slow, second.slow) == (str, int)


def test_a_module_without_the_function_does_not_change() -> None:
    """A version of DSPy that imports it elsewhere is slow, and works."""
    module = ModuleType("other")
    attributes = dict(vars(module))
    with ReplacingBlock(Replacement((module,), "slow", slow, fast)):
        assert vars(module) == attributes
    assert vars(module) == attributes
