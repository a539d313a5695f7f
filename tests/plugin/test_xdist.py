"""Several workers or terminals compile a task once, also if one of them dies."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest
from paid import (
    CALLS_PER_ROW,
    RANDOM_SEARCH,
    TESTS,
    THREADS,
    artifact,
    output_of,
    read_until,
    start,
    write,
)
from served import Model

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from paid import CompleteRun
    from project import Project

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")

LONGEST_TAKEOVER = 10.0
"""Seconds from the death of the compiling process to the first calls of another one."""
HELD = 40
"""Requests after which the model holds back its answers, so that a compile cannot end."""

WRITE_PID = """
import pathlib

def pytest_configure(config):
    worker = getattr(config, "workerinput", {}).get("workerid", "alone")
    pathlib.Path(f"{worker}.pid").write_text(str(os.getpid()))
"""
"""Code of a conftest file that writes the id of each process to a file."""


@pytest.fixture
def model() -> Generator[Model]:
    """Serve a model for several processes."""
    with Model.running(pause=0.02) as served:
        yield served


def scores(output: str) -> list[str]:
    """Return the lines of the summary about tasks, without the effort."""
    return re.findall(r"^(adder\b.*\]  (?:[A-Z]+|not judged))  ", output, re.MULTILINE)


def pid_of(project: Project, worker: str) -> int:
    """Return the id of a worker's process."""
    file: Path = project.path / f"{worker}.pid"
    return int(file.read_text(encoding="ascii"))


def kill_compiling_worker(project: Project, output: str) -> None:
    """Kill the worker that compiles according to the output."""
    (worker,) = re.findall(r"waiting for pytest's worker (gw\d)", output)[:1]
    os.kill(pid_of(project, worker), signal.SIGKILL)


def takeover_seconds(model: Model) -> float:
    """Return the seconds until the model gets a request that only another process can make."""
    start_time = time.monotonic()
    model.plan()
    model.wait(HELD + THREADS + 1)  # The dead process had one held call per thread at most.
    return time.monotonic() - start_time


@pytest.mark.uses("pytest-xdist")
def test_four_workers_compile_once(project: Project, model: Model) -> None:
    """Calls, verdicts and artifact equal those of one process; progress is shown once."""
    write(project, tests=TESTS)
    alone = output_of(start(project, model, store="alone"))
    calls = model.counts.requests
    model.forget()
    spread = output_of(start(project, model, "-n", "4", store="spread"))
    assert f"{TESTS} passed" in alone
    assert f"{TESTS} passed" in spread
    assert model.counts.requests == calls
    assert scores(spread) == scores(alone) != []
    assert artifact(project, "spread") == artifact(project, "alone")
    assert len(re.findall(r"=+ mipro =+", spread)) == 1
    for line in ("compiling: no artifact", "bootstrapping demos", "searching"):
        assert len(re.findall(f"^mipro: adder: {line}", spread, re.MULTILINE)) == 1, spread


def test_workers_compile_once_with_an_optimizer_of_dspy(project: Project, model: Model) -> None:
    """It asks as often as in one process, for the same artifact."""
    write(project, tests=2, optimizer=RANDOM_SEARCH)
    alone = output_of(start(project, model, store="alone"))
    calls = model.counts.requests
    model.forget()
    spread = output_of(start(project, model, "-n", "2", store="spread"))
    assert "2 passed" in alone
    assert "2 passed" in spread
    assert model.counts.requests == calls
    assert artifact(project, "spread") == artifact(project, "alone")


@pytest.mark.uses("pytest-xdist")
def test_a_worker_that_dies_is_replaced(project: Project, model: Model) -> None:
    """Only the test of the dead worker fails, and another worker goes on compiling soon."""
    write(project, tests=TESTS, conftest=WRITE_PID)
    model.plan(hold=HELD)
    run = start(project, model, "-n", "2")
    output = read_until(run, "waiting for pytest's worker")
    model.wait(HELD + 1)
    kill_compiling_worker(project, output)
    assert takeover_seconds(model) < LONGEST_TAKEOVER
    output += output_of(run)
    assert f"1 failed, {TESTS - 1} passed" in output
    assert "crashed while running" in output
    assert artifact(project)


def test_two_terminals_compile_once(
    project: Project, model: Model, complete_run: CompleteRun
) -> None:
    """The second shows that it waits for the first, and has the same verdict."""
    write(project)
    model.plan(hold=1)
    first = start(project, model)
    model.wait(2)
    second = start(project, model)
    output = read_until(second, "waiting for another pytest run")
    model.plan()
    outputs = [output_of(first), output + output_of(second)]
    assert all("1 passed" in output for output in outputs)
    assert scores(outputs[0]) == scores(outputs[1]) != []
    assert model.counts.requests == complete_run.calls


def test_a_terminal_that_dies_is_replaced(
    project: Project, model: Model, complete_run: CompleteRun
) -> None:
    """The waiting run continues with the stored rows of the dead one."""
    write(project)
    model.plan(hold=HELD)
    first = start(project, model)
    model.wait(HELD + 1)
    second = start(project, model)
    read_until(second, "waiting for another pytest run")
    os.killpg(first.pid, signal.SIGKILL)
    assert takeover_seconds(model) < LONGEST_TAKEOVER
    assert "1 passed" in output_of(second)
    output_of(first)
    assert artifact(project) == complete_run.artifact
    assert model.counts.requests - complete_run.calls <= THREADS * CALLS_PER_ROW


FOLDER = """
import stat
from pathlib import Path

def test_folder(request):
    mode = Path(request.config.workerinput["mipro_folder"]).stat().st_mode
    assert stat.S_IMODE(mode) == 0o700
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_the_shared_folder_is_the_owners_alone(project: Project) -> None:
    """Nobody else reads or writes what the workers of a run share."""
    project.write(test_adder=FOLDER)
    project.run("--mipro", "-n", "2").assert_outcomes(passed=1)
