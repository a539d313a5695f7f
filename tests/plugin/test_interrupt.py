"""Ctrl-C: pytest's exit status, a clear message, a store that can be used."""

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

    from project import Project, Run

SOON = 5.0
"""Seconds a run may go on after Ctrl-C: two, and as many more for a machine that is busy."""
FOREVER = 60.0
"""Seconds a call is held back, which nobody should wait for."""


pytestmark = pytest.mark.usefixtures("interruptible")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let runs be interrupted, also where this one was started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


IN_A_DESTRUCTOR = re.compile(
    r"Exception ignored in: .*?^KeyboardInterrupt:? *$", re.DOTALL | re.MULTILINE
)
"""What CPython itself prints where an interrupt hits a destructor, of whatever library."""


def press(process: Run) -> None:
    """Interrupt one process, as a program would."""
    process.send_signal(signal.SIGINT)


def press_at_terminal(process: Run) -> None:
    """Interrupt a process and its children, as a terminal does."""
    os.killpg(process.pid, signal.SIGINT)


def press_twice(process: Run) -> None:
    """Interrupt a process, and again while it is still at it."""
    press_at_terminal(process)
    time.sleep(0.3)
    press_at_terminal(process)


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process")
@pytest.mark.parametrize("after", [3, 30, 300])
def test_ctrl_c_says_what_is_safe_and_the_next_run_goes_on(project: Project, after: int) -> None:
    """Interrupted in any phase; the next run does not pay for what was stored."""
    conftest = (project.path / "conftest.py").read_text()
    project.write(conftest=conftest.replace('"calls.log")', '"calls.log", latency=0.05)'))
    run = project.start("-p", "no:cacheprovider", "--mipro")
    deadline = time.monotonic() + 60
    while project.calls < after and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=30)
    assert run.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "stopped by Ctrl-C" in output
    assert "run the same command again" in output
    assert "Traceback" not in output
    paid = project.calls
    again = project.run("--mipro")
    again.assert_outcomes(passed=1)
    (project.path / "calls.log").unlink()
    project.run("--mipro", "--mipro-store", "sqlite:///fresh.db").assert_outcomes(passed=1)
    whole = project.calls
    assert paid < whole


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process")
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "spread"])
@pytest.mark.parametrize("ctrl_c", [press, press_at_terminal, press_twice])
def test_ctrl_c_does_not_wait_for_the_model(
    project: Project, ctrl_c: Callable[[Run], None], workers: tuple[str, ...]
) -> None:
    """However it comes, and whatever is under way, the run ends soon and says how to go on."""
    write(project, tests=2)
    with Model.running(pause=0.02) as model:
        run = start(project, model, *workers)
        model.wait(30)
        model.plan(hang=FOREVER)
        time.sleep(0.5)
        pressed = time.monotonic()
        ctrl_c(run)
        output, _ = run.communicate(timeout=FOREVER)
        assert time.monotonic() - pressed < SOON, output
    if ctrl_c is press_twice:  # The second may hit pytest in its own closing words.
        assert run.returncode in {pytest.ExitCode.INTERRUPTED, -signal.SIGINT}, output
        return
    assert run.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "stopped by Ctrl-C. Everything finished so far is safe in sqlite:///store.db" in output
    assert "run the same command again" in output
    assert "Traceback" not in IN_A_DESTRUCTOR.sub("", output), output
    assert "pytest_mipro/" not in output


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process")
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "spread"])
def test_a_report_of_an_interrupted_run_counts_its_calls(
    project: Project, workers: tuple[str, ...]
) -> None:
    """What was asked before Ctrl-C was asked, and is not 0."""
    write(project, tests=2)
    with Model.running(pause=0.02) as model:
        run = start(project, model, *workers, "--mipro-report=report.json")
        model.wait(30)
        press_at_terminal(run)
        output, _ = run.communicate(timeout=FOREVER)
        assert run.returncode == pytest.ExitCode.INTERRUPTED, output
        asked = model.counts.asked
    report = json.loads((project.path / "report.json").read_text(encoding="utf-8"))
    assert report["interrupted"] is True
    assert asked - 2 * THREADS <= report["usage"]["calls"] <= asked


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process")
def test_ctrl_c_loses_nothing_that_is_finished(project: Project) -> None:
    """All runs together ask the model for no more than what was under way."""
    write(project)
    with Model.running(pause=0.02) as model:
        start(project, model, store="whole").communicate(timeout=FOREVER)
        whole = model.counts.asked
        model.forget()
        for asked in (30, 90, 150):
            run = start(project, model)
            model.wait(asked)
            press_at_terminal(run)
            output, _ = run.communicate(timeout=FOREVER)
            assert run.returncode == pytest.ExitCode.INTERRUPTED, output
        output, _ = start(project, model).communicate(timeout=FOREVER)
        assert "1 passed" in output
        assert model.counts.asked - whole <= 3 * THREADS * CALLS_PER_ROW
