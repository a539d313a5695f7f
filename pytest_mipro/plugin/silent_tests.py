"""Fail the tests that declare a task and pass without its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_mipro.plugin.declaration import UNUSED_MARKER, has_own_marker
from pytest_mipro.plugin.state import OUTCOME

if TYPE_CHECKING:
    from collections.abc import Generator


class SilentTests:
    """The hook that finds them once they have passed.

    At collection nobody knows: a test that has ``request``, or a fixture that has
    it, may ask for the outcome or not.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail a test that has the marker itself; those of a marked class need not judge."""
        result = yield
        if OUTCOME not in item.stash and has_own_marker(item):
            pytest.fail(f"mipro: {UNUSED_MARKER}", pytrace=False)
        return result
