"""Several workers or terminals compile a task once, even if one of them is killed."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from paid import CALLS_PER_ROW, TESTS, THREADS, artifact, start, write
from served import Model

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from project import Project, Run

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="no SIGKILL"),
    pytest.mark.uses("pytest-xdist"),
]

PATIENCE = 60.0
"""Seconds until a run has to report that it waits."""
TAKEN_OVER = 10.0
"""Seconds from the death of the compiling process to the first calls of another one."""
HELD = 40
"""Requests after which a compile gets no answer, so that it cannot end before it is killed."""

NAMED = """
import pathlib

def pytest_configure(config):
    worker = getattr(config, "workerinput", {}).get("workerid", "alone")
    pathlib.Path(f"{worker}.number").write_text(str(os.getpid()))
"""
"""For a conftest: each process leaves its number."""


@pytest.fixture
def model() -> Generator[Model]:
    """Serve a model that is asked by several processes."""
    with Model.running(pause=0.02) as served:
        yield served


def finished(run: Run) -> str:
    """Return what a run printed once it has ended."""
    output, _ = run.communicate(timeout=120)
    return output


def scores(output: str) -> list[str]:
    """Return what the summary says of the tasks, but for the effort."""
    return re.findall(r"^(adder\b.*\]  (?:[A-Z]+|not judged))  ", output, re.MULTILINE)


def number_of(project: Project, worker: str) -> int:
    """Return the number of a worker's process."""
    file: Path = project.path / f"{worker}.number"
    return int(file.read_text(encoding="ascii"))


def kill_holder(project: Project, output: str) -> None:
    """Kill the worker that the lines so far say compiles."""
    (worker,) = re.findall(r"waiting for pytest's worker (gw\d)", output)[:1]
    os.kill(number_of(project, worker), signal.SIGKILL)


def seconds_of_silence(model: Model) -> float:
    """Return the time until the model gets a request that only another process can make."""
    died = time.monotonic()
    model.plan()
    model.wait(HELD + THREADS + 1)  # Who has died has not had more than a call per thread held.
    return time.monotonic() - died


def read_until(run: Run, text: str) -> str:
    """Read what a run prints until a line has ``text``."""
    read = ""
    impatience = threading.Timer(PATIENCE, run.kill)
    impatience.start()
    try:
        for line in run.stdout or ():
            read += line
            if text in line:
                return read
    finally:
        impatience.cancel()
    raise AssertionError(read)


def test_four_workers_compile_once(project: Project, model: Model) -> None:
    """The calls, the verdicts and the artifact are those of one process; progress is seen once."""
    write(project, tests=TESTS)
    alone = finished(start(project, model, store="alone"))
    calls = model.counts.asked
    model.forget()
    spread = finished(start(project, model, "-n", "4", store="spread"))
    assert f"{TESTS} passed" in alone
    assert f"{TESTS} passed" in spread
    assert model.counts.asked == calls
    assert scores(spread) == scores(alone) != []
    assert artifact(project, "spread") == artifact(project, "alone")
    assert len(re.findall(r"=+ mipro =+", spread)) == 1
    for line in ("compiling: no artifact", "bootstrapping demos", "searching"):
        assert len(re.findall(f"^mipro: adder: {line}", spread, re.MULTILINE)) == 1, spread


def test_a_worker_that_dies_is_replaced(project: Project, model: Model) -> None:
    """Only the test it was running fails; another worker compiles to the end, soon."""
    write(project, tests=TESTS, conftest=NAMED)
    model.plan(hold=HELD)
    run = start(project, model, "-n", "2")
    output = read_until(run, "waiting for pytest's worker")
    model.wait(HELD + 1)
    kill_holder(project, output)
    assert seconds_of_silence(model) < TAKEN_OVER
    output += finished(run)
    assert f"1 failed, {TESTS - 1} passed" in output
    assert "crashed while running" in output
    assert artifact(project)


def test_two_terminals_compile_once(project: Project, model: Model) -> None:
    """The second run names the run that it waits for, and has the same verdict."""
    write(project)
    model.plan(hold=1)
    first = start(project, model)
    model.wait(2)
    second = start(project, model)
    output = read_until(second, "waiting for another pytest run")
    model.plan()
    outputs = [finished(first), output + finished(second)]
    assert all("1 passed" in output for output in outputs)
    assert scores(outputs[0]) == scores(outputs[1]) != []
    calls = model.counts.asked
    model.forget()
    finished(start(project, model, store="alone"))
    assert model.counts.asked == calls


def test_a_terminal_that_dies_is_inherited_from(project: Project, model: Model) -> None:
    """The waiting run continues with the records of the killed one."""
    write(project)
    finished(start(project, model, store="alone"))
    calls = model.counts.asked
    model.forget()
    model.plan(hold=HELD)
    first = start(project, model)
    model.wait(HELD + 1)
    second = start(project, model)
    read_until(second, "waiting for another pytest run")
    os.killpg(first.pid, signal.SIGKILL)
    assert seconds_of_silence(model) < TAKEN_OVER
    assert "1 passed" in finished(second)
    finished(first)
    assert artifact(project) == artifact(project, "alone")
    assert model.counts.asked - calls <= THREADS * CALLS_PER_ROW
