from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pytest_mipro.errors import DeclarationError
from pytest_mipro.task import ExecutorSource


def test_an_executor_belongs_to_its_user() -> None:
    """It is neither replaced nor shut down."""
    with ThreadPoolExecutor(1) as pool:
        source = ExecutorSource.of(pool)
        assert source is not None
        source.discard(pool)
        source.close()
        assert source.current() is pool
        assert pool.submit(int).result() == 0


def test_a_function_makes_executors() -> None:
    """One at a time; a broken one is replaced, and closing shuts the present one down."""
    source = ExecutorSource.of(lambda: ThreadPoolExecutor(1))
    assert source is not None
    first = source.current()
    assert source.current() is first
    source.discard(first)
    second = source.current()
    assert second is not first
    source.discard(first)
    assert source.current() is second
    source.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        second.submit(int)


@pytest.mark.parametrize("spec", [3, "dask", [ThreadPoolExecutor]], ids=repr)
def test_other_values_are_refused(spec: Any) -> None:
    """The error shows the value, and what would do."""
    with pytest.raises(DeclarationError, match=r"expected a concurrent\.futures\.Executor"):
        ExecutorSource.of(spec)


def test_a_function_that_makes_none() -> None:
    """The error shows what it returned."""
    source = ExecutorSource.of(lambda: "pool")
    assert source is not None
    with pytest.raises(DeclarationError, match="returned 'pool'; expected"):
        source.current()


def test_none_is_threads() -> None:
    """There is no source then, and a source stays itself."""
    source = ExecutorSource.of(int)
    assert ExecutorSource.of(None) is None
    assert ExecutorSource.of(source) is source
