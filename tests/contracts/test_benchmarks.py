"""The benchmarks run and print their tables; how fast anything is, is not asserted."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TABLES = {
    "budgets": (
        "tasks",
        "calls/bound",
        "highest",
        "over bound",
        "cut",
        "refused",
        "calls/budget",
        "over budget",
        "in flight",
    ),
    "compile_speed": (
        "auto",
        "predictors",
        "threads",
        "optimizer",
        "calls",
        "wall s",
        "limit s",
        "wall/limit",
        "cpu s",
        "held-out",
        "dspy/ours",
    ),
    "merges": ("what", "figure", "n", "without", "with", "should be"),
    "search_quality": (
        "over",
        "runs",
        "dspy calls",
        "our calls",
        "ratio",
        "dspy score",
        "our score",
        "difference",
        "95% interval",
    ),
    "startup": (
        "session",
        "bytecode",
        "runs",
        "ms",
        "cpu ms",
        "beside",
        "beside cpu",
        "ratio",
        "cpu ratio",
        "limit",
    ),
    "store": (
        "rows in store",
        "what",
        "times",
        "ms each",
        "cpu ms",
        "limit ms",
        "ms/limit",
    ),
    "verdicts": (
        "scores",
        "rollouts",
        "clusters",
        "n",
        "false pass",
        "false block",
        "covered",
        "lost, pass",
        "lost, block",
        "lost, covered",
        "detectable",
        "power",
        "val went up",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_benchmark_prints_its_table(name: str, tmp_path: Path) -> None:
    """With ``--quick``, each benchmark ends well and prints a full row under every heading."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--quick"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    heading, rule, *rows = done.stdout.splitlines()
    for column in TABLES[name]:
        assert column in heading
    assert len(rows) >= 2
    assert all(len(row) == len(rule) for row in rows)
    assert "timeout" not in done.stdout
