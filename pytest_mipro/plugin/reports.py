"""Collect the summary of a session test by test, and write its reports at the end."""

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

from pytest_mipro.plugin.attached_summary import attached_summary
from pytest_mipro.plugin.state import CONTROLLER, ORPHANS, TASK_RUNNER, WORKER_USAGE
from pytest_mipro.plugin.terminal import terminal_width
from pytest_mipro.plugin.terminal_summary import write
from pytest_mipro.records import Usage
from pytest_mipro.report import Summary, TaskSummary, render_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_mipro.plugin.report_files import ReportFile
    from pytest_mipro.plugin.settings import Settings

_PACKAGES = ("pytest-mipro", "dspy", "optuna", "pytest", "pytest-xdist")
_INTERRUPTED = {pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR}


class Reports:
    """Hooks of the process that has the terminal, while ``--mipro`` is on."""

    def __init__(
        self, config: pytest.Config, settings: Settings, files: tuple[ReportFile, ...]
    ) -> None:
        """Collect the summary of ``config``'s session, to be written to ``files``."""
        self._config = config
        self._settings = settings
        self._files = files
        self._tasks: dict[str, TaskSummary] = {}
        self._usages: dict[str, Usage] = {}
        self._created = datetime.now(timezone.utc)
        self._started = time.monotonic()
        self._notes: list[str] = []
        self._summary: Summary | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the summary of a test's task, and show it where the test fails."""
        task = attached_summary(report)
        if task is None:
            return
        self._tasks[report.nodeid] = task
        if report.failed and task.report is not None:
            width, verbosity = terminal_width(self._config), self._config.get_verbosity()
            _add_section(report, render_failure(task, width, verbosity))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Receive the usage of a worker of xdist."""
        usage = getattr(node, "workeroutput", {}).get(WORKER_USAGE)
        if usage is not None:
            self._usages[node.gateway.id] = Usage.from_dict(usage)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the reports before pytest's own summary, which names them."""
        if TASK_RUNNER in self._config.stash:
            self._usages[""] = self._config.stash[TASK_RUNNER].usage
        elif CONTROLLER in self._config.stash:
            # A worker that is interrupted, or crashes, sends no usage.
            shared_usages = self._config.stash[CONTROLLER].usage_by_worker()
            self._usages = {**shared_usages, **self._usages}
        summary = self._summary = self._summarize(is_interrupted=exitstatus in _INTERRUPTED)
        is_written = [
            self._try_to_write(file.name, partial(file.write, summary)) for file in self._files
        ]
        if self._tasks and (path := os.environ.get("GITHUB_STEP_SUMMARY")):
            append = partial(_append_step_summary, Path(path), summary)
            is_written.append(self._try_to_write(path, append))
        if not all(is_written) and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the section of the summary, and the annotations that GitHub shows in the code."""
        # A session that fails early has no end that summarizes it.
        summary = self._summary or self._summarize(is_interrupted=True)
        write(terminalreporter, summary, self._notes, self._settings)
        if os.environ.get("GITHUB_ACTIONS") == "true":
            from pytest_mipro.report import render_annotations

            terminalreporter.ensure_newline()
            root = self._config.rootpath
            for command in render_annotations(_in_checkout(summary, root)):
                terminalreporter.write_line(command)

    @property
    def tasks(self) -> Mapping[str, TaskSummary]:
        """The summaries so far, by the node id of their test."""
        return self._tasks

    def replace_task(self, node_id: str, task: TaskSummary) -> None:
        """Replace the summary of a test by one that the end of the session decided."""
        self._tasks[node_id] = task

    def add_note(self, text: str) -> None:
        """Add a line below the summary."""
        self._notes.append(text)

    def _try_to_write(self, path: str, write_report: Callable[[], None]) -> bool:
        """Write one report, and note in the summary whether that failed."""
        try:
            write_report()
        except OSError as error:
            self._notes.append(f"the report {path} could not be written: {error}")
            return False
        self._notes.append(f"report: {path}")
        return True

    def _summarize(self, *, is_interrupted: bool) -> Summary:
        from pytest_mipro.store import has_seal_key

        tasks = sorted(self._tasks.values(), key=lambda task: (task.file, task.line, task.test))
        orphans = self._config.stash[ORPHANS].orphans
        return Summary(
            tasks=tuple(tasks),
            usage=Usage.total(self._usages.values()),
            store=self._settings.store_name,
            versions=dict(_versions()),
            created=self._created.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._started, 3),
            orphans=None if orphans is None else tuple(orphans),
            interrupted=is_interrupted,
            sealed=has_seal_key(),
        )


def _append_step_summary(path: Path, summary: Summary) -> None:
    """Append a summary to that of the job's other steps, as far as GitHub's limit allows."""
    from pytest_mipro.report import render_step_summary

    size = path.stat().st_size if path.exists() else 0
    with path.open("a", encoding="utf-8") as file:
        file.write(render_step_summary(summary, size))


def _in_checkout(summary: Summary, root: Path) -> Summary:
    """Return ``summary`` with paths relative to the checkout, as GitHub needs them."""
    checkout = Path(os.environ.get("GITHUB_WORKSPACE") or root)
    if not root.is_relative_to(checkout):
        return summary
    folder = root.relative_to(checkout)
    tasks = (replace(task, file=(folder / task.file).as_posix()) for task in summary.tasks)
    return replace(summary, tasks=tuple(tasks))


def _add_section(report: pytest.TestReport, text: str) -> None:
    """Show a text below a failure, also with ``--show-capture=no``."""
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
