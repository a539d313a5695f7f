from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import ModuleType

import pytest

from pytest_mipro.dspy_internals.replacement import Replacement


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


class TestReplacement:
    def test_it_lasts_as_long_as_the_block(self, modules: tuple[ModuleType, ModuleType]) -> None:
        """All modules have the replacement in the block, and the function after it."""
        with Replacement(modules, slow, fast).active():
            assert [module.slow for module in modules] == [fast, fast]
        assert [module.slow for module in modules] == [slow, slow]

    def test_an_error_restores_the_function(self, modules: tuple[ModuleType, ModuleType]) -> None:
        """The function is back after a block that raises."""
        replacement = Replacement(modules, slow, fast)
        with pytest.raises(KeyError), replacement.active():
            raise KeyError
        assert modules[0].slow is slow

    def test_the_last_of_several_blocks_restores_the_function(
        self, modules: tuple[ModuleType, ModuleType]
    ) -> None:
        """Overlapping blocks may end in any order."""
        replacement = Replacement(modules, slow, fast)
        first, second = ExitStack(), ExitStack()
        first.enter_context(replacement.active())
        second.enter_context(replacement.active())
        first.close()
        assert modules[0].slow is fast
        second.close()
        assert modules[0].slow is slow

    def test_blocks_of_many_threads_restore_the_function(
        self, modules: tuple[ModuleType, ModuleType]
    ) -> None:
        """In a block of any thread the modules have the replacement, and after all blocks not."""
        replacement = Replacement(modules, slow, fast)

        def enter_and_leave() -> set[str]:
            results = set()
            for _ in range(200):
                with replacement.active():
                    results |= {module.slow() for module in modules}
            return results

        with ThreadPoolExecutor(8) as threads:
            for future in [threads.submit(enter_and_leave) for _ in range(8)]:
                assert future.result() == {"fast"}
        assert [module.slow for module in modules] == [slow, slow]

    def test_another_replacement_stays(self, modules: tuple[ModuleType, ModuleType]) -> None:
        """A function that other code has put in its place stays before, in and after a block."""
        first, second = modules
        first.slow = str  # type: ignore[attr-defined]
        with Replacement(modules, slow, fast).active():
            assert first.slow is str
            second.slow = int  # type: ignore[attr-defined]
        assert (first.slow, second.slow) == (str, int)

    def test_a_module_without_the_function_does_not_change(self) -> None:
        """A version of DSPy that imports it elsewhere is slow, and works."""
        module = ModuleType("other")
        attributes = dict(vars(module))
        with Replacement((module,), slow, fast).active():
            assert vars(module) == attributes
        assert vars(module) == attributes
