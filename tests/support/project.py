"""A user's project on which a test runs pytest, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from forks import ForkedRun, ForkServer

    Run: TypeAlias = ForkedRun | subprocess.Popen[str]

SUPPORT = Path(__file__).parent
LONGEST = 300.0
"""Seconds after which a run is killed."""
OPTIONS = "-W 'ignore:40 labelled examples'"
"""Hide the warning that the project has few examples."""

PROGRAM = '''
import dspy

class Adder(dspy.Module):
    """Adds two numbers."""

    def __init__(self):
        super().__init__()
        self.add = dspy.Predict("question -> answer: int")

    def forward(self, question):
        return self.add(question=question)

def right(example, prediction, trace=None):
    return example.answer == prediction.answer

ROWS = [
    dspy.Example(question=f"What is {i} + {i + 3}?", answer=2 * i + 3).with_inputs("question")
    for i in range(120)
]
DATASET = {"train": ROWS[:20], "val": ROWS[20:40], "test": ROWS[70:94]}
SEARCH = {"auto": None, "num_candidates": 3, "num_trials": 6, "minibatch": False}
'''

MANY_ROWS = PROGRAM.replace("ROWS[20:40]", "ROWS[20:60]").replace("ROWS[70:94]", "ROWS[60:]")
"""The program with more rows, which most tests do not need."""

CONFTEST = """
import pathlib
import pytest
from scripted import scripted_lm

@pytest.fixture(scope="session")
def mipro_lm():
    return scripted_lm(pathlib.Path(__file__).parent / "calls.log")
"""

TEST = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
def test_adder(mipro):
    assert mipro.beats_baseline()
"""

SILENT = TEST.replace("assert mipro.beats_baseline()", "pass")
"""A test of the same task that judges nothing."""


@dataclass(frozen=True)
class Project:
    """A folder with a program, a test, and a conftest file with a scripted model.

    Attributes:
        pytester: The fixture of pytest, whose folder is the project.
        server: Forks processes that have imported everything; None without ``os.fork``.
    """

    pytester: pytest.Pytester
    server: ForkServer | None

    @property
    def path(self) -> Path:
        """The folder."""
        return self.pytester.path

    @property
    def calls(self) -> int:
        """The number of calls of the model in all runs."""
        log = self.path / "calls.log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    @property
    def unforked(self) -> Project:
        """The project with runs in new interpreters, which have imported nothing."""
        return replace(self, server=None)

    def write(self, **files: str) -> None:
        """Write Python files by module name."""
        self.pytester.makepyfile(**files)

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest on the project."""
        return run_pytest(self.pytester, self.server, "-p", "no:cacheprovider", *arguments)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> Run:
        """Start pytest on the project, at the head of a process group."""
        return start_pytest(self.server, *arguments, cwd=self.path, env=env)


def start_pytest(
    server: ForkServer | None, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> Run:
    """Start pytest in a folder, at the head of a process group, in a fork of ``server``."""
    environment = dict(os.environ if env is None else env)
    if server is not None:
        return server.start(arguments, cwd=cwd, env=environment)
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def start_script(server: ForkServer | None, text: str, *arguments: str, folder: Path) -> Run:
    """Start a script that is written to a new folder in ``folder``, in a fork of ``server``."""
    script = Path(tempfile.mkdtemp(dir=folder)) / "script.py"
    script.write_text(text, encoding="ascii")
    if server is not None:
        return server.start(arguments, cwd=folder, env=os.environ, script=script)
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_pytest(
    pytester: pytest.Pytester, server: ForkServer | None, *arguments: str
) -> pytest.RunResult:
    """Run pytest as ``pytester.runpytest_subprocess`` does, in a fork of ``server``."""
    if server is None:
        return pytester.runpytest_subprocess(*arguments)
    # A pipe would fill up, as only one of them can be read at a time.
    outputs = [pytester.path / "stdout", pytester.path / "stderr"]
    with ExitStack() as files:
        streams = [files.enter_context(Path(os.devnull).open(encoding="ascii"))]
        streams += [files.enter_context(path.open("w", encoding="utf-8")) for path in outputs]
        run = server.start(
            [f"--basetemp={pytester.path / 'basetemp'}", *arguments],
            cwd=pytester.path,
            env=os.environ,
            streams=[stream.fileno() for stream in streams],
        )
        start_time = time.monotonic()
        status = run.wait(LONGEST)
    out, err = (path.read_text(encoding="utf-8") for path in outputs)
    sys.stdout.write(f"{out}\n{err}\n")  # pytest shows it with a failure of the test.
    return pytest.RunResult(
        status, out.splitlines(), err.splitlines(), time.monotonic() - start_time
    )
