from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_mipro.plugin.migration import MIGRATION, skip_measured
from pytest_mipro.records import Migration, PairedComparison, Scorecard, Usage

COMPARISON = PairedComparison(1, 0, 0, 0, 0, 0, 1, 1, 0, 0.95, "exact")
CARD = Scorecard(("a",), (0.0,), Usage())
MEASURED = Migration(
    *("old", "new", "model old -> \x1b[2Jnew", CARD, CARD, CARD),
    *(COMPARISON, COMPARISON, COMPARISON, Usage(), Usage(), "pytest --mipro"),
)


def test_a_measured_test_is_skipped() -> None:
    """What was measured is kept for the reports; names of models are shown as text."""
    node: Any = SimpleNamespace(stash=pytest.Stash())
    with pytest.raises(pytest.skip.Exception, match=r"measured model old -> [^\x1b]*new$"):
        skip_measured(node, MEASURED)
    assert node.stash[MIGRATION] == MEASURED
