from __future__ import annotations

import pytest

from pytest_mipro.task.listing import counted, listed


@pytest.mark.parametrize("count, words", [(0, "0 rows"), (1, "1 row"), (2, "2 rows")])
def test_items_are_counted(count: int, words: str) -> None:
    """The noun is in the plural unless there is one item."""
    assert counted(["item"] * count, "row") == words


@pytest.mark.parametrize("count, hidden", [(1, ""), (3, ""), (5, "\n  … and 2 more")])
def test_the_first_lines_are_listed(count: int, hidden: str) -> None:
    """A list has three lines at most, and the number of the rest."""
    assert listed(["a"] * count) == "\n  a" * min(count, 3) + hidden
