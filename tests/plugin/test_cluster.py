"""``cluster=``: the verdict counts clusters of examples that are not independent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from project import MANY_ROWS

if TYPE_CHECKING:
    from project import Project

TEST = """
import dspy
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

SPLITS = {
    name: [
        dspy.Example(**row, document=f"{name} {index // 4}").with_inputs("question")
        for index, row in enumerate(rows)
    ]
    for name, rows in DATASET.items()
}

@mipro_optimize(program=Adder, metric=right, dataset=SPLITS, cluster="document")
def test_adder(mipro):
    assert len(set(mipro.compiled.card.clusters)) == 15
    assert mipro.beats_baseline()
    assert mipro.no_regression(tolerance=0.5)
"""


def test_the_verdict_counts_clusters(project: Project) -> None:
    """Both verdicts name the number of clusters, with ``--mipro-frozen``, too."""
    project.write(program=MANY_ROWS, test_adder=TEST)
    project.run("--mipro", "--mipro-update").assert_outcomes(passed=1)
    for flags in ((), ("--mipro-frozen",)):
        result = project.run("--mipro", "-v", *flags)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(
            [
                "*beats baseline: PASS: *sign-flip*, n = 60 in 15 clusters; *number of clusters",
                "*no regression: PASS: *, n = 60 in 15 clusters*",
            ]
        )
