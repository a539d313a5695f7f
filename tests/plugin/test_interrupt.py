"""Ctrl-C: pytest's exit status, a clear message, a store that can be used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process")
@pytest.mark.parametrize("after", [3, 30, 300])
def test_ctrl_c_says_what_is_safe_and_the_next_run_goes_on(project: Project, after: int) -> None:
    """Interrupted in any phase; the next run does not pay for what was stored."""
    conftest = (project.path / "conftest.py").read_text()
    project.write(conftest=conftest.replace('"calls.log")', '"calls.log", latency=0.05)'))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--mipro"]
    run = subprocess.Popen(
        command, cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
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
