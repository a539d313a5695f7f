"""Runs that are forks of one process: each is as one in a new interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import workers

if TYPE_CHECKING:
    from forks import ForkServer

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no forks")

CHANGES = """
import os
import sys
import warnings

import dspy
import pytest_mipro

def test_change_all():
    dspy.configure(lm="of the first run", adapter="of the first run")
    os.environ["CHANGED"] = "by the first run"
    os.chdir("/")
    sys.path.append("/of/the/first/run")
    sys.modules["module_of_the_first_run"] = sys
    pytest_mipro.__version__ = "of the first run"
    warnings.simplefilter("ignore")
"""
CHECKS = """
import os
import pathlib
import sys
import threading

import dspy
import pytest_mipro

def test_find_nothing():
    assert dspy.settings.lm is None
    assert dspy.settings.adapter is None
    assert "CHANGED" not in os.environ
    assert os.environ["GIVEN"] == "to this run"
    assert pathlib.Path.cwd() == pathlib.Path(__file__).parent
    assert "/of/the/first/run" not in sys.path
    assert "module_of_the_first_run" not in sys.modules
    assert pytest_mipro.__version__ != "of the first run"
    assert not {"conftest", "program", "test_adder"} & {*sys.modules}
    assert threading.active_count() == 1
    assert sys.argv[1:] == ["test_checks.py", "-q"]
    assert os.getpgid(0) == os.getpid()
    assert not [*pathlib.Path.cwd().rglob("*.pyc")]
"""
CONTROLLER = """
import os
import sys

import dspy

if "PYTEST_XDIST_WORKER" not in os.environ:
    dspy.configure(lm="of the controller")
    sys.modules["module_of_the_controller"] = sys
"""
WORKER = """
import os
import signal
import sys

import dspy

def test_find_nothing():
    assert os.environ["PYTEST_XDIST_WORKER"] == "gw0"
    assert dspy.settings.lm is None
    assert "module_of_the_controller" not in sys.modules
    assert os.getpgid(0) == os.getpgid(os.getppid()) != os.getpid()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
FORKS_WORKERS = """
from contextlib import ExitStack

from workers import forked_workers

def pytest_xdist_setupnodes(config):
    stack = ExitStack()
    config.add_cleanup(stack.close)
    stack.enter_context(forked_workers(config.invocation_params.args))
"""
COUNTS_IMPORTS = """
from pathlib import Path

import pytest

with Path("imports.txt").open("a") as file:
    file.write("imported\\n")

@pytest.mark.parametrize("number", range(4))
def test_number(number, worker_id):
    assert worker_id in {"gw0", "gw1"}
"""
WAITS = """
import signal

def test_wait():
    print("waiting", flush=True)
    signal.pause()
"""


SCRIPT = """
import multiprocessing
import sys

def imported():
    return "dspy" in sys.modules

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(imported(), pool.apply(imported), sys.argv[1:], sys.path[0])
    sys.exit(3)
"""


def write(folder: Path, **modules: str) -> None:
    """Write modules by name."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="ascii")


def controller_environment() -> dict[str, str]:
    """Return this environment without what makes a process a worker."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_XDIST_WORKER"}


def test_a_run_finds_nothing_of_the_run_before(tmp_path: Path, fork_server: ForkServer) -> None:
    """Settings, variables, folder, modules and arguments are its own."""
    write(tmp_path, test_changes=CHANGES, test_checks=CHECKS)
    env = {**os.environ, "GIVEN": "to this run"}
    for module in ("test_changes.py", "test_checks.py"):
        run = fork_server.start([module, "-q"], cwd=tmp_path, env=env)
        output, _ = run.communicate(60)
        assert run.returncode == pytest.ExitCode.OK, output


def test_a_worker_finds_nothing_of_the_controller(tmp_path: Path, fork_server: ForkServer) -> None:
    """Workers of pytest-xdist are forks from before the controller's first line."""
    write(tmp_path, conftest=CONTROLLER, test_worker=WORKER)
    run = fork_server.start(["-n1", "test_worker.py"], cwd=tmp_path, env=controller_environment())
    output, _ = run.communicate(60)
    assert run.returncode == pytest.ExitCode.OK, output


def test_a_script_and_its_processes_have_imported_everything(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    """It has arguments, a folder and a status of its own."""
    write(tmp_path, script=SCRIPT)
    run = fork_server.start(
        ["--quick"], cwd=tmp_path, env=os.environ, script=tmp_path / "script.py"
    )
    output, _ = run.communicate(60)
    assert output == f"True True ['--quick'] {tmp_path}\n"
    assert run.returncode == 3


def test_workers_share_the_imports_of_tests(tmp_path: Path, fork_server: ForkServer) -> None:
    """Modules are imported once for all workers, and one that cannot be imported is an error."""
    write(tmp_path, conftest=FORKS_WORKERS, test_counts=COUNTS_IMPORTS)
    env = {**controller_environment(), "PYTHONPATH": str(Path(workers.__file__).parent)}
    run = fork_server.start(["-n2", "test_counts.py"], cwd=tmp_path, env=env)
    output, _ = run.communicate(60)
    assert run.returncode == pytest.ExitCode.OK, output
    assert (tmp_path / "imports.txt").read_text(encoding="ascii") == "imported\n"

    write(tmp_path, test_broken="import of_nothing")
    run = fork_server.start(["-n2"], cwd=tmp_path, env=env)
    output, _ = run.communicate(60)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "No module named 'of_nothing'" in output


def test_a_run_that_is_killed_says_so(tmp_path: Path, fork_server: ForkServer) -> None:
    """Its status is the signal's, and other runs go on."""
    write(tmp_path, test_waits=WAITS)
    runs = [
        fork_server.start(["-s", "test_waits.py"], cwd=tmp_path, env=os.environ) for _ in range(2)
    ]
    for run in runs:
        assert run.stdout is not None
        while "waiting" not in (line := run.stdout.readline()):
            assert line
    runs[0].kill()
    runs[0].communicate(60)
    assert runs[0].returncode == -signal.SIGKILL
    assert runs[1].returncode is None
    runs[1].send_signal(signal.SIGINT)
    runs[1].communicate(60)
    assert runs[1].returncode == pytest.ExitCode.INTERRUPTED


def test_a_run_that_does_not_end_is_killed(tmp_path: Path, fork_server: ForkServer) -> None:
    """A time limit is an error that nobody can overlook."""
    write(tmp_path, test_waits=WAITS)
    run = fork_server.start(["test_waits.py"], cwd=tmp_path, env=os.environ)
    with pytest.raises(subprocess.TimeoutExpired):
        run.communicate(0.5)
    assert run.returncode == -signal.SIGKILL
