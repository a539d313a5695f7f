"""A user's project whose model is served over HTTP, where its calls are counted."""

from __future__ import annotations

import json
import os
import threading
from contextlib import closing
from dataclasses import dataclass
from textwrap import dedent
from typing import TYPE_CHECKING

from project import LONGEST, start_pytest
from served import Model

from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from forks import ForkServer
    from project import Project, Run

TESTS = 8
"""The most tests in a project."""
THREADS = 4
CALLS_PER_ROW = 2
LONGEST_WAIT = 60.0
"""Seconds that a run has to print an expected line."""

_PROGRAM = '''
import dspy

class Adder(dspy.Module):
    """Adds two numbers with a hint."""

    def __init__(self):
        super().__init__()
        self.hint = dspy.Predict("question -> hint")
        self.add = dspy.Predict("question, hint -> answer")

    def forward(self, question):
        return self.add(question=question, hint=self.hint(question=question).hint)

def right(example, prediction, trace=None):
    return example.answer == prediction.answer

def rows(first, count):
    return [
        dspy.Example(question=f"What is {i} + 3?", answer=str(i + 3)).with_inputs("question")
        for i in range(first, first + count)
    ]

DATASET = {"train": rows(0, 12), "val": rows(100, 16), "test": rows(1000, 8)}
'''

# The served model cannot see the end of the search, so the conftest file reports it.
_CONFTEST = """
import os
import dspy
import pytest
from served import Model
from pytest_mipro.plugin import task_runner

show = task_runner.TaskRunner.progress

def progress(runner, task, progress):
    if progress.phase == "search" and progress.done == progress.total:
        Model(os.environ["SERVED"]).end_search()
    show(runner, task, progress)

task_runner.TaskRunner.progress = progress

@pytest.fixture(scope="session")
def mipro_lm():
    return dspy.LM(
        "openai/served", api_base=os.environ["SERVED"] + "/v1", api_key="none",
        engine="lm15", num_retries=0, cache=os.environ["CACHED"] == "yes",
    )
"""

_TEST = """
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

@pytest.mark.parametrize("number", range(TESTS))
@mipro_optimize(
    program=Adder, metric=right, dataset=DATASET, seed=3, name="adder", OPTIMIZER
)
def test_adder(mipro, number):
    assert mipro.compiled.scores[number] in (0.0, 1.0)
"""


MIPRO = (
    "auto=None, num_candidates=3, num_trials=6, minibatch_size=8, max_bootstrapped_demos=2, "
    "max_labeled_demos=2, rounds=1"
)
RANDOM_SEARCH = (
    'optimizer="random_search", optimizer_options={"num_candidate_programs": 1, '
    '"max_bootstrapped_demos": 2, "max_labeled_demos": 2}'
)


@dataclass(frozen=True)
class CompleteRun:
    """What a run of one test leaves that nothing disturbs.

    Attributes:
        artifact: The state of its only artifact.
        calls: The calls of the model.
    """

    artifact: bytes
    calls: int

    @classmethod
    def make(cls, folder: Path, server: ForkServer | None, env: Mapping[str, str]) -> None:
        """Run in a folder, for ``of``."""
        for name, text in modules().items():
            (folder / f"{name}.py").write_text(dedent(text), encoding="ascii")
        with Model.running(pause=0.02) as model:
            environ = {**environment(model), **env}
            run = start_pytest(server, *options(), cwd=folder, env=environ)
            output, _ = run.communicate(timeout=LONGEST)
            assert run.returncode == 0, output
            (folder / "calls").write_text(str(model.counts.requests), encoding="ascii")

    @classmethod
    def of(cls, folder: Path) -> CompleteRun:
        """Return what the run in a folder has left."""
        calls = int((folder / "calls").read_text(encoding="ascii"))
        return cls(_artifact(folder / "store"), calls)


def modules(*, tests: int = 1, conftest: str = "", optimizer: str = MIPRO) -> dict[str, str]:
    """Return the modules of a project with ``tests`` tests of one task."""
    return {
        "program": _PROGRAM,
        "conftest": _CONFTEST + conftest,
        "test_adder": _TEST.replace("TESTS", str(tests)).replace("OPTIMIZER", optimizer),
    }


def write(project: Project, *, tests: int = 1, conftest: str = "", optimizer: str = MIPRO) -> None:
    """Write a project with ``tests`` tests of one task."""
    project.write(**modules(tests=tests, conftest=conftest, optimizer=optimizer))


def environment(model: Model, *, cached: bool = False) -> dict[str, str]:
    """Return the environment of a run on ``model``."""
    return {
        **os.environ,
        "COLUMNS": "200",
        "SERVED": model.address,
        "CACHED": "yes" if cached else "no",
    }


def options(store: str = "store") -> list[str]:
    """Return the options of a run with the store of that name, or at that URL."""
    url = store if "://" in store else f"sqlite:///{store}.db"
    flags = ["--mipro-store", url, "--mipro-threads", str(THREADS)]
    # Without a basetemp, pytest would delete the folders of other runs at the end.
    return ["--mipro", "--basetemp=tmp", "-p", "no:cacheprovider", *flags]


def start(project: Project, model: Model, *arguments: str, store: str = "store") -> Run:
    """Start pytest on the project, at the head of a process group."""
    return project.start(*options(store), *arguments, env=environment(model))


def artifact(project: Project, store: str = "store") -> bytes:
    """Return the state of the only artifact in the store of that name."""
    return _artifact(project.path / store)


def _artifact(store: Path) -> bytes:
    with closing(Store.open(f"sqlite:///{store}.db")) as database:
        tests = (f"test_adder.py::test_adder[{number}]" for number in range(TESTS))
        artifacts = [item for test in tests for item in database.artifacts.recent(test)]
    (stored,) = artifacts
    return json.dumps(stored.state).encode()


def output_of(run: Run) -> str:
    """Return the output of a run once it has ended."""
    output, _ = run.communicate(timeout=120)
    return output


def read_until(run: Run, text: str) -> str:
    """Read the output of a run until a line has ``text``."""
    output = ""
    timer = threading.Timer(LONGEST_WAIT, run.kill)
    timer.start()
    try:
        for line in run.stdout or ():
            output += line
            if text in line:
                return output
    finally:
        timer.cancel()
    raise AssertionError(output)
