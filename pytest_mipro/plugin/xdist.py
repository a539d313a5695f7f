"""
What xdist's controller does for its workers, and what they tell it meanwhile.

Nobody sees what a worker prints. So workers append lines to a file, and a
thread of the controller shows what is new in it. There is no file for workers
on another machine; the tests run there all the same.
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
from pytest_mipro.spending import SharedSpending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.plugin.options import Settings
    from pytest_mipro.records import Usage

_FOLDER = "mipro_folder"
_OFTEN = "mipro_often"
"""What a worker is told under these names: see ``Worker``."""
_PROGRESS = "progress"
_POLL = 0.2
_REPEATED = 8
"""Lines within which the same one is shown once: all workers wait for the same other."""


class Controller:
    """Hooks of the controller while ``--mipro`` is on."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        """Serve the workers of ``config``'s session."""
        self._config = config
        self._settings = settings
        self._interrupted = False
        self._folder = Path(tempfile.mkdtemp(prefix="pytest-mipro-"))
        self._listener = _Listener(self._folder / _PROGRESS, self._show)
        self._listener.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker where its lines go."""
        reporter = self._reporter
        node.workerinput[_FOLDER] = str(self._folder)
        node.workerinput[_OFTEN] = bool(reporter and reporter.isatty and not os.environ.get("CI"))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Forget a worker that has ended: another process may get its number."""
        (self._folder / f"{node.gateway.id}.pid").unlink(missing_ok=True)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Pass Ctrl-C on: xdist lets workers go on for five seconds before it does."""
        if excinfo.type is not KeyboardInterrupt:
            return
        self._interrupted = True
        if os.name != "nt":  # There it would end them before they have stored what they got.
            for file in self._folder.glob("*.pid"):
                with suppress(OSError, ValueError):
                    os.kill(int(file.read_text("ascii")), signal.SIGINT)

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show what is left to show, and after Ctrl-C how to go on."""
        self._listener.stop()
        if self._interrupted:
            terminalreporter.ensure_newline()
            terminalreporter.write_line(interrupt_message(self._settings))

    def pytest_unconfigure(self) -> None:
        """Stop listening, also where there was no summary."""
        self._listener.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def spent(self) -> dict[str, Usage]:
        """Return what each worker has spent so far, by its name; calls and cost, no tokens."""
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
            reporter.write_line(line)
            reporter.flush()  # Or a log in CI would show nothing of it for minutes.


def shared_folder(config: pytest.Config) -> Path | None:
    """Return the folder that all workers of a run share, if ``config`` is of one that can."""
    folder = getattr(config, "workerinput", {}).get(_FOLDER)
    # There is no such folder where the controller is another machine.
    return Path(folder) if folder is not None and Path(folder).is_dir() else None


class Worker:
    """
    What a worker tells its controller.

    Attributes:
        often: Whether somebody watches who wants to see it move.

    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Report in, at the controller that has ``told`` the worker how."""
        self.often = bool(told.get(_OFTEN))
        self._folder = Path(told[_FOLDER]) if _FOLDER in told else None
        self._append(f"{told.get('workerid')}.pid", str(os.getpid()))

    def say(self, line: str) -> None:
        """Have the controller show one line."""
        self._append(_PROGRESS, f"{line}\n")

    def _append(self, name: str, text: str) -> None:
        # There is no such folder where the controller is another machine.
        if self._folder is not None and self._folder.is_dir():
            with suppress(OSError), (self._folder / name).open("ab") as file:
                file.write(text.encode("utf-8", "backslashreplace"))


class _Listener(threading.Thread):
    """Shows the lines that are appended to a file, as they come."""

    def __init__(self, file: Path, show: Any) -> None:
        super().__init__(name="mipro-progress", daemon=True)
        self.file = file
        self._show = show
        self._stopped = threading.Event()
        self._read = 0
        self._latest: deque[str] = deque(maxlen=_REPEATED)

    def run(self) -> None:
        while not self._stopped.wait(_POLL):
            self._catch_up()

    def stop(self) -> None:
        """Show what is left, and end."""
        if not self._stopped.is_set():
            self._stopped.set()
            self.join()
            self._catch_up()

    def _catch_up(self) -> None:
        for line in self._news():
            if line not in self._latest:
                self._show(line)
            self._latest.append(line)

    def _news(self) -> list[str]:
        """Return the lines that are new; the rest of one comes later."""
        with suppress(OSError), self.file.open("rb") as file:
            file.seek(self._read)
            whole, end, _ = file.read().rpartition(b"\n")
            self._read += len(whole + end)
            return whole.decode("utf-8", "replace").splitlines()
        return []
