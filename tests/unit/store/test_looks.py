from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.records import Look

if TYPE_CHECKING:
    from pytest_mipro.store import Store

pytestmark = pytest.mark.uses("sqlalchemy")


def look(key: str, *, number: int = 1, held_out: str = "set", test: str = "test") -> Look:
    """Return a look at two examples."""
    return Look(key, number, "run", 9, (key,), test, held_out, ("a", "b"))


def test_looks_are_related_by_examples_or_test(store: Store) -> None:
    """Looks of any test at the set, and of the test at any set, are returned once each."""
    same_set, same_test = look("x", test="other"), look("y", held_out="other")
    same, neither = look("z"), look("w", held_out="other", test="other")
    store.looks.put(same_set, same_test, same, neither)
    assert store.looks.related("set", "test") == {"x": same_set, "y": same_test, "z": same}
    assert store.looks.related("nothing", "nothing") == {}


def test_a_look_is_recorded_once(store: Store) -> None:
    """The first number of a look stays, whichever of several writers comes first."""
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: store.looks.put(look("x", number=number)), range(1, 9)))
    (stored,) = store.looks.related("set", "test").values()
    store.looks.put(look("x", number=99))
    assert store.looks.related("set", "test") == {"x": stored}


def test_a_test_with_an_odd_name_has_looks(store: Store) -> None:
    """A name that is no valid Unicode is found again."""
    store.looks.put(look("x", test="test_\udc80.py::test"))
    assert set(store.looks.related("nothing", "test_\udc80.py::test")) == {"x"}
