"""The session's summary: gathered test by test, shown where tests fail, written at the end."""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.plugin.state import ORPHANS, TASK_RUNNER, WORKERS
from pytest_mipro.plugin.terminal_summary import write
from pytest_mipro.plugin.test_report import told
from pytest_mipro.records import Usage
from pytest_mipro.report import Summary, TaskSummary, failure, step_summary, workflow_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_mipro.plugin.options import Settings
    from pytest_mipro.plugin.report_files import ReportFile

_SENT = "mipro_usage"
"""What a worker's usage is called on its way to the controller; see ``hooks.py``."""
_PACKAGES = ("pytest-mipro", "dspy", "optuna", "pytest", "pytest-xdist")
_INTERRUPTED = {pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR}


class Reports:
    """Hooks of the process that has the terminal, while ``--mipro`` is on."""

    def __init__(
        self, config: pytest.Config, settings: Settings, targets: tuple[ReportFile, ...]
    ) -> None:
        """Gather what the tests of ``config``'s session say, and write it to ``targets``."""
        self._config = config
        self._settings = settings
        self._targets = targets
        self._told: dict[str, TaskSummary] = {}
        self._usages: dict[str, Usage] = {}
        self._created = datetime.now(timezone.utc)
        self._started = time.monotonic()
        self._notes: list[str] = []
        self._summary = self._summarize(interrupted=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of a test's task, and show beside its failure what got worse."""
        task = told(report)
        if task is None:
            return
        self._told[report.nodeid] = task
        if report.failed and task.report is not None:
            width = self._config.get_terminal_writer().fullwidth
            _add(report, failure(task, width, self._config.get_verbosity()))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take note of what a worker of xdist has spent."""
        sent = getattr(node, "workeroutput", {}).get(_SENT)
        if sent is not None:
            self._usages[node.gateway.id] = Usage.from_dict(sent)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the reports; pytest's own summary comes after that and names them."""
        if TASK_RUNNER in self._config.stash:
            self._usages[""] = self._config.stash[TASK_RUNNER].usage
        elif WORKERS in self._config.stash:
            # A worker that is interrupted, or crashes, cannot say what it has counted.
            self._usages = {**self._config.stash[WORKERS].spent(), **self._usages}
        self._summary = self._summarize(interrupted=exitstatus in _INTERRUPTED)
        written = [
            self._attempt(target.shown, partial(target.write, self._summary))
            for target in self._targets
        ]
        if self._told and (file := os.environ.get("GITHUB_STEP_SUMMARY")):
            written.append(self._attempt(file, partial(self._append, Path(file))))
        if not all(written) and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the section of the summary, and what GitHub shows beside the code."""
        write(terminalreporter, self._summary, self._notes, self._settings)
        if os.environ.get("GITHUB_ACTIONS") == "true":
            terminalreporter.ensure_newline()
            root = self._config.rootpath
            for command in workflow_commands(_in_checkout(self._summary, root)):
                terminalreporter.write_line(command)

    def _attempt(self, path: str, write_report: Callable[[], None]) -> bool:
        """Write one report, and say what became of it."""
        try:
            write_report()
        except OSError as error:
            self._notes.append(f"the report {path} could not be written: {error}")
            return False
        self._notes.append(f"report: {path}")
        return True

    def _append(self, file: Path) -> None:
        """Add to what the other steps of a job have to say, as much as GitHub takes."""
        taken = file.stat().st_size if file.exists() else 0
        with file.open("a", encoding="utf-8") as opened:
            opened.write(step_summary(self._summary, taken))

    def _summarize(self, *, interrupted: bool) -> Summary:
        order = sorted(self._told.values(), key=lambda task: (task.file, task.line, task.test))
        orphans = self._config.stash[ORPHANS].orphans
        return Summary(
            tasks=tuple(order),
            usage=Usage.total(self._usages.values()),
            store=self._settings.store,
            versions=dict(_versions()),
            created=self._created.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._started, 3),
            orphans=None if orphans is None else tuple(orphans),
            interrupted=interrupted,
        )


def _in_checkout(summary: Summary, root: Path) -> Summary:
    """Name the files as GitHub does: from where the repository was checked out to."""
    checkout = Path(os.environ.get("GITHUB_WORKSPACE") or root)
    if not root.is_relative_to(checkout):
        return summary
    inside = root.relative_to(checkout)
    tasks = (replace(task, file=(inside / task.file).as_posix()) for task in summary.tasks)
    return replace(summary, tasks=tuple(tasks))


def _add(report: pytest.TestReport, text: str) -> None:
    """Show a text below a failure, whatever output pytest was asked to show there."""
    add_section = getattr(report.longrepr, "addsection", None)
    if add_section is None:
        report.sections.append(("mipro", text))
    else:
        add_section("mipro", text)


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            yield package, version(package)
