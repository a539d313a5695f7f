"""The fixture ``mipro_executor``: rows run in other processes, and nothing else changes."""

from __future__ import annotations

import importlib
import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from compiles import TwoStep, average_lm, compiled, dumped, small_optimizer
from distributed import Client, LocalCluster
from documentation import block
from executors import Killing, calls_in, logged_lm, running_pool
from project import CONFTEST
from sums import evaluate, sums

from pytest_mipro.store import Store
from pytest_mipro.task import ExecutorSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from project import Project


# Before pytester looks at which modules are loaded: a scheduler in this process loads it, too.
importlib.import_module("pytest_mipro.evaluate.worker")

THIS_CLUSTER = """
from types import SimpleNamespace

def LocalCluster(**options):
    return SimpleNamespace(close=lambda: None, scheduler_address={address!r})
"""
"""The cluster of the tests in place of one that a conftest file would start."""
TESTS = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

SMALL = {split: rows[:24] for split, rows in DATASET.items()}
OPTIONS = dict(auto=None, num_candidates=2, num_trials=2, minibatch_size=10)

@mipro_optimize(program=Adder, metric=right, dataset=SMALL, **OPTIONS)
def test_adder(mipro):
    assert mipro.compiled.score > mipro.baseline.score

@mipro_optimize(program=Adder, metric=right, dataset=SMALL, **OPTIONS)
def test_adder_again(mipro):
    assert mipro.compiled.score > mipro.baseline.score
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Return a cluster of Dask with two processes."""
    with LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address=":0", silence_logs=50
    ) as running:
        yield running


@pytest.fixture
def parallel(project: Project) -> Project:
    """Return a project with two tests of one task."""
    project.write(test_adder=TESTS)
    return project


def accepted_file(project: Project) -> bytes:
    """Return the accepted program, and remove what the run has kept."""
    (file, *_) = sorted((project.path / "__mipro__").rglob("*.program.json"))
    content = file.read_bytes()
    for folder in ("__mipro__", ".mipro"):
        shutil.rmtree(project.path / folder)
    return content


def test_the_workers_of_xdist_share_a_cluster(parallel: Project, cluster: LocalCluster) -> None:
    """One of them compiles; calls and artifact are those of threads, byte for byte."""
    this_cluster = THIS_CLUSTER.format(address=cluster.scheduler_address)
    documented = block("conftest of a cluster for xdist")
    parallel.write(conftest=CONFTEST + documented + this_cluster)
    result = parallel.run("--mipro", "--mipro-update", "-n", "2", "--mipro-threads=4")
    result.assert_outcomes(passed=2)
    assert str(result.stdout).count("compiling: ") == 1
    program, calls = accepted_file(parallel), parallel.calls
    parallel.write(conftest=CONFTEST)
    parallel.run("--mipro", "--mipro-update").assert_outcomes(passed=2)
    assert (accepted_file(parallel), parallel.calls) == (program, 2 * calls)


def test_the_artifact_is_the_same_everywhere(cluster: LocalCluster) -> None:
    """Threads, processes and a cluster compile the same program with the same calls."""
    with running_pool() as pool, Client(cluster) as client:
        results = []
        for executor in (None, pool, client.get_executor(pure=False)):
            optimizer = small_optimizer(average_lm(), executor=executor)
            results.append((dumped(compiled(optimizer, TwoStep())), optimizer.usage))
    assert results == [results[0]] * 3
    assert results[0][1].calls > 50


def test_what_cannot_cross_is_an_error(parallel: Project, cluster: LocalCluster) -> None:
    """It names the object, before any call."""
    documented = block("conftest of a cluster")
    address = documented.replace("tcp://SCHEDULER:8786", cluster.scheduler_address)
    parallel.write(conftest=CONFTEST + address)
    program = (parallel.path / "program.py").read_text("utf-8")
    locked = program.replace("super().__init__()", "super().__init__(); self.lock = LOCK")
    parallel.write(program=f"import threading\nLOCK = threading.Lock()\n{locked}")
    result = parallel.run("--mipro")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["*the program Adder.lock (lock) cannot be sent to the executor: TypeError: cannot*"]
    )
    assert parallel.calls == 0


def test_a_killed_worker_of_a_cluster_is_replaced(cluster: LocalCluster, tmp_path: Path) -> None:
    """Its rows run again on another one."""
    program, lm = Killing(tmp_path, "2 + 1", kills=1), logged_lm(tmp_path / "log")
    with Client(cluster) as client:
        source = ExecutorSource(client.get_executor(pure=False))
        with closing(Store.in_memory()) as store:
            rows = evaluate(program, sums(6), store, executor=source, lm=lm)
    assert [row.score for row in rows] == [1.0] * 6
    assert calls_in(tmp_path / "log") >= 6
