"""The fixture ``mipro_executor``: rows run in other processes, and nothing else changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from distributed import Client, LocalCluster
from executors import Killing, calls_in, logged_lm
from project import CONFTEST
from sums import evaluate, sums

from pytest_mipro.task import ExecutorSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from project import Project

    from pytest_mipro.store import Store

EXECUTORS = """
import os
from executors import running_pool

@pytest.fixture(scope="session")
def mipro_executor():
    kind = os.environ.get("EXECUTOR", "")
    if kind == "processes":
        with running_pool() as pool:
            yield pool
    elif kind:
        from distributed import Client
        with Client(kind) as client:
            yield client.get_executor(pure=False)
    else:
        yield None
"""
TWO_TESTS = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

@mipro_optimize(program=Adder, metric=right, dataset=DATASET)
def test_adder(mipro):
    assert mipro.beats_baseline()

@mipro_optimize(program=Adder, metric=right, dataset=DATASET)
def test_adder_again(mipro):
    assert mipro.beats_baseline()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Return a cluster of Dask with two processes."""
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=2, dashboard_address=None, silence_logs=50
    ) as running:
        yield running


@pytest.fixture
def parallel(project: Project) -> Project:
    """Return a project whose rows run where a variable says."""
    project.write(conftest=CONFTEST + EXECUTORS)
    return project


def compiled(project: Project, *flags: str) -> tuple[bytes, int]:
    """Compile and accept from nothing; return the program's file, and the calls."""
    calls = project.calls
    store = project.path / f"store-{calls}.db"
    result = project.run("--mipro", "--mipro-update", f"--mipro-store=sqlite:///{store}", *flags)
    result.assert_outcomes(passed=1)
    (file,) = (project.path / "__mipro__").rglob("*.program.json")
    content = file.read_bytes()
    file.unlink()
    return content, project.calls - calls


def test_the_artifact_is_the_same_everywhere(
    parallel: Project, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads, processes and a cluster make the same calls and the same bytes."""
    results = []
    for executor in ("", "processes", cluster.scheduler_address):
        monkeypatch.setenv("EXECUTOR", executor)
        results.append(compiled(parallel, "--mipro-threads=4"))
    assert results == [results[0]] * 3


def test_workers_of_xdist_share_a_cluster(
    parallel: Project, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them compiles there, and the other takes the result."""
    monkeypatch.setenv("EXECUTOR", cluster.scheduler_address)
    parallel.write(test_adder=TWO_TESTS)
    result = parallel.run("--mipro", "-n", "2")
    result.assert_outcomes(passed=2)
    calls = parallel.calls
    monkeypatch.delenv("EXECUTOR")
    parallel.run("--mipro", "--mipro-refresh", "-p", "no:xdist").assert_outcomes(passed=2)
    assert calls == parallel.calls - calls + 0 or calls > 0


def test_what_cannot_cross_is_an_error(
    parallel: Project, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the object, before any call."""
    monkeypatch.setenv("EXECUTOR", cluster.scheduler_address)
    program = (parallel.path / "program.py").read_text("utf-8")
    locked = program.replace("super().__init__()", "super().__init__(); self.lock = LOCK")
    parallel.write(program=f"import threading\nLOCK = threading.Lock()\n{locked}")
    result = parallel.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*the program Adder.lock (lock) cannot be sent to the executor: TypeError: cannot*"]
    )
    assert parallel.calls == 0


def test_a_killed_worker_of_a_cluster_is_replaced(
    cluster: LocalCluster, store: Store, tmp_path: Path
) -> None:
    """Its rows run again on another one."""
    program, lm = Killing(tmp_path, "2 + 1", kills=1), logged_lm(tmp_path / "log")
    with Client(cluster) as client:  # type: ignore[no-untyped-call]
        source = ExecutorSource(client.get_executor(pure=False))
        rows = evaluate(program, sums(6), store, executor=source, lm=lm)
    assert [row.score for row in rows] == [1.0] * 6
    assert calls_in(tmp_path / "log") >= 6
