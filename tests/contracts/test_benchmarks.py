"""The benchmarks run and print their tables; how fast anything is, is not asserted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from forks import ForkServer

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
    "learning": (
        "auto",
        "predictors",
        "feedback",
        "optimizer",
        "runs",
        "task calls",
        "prompt calls",
        "start",
        "score",
        "ours higher by",
        "95% interval",
    ),
    "merges": ("what", "figure", "n", "without", "with", "should be"),
    "scale": (
        "latency ms",
        "executor",
        "workers",
        "in flight",
        "rows",
        "rows/s",
        "times one",
        "driver ms/row",
    ),
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
    "suites": (
        "rule",
        "tasks",
        "nights",
        "n",
        "tolerance",
        "false alarm, without",
        "false alarm, with",
        "loss found, without",
        "loss found, with",
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
        "warned",
        "detectable",
        "power",
        "decides",
        "val went up",
        "passes at once",
        "passes sequentially",
        "examples asked",
    ),
}

UNFORKED = frozenset({"scale", "startup"})
"""The benchmarks that start processes beside threads, or that measure imports."""

CREEP = """
import sys
import numpy as np
sys.path.append(sys.argv[1])
from benchmarks.merges import creep
rng = np.random.default_rng(0)
print(*(creep(rng, 100, guarded=guarded) for guarded in (False, True)))
"""


SMALL_TASKS = """
import sys
from collections import Counter
sys.path.append(sys.argv[1])
from benchmarks.small_tasks import TASKS
for make in TASKS.values():
    task = make()
    (text,), (label,) = task.signature.input_fields, task.signature.output_fields
    splits = [task.train, task.validation, task.held_out]
    phrases = Counter(phrase for split in splits for phrase in set(split.clusters))
    texts = Counter(example[text] for split in splits for example in split.examples)
    labels = [Counter(example[label] for example in split.examples) for split in splits]
    rarest = min(min(counts.values()) / max(counts.values()) for counts in labels)
    print(max(phrases.values()), max(texts.values()), rarest, len({*map(frozenset, labels)}))
"""


def test_small_losses_do_not_add_up() -> None:
    """Fifty merges that each lose a point lose most of it, or ten points with an anchor."""
    command = [sys.executable, "-c", CREEP, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    without, guarded = map(float, done.stdout.split())
    assert without > 0.4
    assert guarded <= 0.1


def test_small_tasks_hold_new_phrases_out() -> None:
    """No phrase is in two splits and no text is there twice; each split has all labels."""
    command = [sys.executable, "-c", SMALL_TASKS, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    for line in done.stdout.splitlines():
        phrases, texts, rarest, label_sets = map(float, line.split())
        assert (phrases, texts, label_sets) == (1, 1, 1)
        assert rarest > 0.6
    assert len(done.stdout.splitlines()) == 3


def quick_output(name: str, folder: Path, server: ForkServer | None) -> str:
    """Return what a benchmark prints with ``--quick``, without its imports where that is possible.

    Threads and processes that have imported nothing are what some are about.
    """
    script = ROOT / "benchmarks" / f"{name}.py"
    if server is None or name in UNFORKED:
        command = [sys.executable, str(script), "--quick"]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
    with (
        Path(os.devnull).open("rb") as nothing,
        (folder / "out").open("wb") as out,
        (folder / "err").open("wb") as err,
    ):
        streams = [stream.fileno() for stream in (nothing, out, err)]
        run = server.start(["--quick"], cwd=folder, env=os.environ, streams=streams, script=script)
        status = run.wait(120)
    assert status == 0, (folder / "err").read_text(encoding="utf-8")
    return (folder / "out").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TABLES)
def test_a_benchmark_prints_its_table(
    name: str, tmp_path: Path, fork_server: ForkServer | None
) -> None:
    """With ``--quick``, each benchmark ends well and prints full rows under every heading."""
    output = quick_output(name, tmp_path, fork_server)
    headings = ""
    for table in output.split("\n\n"):
        heading, rule, *rows = table.splitlines()
        headings += heading
        assert len(rows) >= 2
        assert all(len(row) == len(rule) for row in rows)
    for column in TABLES[name]:
        assert column in headings
    assert "timeout" not in output
