"""The files through which the controller and the workers of xdist exchange progress.

xdist shows nothing of the output of a worker. So workers append lines to a
file, and a thread of the controller shows the new lines. A worker on another
machine has no such file; its tests run all the same.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.plugin.interrupt import interrupt_message
from pytest_mipro.plugin.safe_text import safe_line
from pytest_mipro.spending import SharedSpending

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_mipro.plugin.settings import Settings
    from pytest_mipro.records import Usage

_FOLDER = "mipro_folder"
"""The key of the shared folder in ``workerinput``."""
_INTERACTIVE = "mipro_interactive"
"""The key of ``WorkerLines.is_interactive`` in ``workerinput``."""
_PROGRESS = "progress"
_POLL = 0.2
"""Seconds between two checks of the file of progress lines."""
_REPEATED = 8
"""Lines within which an equal line is shown once: all workers may wait for the same lock."""


class Controller:
    """Hooks of xdist's controller while ``--mipro`` is on."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        """Make the folder that the workers of ``config``'s session share."""
        self._config = config
        self._settings = settings
        self._is_interrupted = False
        self._folder = Path(tempfile.mkdtemp(prefix="pytest-mipro-"))
        self._printer = _LinePrinter(self._folder / _PROGRESS, self._show)
        self._printer.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Send a worker the path of the folder."""
        reporter = self._reporter
        is_interactive = bool(reporter and reporter.isatty and not os.environ.get("CI"))
        node.workerinput[_FOLDER] = str(self._folder)
        node.workerinput[_INTERACTIVE] = is_interactive

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Remove the process id of a worker that ended: another process may get it."""
        (self._folder / f"{node.gateway.id}.pid").unlink(missing_ok=True)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Interrupt the workers at once; xdist waits five seconds first."""
        if excinfo.type is not KeyboardInterrupt:
            return
        self._is_interrupted = True
        if os.name != "nt":  # There it would end workers before they have stored their rows.
            for file in self._folder.glob("*.pid"):
                with suppress(OSError, ValueError):
                    os.kill(int(file.read_text("ascii")), signal.SIGINT)

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the last lines and, after Ctrl-C, how to go on."""
        self._printer.stop()
        if self._is_interrupted:
            terminalreporter.ensure_newline()
            terminalreporter.write_line(interrupt_message(self._settings))

    def pytest_unconfigure(self) -> None:
        """Stop the thread, also in a session without a summary, and remove the folder."""
        self._printer.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def usage_by_worker(self) -> dict[str, Usage]:
        """Return the usage of each worker so far, by its name: calls and cost, no tokens."""
        return SharedSpending(self._folder, "controller").by_process()

    @property
    def _reporter(self) -> pytest.TerminalReporter | None:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    def _show(self, line: str) -> None:
        reporter = self._reporter
        if reporter is not None and reporter.verbosity >= 0:
            reporter.ensure_newline()
            if self._config.get_terminal_writer().width_of_current_line:
                reporter.write_line("")  # Dots of tests that belong to no file's line.
            reporter.write_line(safe_line(line))
            reporter.flush()  # Or a log in CI would show nothing of it for minutes.


def worker_id(config: pytest.Config) -> str:
    """Return the name that xdist gives this worker; empty in a process that is none."""
    return str(getattr(config, "workerinput", {}).get("workerid", ""))


def shared_folder(config: pytest.Config) -> Path | None:
    """Return the folder that all workers of a run share; None outside such a run."""
    folder = getattr(config, "workerinput", {}).get(_FOLDER)
    # The path leads nowhere if the controller runs on another machine.
    return Path(folder) if folder is not None and Path(folder).is_dir() else None


class WorkerLines:
    """The lines that a worker has its controller show.

    Attributes:
        is_interactive: Whether the controller writes to a terminal that a user watches.
    """

    def __init__(self, workerinput: Mapping[str, Any]) -> None:
        """Leave the worker's process id in the folder that ``workerinput`` names."""
        self.is_interactive = bool(workerinput.get(_INTERACTIVE))
        self._folder = Path(workerinput[_FOLDER]) if _FOLDER in workerinput else None
        self._append(f"{workerinput.get('workerid')}.pid", str(os.getpid()))

    def write_line(self, line: str) -> None:
        """Have the controller show one line."""
        self._append(_PROGRESS, f"{line}\n")

    def _append(self, name: str, text: str) -> None:
        # The path leads nowhere if the controller runs on another machine.
        if self._folder is not None and self._folder.is_dir():
            with suppress(OSError), (self._folder / name).open("ab") as file:
                file.write(text.encode("utf-8", "backslashreplace"))


class _LinePrinter(threading.Thread):
    """Shows the lines that are appended to a file, soon after they are."""

    def __init__(self, file: Path, show: Callable[[str], None]) -> None:
        super().__init__(name="mipro-progress", daemon=True)
        self.file = file
        self._show = show
        self._stop_event = threading.Event()
        self._offset = 0
        self._latest: deque[str] = deque(maxlen=_REPEATED)

    def run(self) -> None:
        while not self._stop_event.wait(_POLL):
            self._show_new_lines()

    def stop(self) -> None:
        """Show the last lines, and end the thread."""
        if not self._stop_event.is_set():
            self._stop_event.set()
            self.join()
            self._show_new_lines()

    def _show_new_lines(self) -> None:
        for line in self._new_lines():
            if line not in self._latest:
                self._show(line)
            self._latest.append(line)

    def _new_lines(self) -> list[str]:
        """Return the complete lines after the last one that was read."""
        with suppress(OSError), self.file.open("rb") as file:
            file.seek(self._offset)
            lines, end, _ = file.read().rpartition(b"\n")
            self._offset += len(lines + end)
            return lines.decode("utf-8", "replace").splitlines()
        return []
