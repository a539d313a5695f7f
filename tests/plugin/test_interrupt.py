"""Ctrl-C ends a run soon, with pytest's exit status, a message and a usable store."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest
from paid import CALLS_PER_ROW, THREADS, start, write
from served import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from paid import CompleteRun
    from project import Project, Run

LONGEST_END = 5.0
"""Seconds that a run may take to end after Ctrl-C: two, and three more on a busy machine."""
DEFAULT_THREADS = 8
LONGEST_CALL = 60.0
"""Seconds that the server holds a call back."""


pytestmark = pytest.mark.usefixtures("interruptible")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let runs handle SIGINT, also if this process was started in the background."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


IGNORED_IN_DESTRUCTOR = re.compile(
    r"Exception ignored in: .*?^KeyboardInterrupt:? *$", re.DOTALL | re.MULTILINE
)
"""The lines that CPython prints when an interrupt hits a destructor of any library."""


def press(process: Run) -> None:
    """Interrupt one process."""
    process.send_signal(signal.SIGINT)


def press_at_terminal(process: Run) -> None:
    """Interrupt a process and its children, as a terminal does."""
    os.killpg(process.pid, signal.SIGINT)


def press_twice(process: Run) -> None:
    """Interrupt a process, and again while it is ending."""
    press_at_terminal(process)
    time.sleep(0.3)
    press_at_terminal(process)


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process")
@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
def test_the_message_is_shown_and_the_next_run_continues(
    project: Project, compiled_folder: Path, share: float
) -> None:
    """After an interrupt in any phase, the next run repeats only the calls that were under way."""
    complete = len((compiled_folder / "calls.log").read_text().splitlines())
    calls = round(share * complete)
    conftest = (project.path / "conftest.py").read_text()
    project.write(conftest=conftest.replace('"calls.log")', '"calls.log", latency=0.05)'))
    run = project.start("-p", "no:cacheprovider", "--mipro")
    deadline = time.monotonic() + 60
    while project.calls < calls and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=30)
    assert run.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "stopped by Ctrl-C" in output
    assert "run the same command again" in output
    assert "Traceback" not in output
    assert calls <= project.calls < complete
    project.write(conftest=conftest)  # Without latency, which is no part of a key.
    project.run("--mipro").assert_outcomes(passed=1)
    assert complete <= project.calls <= complete + DEFAULT_THREADS


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process")
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "spread"])
@pytest.mark.parametrize("ctrl_c", [press, press_at_terminal, press_twice])
def test_ctrl_c_does_not_wait_for_the_model(
    project: Project, ctrl_c: Callable[[Run], None], workers: tuple[str, ...]
) -> None:
    """With calls under way, the run ends soon and shows the message."""
    write(project, tests=2)
    with Model.running(pause=0.02) as model:
        run = start(project, model, *workers)
        model.wait(30)
        model.plan(hang=LONGEST_CALL)
        time.sleep(0.5)
        pressed = time.monotonic()
        ctrl_c(run)
        output, _ = run.communicate(timeout=LONGEST_CALL)
        assert time.monotonic() - pressed < LONGEST_END, output
    if ctrl_c is press_twice:  # The second may hit pytest while it prints its summary.
        assert run.returncode in {pytest.ExitCode.INTERRUPTED, -signal.SIGINT}, output
        return
    assert run.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "stopped by Ctrl-C. Everything finished so far is safe in sqlite:///store.db" in output
    assert "run the same command again" in output
    assert "Traceback" not in IGNORED_IN_DESTRUCTOR.sub("", output), output
    assert "pytest_mipro/" not in output


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process")
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "spread"])
def test_a_report_of_an_interrupted_run_counts_its_calls(
    project: Project, workers: tuple[str, ...]
) -> None:
    """The report counts the calls before Ctrl-C, with and without workers."""
    write(project, tests=2)
    with Model.running(pause=0.02) as model:
        run = start(project, model, *workers, "--mipro-report=report.json")
        model.wait(30)
        press_at_terminal(run)
        output, _ = run.communicate(timeout=LONGEST_CALL)
        assert run.returncode == pytest.ExitCode.INTERRUPTED, output
        requests = model.counts.requests
    report = json.loads((project.path / "report.json").read_text(encoding="utf-8"))
    assert report["interrupted"] is True
    assert requests - 2 * THREADS <= report["usage"]["calls"] <= requests


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process")
def test_ctrl_c_loses_no_finished_call(project: Project, complete_run: CompleteRun) -> None:
    """Interrupted runs repeat no more than the calls that were under way."""
    write(project)
    with Model.running(pause=0.02) as model:
        for requests in (30, 90, 150):
            run = start(project, model)
            model.wait(requests)
            press_at_terminal(run)
            output, _ = run.communicate(timeout=LONGEST_CALL)
            assert run.returncode == pytest.ExitCode.INTERRUPTED, output
        output, _ = start(project, model).communicate(timeout=LONGEST_CALL)
        assert "1 passed" in output
        assert model.counts.requests - complete_run.calls <= 3 * THREADS * CALLS_PER_ROW
