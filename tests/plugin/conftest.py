"""The projects that the tests of the plugin run pytest on."""

from __future__ import annotations

import os
import shutil
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from paid import CompleteRun
from project import (
    CONFTEST,
    LONGEST,
    OPTIONS,
    PROGRAM,
    SILENT,
    SUPPORT,
    TEST,
    Project,
    start_pytest,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from forks import ForkServer

REGRESSION = TEST.replace("beats_baseline", "no_regression")
ENVIRONMENT = {
    "PYTHONPATH": str(SUPPORT),
    "PYTEST_ADDOPTS": OPTIONS,
    "COLUMNS": "400",  # Room for each task, and each verdict, on one line.
}


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, fork_server: ForkServer | None
) -> Project:
    """Write a project whose test passes."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DSPY_CACHEDIR", str(pytester.path / "dspy-cache"))
    new = Project(pytester, fork_server)
    new.write(program=PROGRAM, conftest=CONFTEST, test_adder=TEST)
    return new


@pytest.fixture
def guarded(project: Project) -> Project:
    """Write a project whose test judges a regression, without a reference."""
    project.write(test_adder=REGRESSION)
    return project


@pytest.fixture
def compiled(project: Project, compiled_folder: Path) -> Project:
    """Return the project after a first run, which made its calls and stored what they gave."""
    shutil.copytree(compiled_folder, project.path, dirs_exist_ok=True)
    return project


@pytest.fixture
def unaccepted(guarded: Project, compiled: Project) -> Project:
    """Return the guarded project after a first run that accepted no reference."""
    return guarded


@pytest.fixture
def accepted(guarded: Project, accepted_folder: Path) -> Project:
    """Return the guarded project after a run that accepted the reference."""
    shutil.copytree(accepted_folder, guarded.path, dirs_exist_ok=True)
    return guarded


@pytest.fixture(scope="session")
def compiled_folder(
    tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer | None
) -> Path:
    """Return what a run leaves that compiles and scores the project's task, but judges nothing."""
    return made_once(
        tmp_path_factory, "compiled", lambda folder: run_once(folder, SILENT, fork_server)
    )


@pytest.fixture(scope="session")
def accepted_folder(
    compiled_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    fork_server: ForkServer | None,
) -> Path:
    """Return what is left of a run that also accepts the outcome as the reference."""

    def accept(folder: Path) -> None:
        shutil.copytree(compiled_folder, folder, dirs_exist_ok=True)
        run_once(folder, REGRESSION, fork_server, "--mipro-update")

    return made_once(tmp_path_factory, "accepted", accept)


@pytest.fixture(scope="session")
def complete_run(
    tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer | None
) -> CompleteRun:
    """Return what a run of the project with a served model leaves that nothing disturbs."""

    def make(folder: Path) -> None:
        CompleteRun.make(
            folder, fork_server, {**ENVIRONMENT, "DSPY_CACHEDIR": str(folder / "dspy-cache")}
        )

    return CompleteRun.of(made_once(tmp_path_factory, "complete", make))


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that one of xdist's workers makes for all of them."""
    own = factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / name
    with FileLock(shared / f"{name}.lock"):
        if not folder.exists():
            draft = factory.mktemp(name)
            make(draft)
            draft.rename(folder)
    return folder


def run_once(folder: Path, test: str, server: ForkServer | None, *arguments: str) -> None:
    """Run pytest on the project's task in a folder, and keep everything but the project."""
    files = {"program": PROGRAM, "conftest": CONFTEST, "test_adder": test}
    for name, text in files.items():
        (folder / f"{name}.py").write_text(dedent(text).strip(), encoding="ascii")
    environment = {**os.environ, **ENVIRONMENT, "DSPY_CACHEDIR": str(folder / "dspy-cache")}
    run = start_pytest(
        server, "-p", "no:cacheprovider", "--mipro", *arguments, cwd=folder, env=environment
    )
    output, _ = run.communicate(timeout=LONGEST)
    assert run.returncode == pytest.ExitCode.OK, output
    for name in files:
        (folder / f"{name}.py").unlink()
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
