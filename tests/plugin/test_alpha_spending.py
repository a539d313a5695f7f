"""``mipro_alpha_spending`` and ``alpha_spending=`` let all looks at some examples share alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project

TEST = """
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

@pytest.mark.parametrize("weight", [1, 0.5])
@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH{declared})
def test_adder(mipro, weight):
    assert mipro.task.alpha_spending is {expected}
    assert mipro.beats_baseline()
"""


@pytest.mark.parametrize(
    "declared, ini, expected",
    [
        ("", "false", False),
        ("", "true", True),
        (", alpha_spending=False", "true", False),
        (", alpha_spending=True", "false", True),
    ],
)
def test_the_declaration_wins_over_the_ini_option(
    compiled: Project, declared: str, ini: str, expected: bool
) -> None:
    """The verdict says how much of alpha the look may spend; two tests of a task look once."""
    compiled.write(test_adder=TEST.format(declared=declared, expected=expected))
    result = compiled.run("--mipro", "-v", "-o", f"mipro_alpha_spending={ini}")
    result.assert_outcomes(passed=2)
    spending = "a PASS needs p < 0.025 at look 1, of alpha = 0.05 for all looks; "
    verdict = f"  beats baseline: PASS: {spending if expected else ''}compiled 0.*"
    result.stdout.fnmatch_lines([verdict, "*", verdict])
