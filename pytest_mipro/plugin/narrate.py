"""Telling the person at the terminal what takes so long."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from pytest_mipro.report.terminal import progress_line

if TYPE_CHECKING:
    import pytest

    from pytest_mipro.records import Progress

_EVERY = 2.0


class Narrator:
    """Writes lines between pytest's own: often on a terminal, seldom in CI."""

    def __init__(self, config: pytest.Config) -> None:
        """Write to ``config``'s terminal, if this process has one."""
        self._config = config
        self._last = 0.0
        self._phase: tuple[str, str] | None = None

    def say(self, line: str) -> None:
        """Write one line, unless pytest was asked to be quiet."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if reporter is None or reporter.verbosity < 0:
            return
        if capture is None:
            self._write(reporter, line)
        else:
            with capture.global_and_fixture_disabled():
                self._write(reporter, line)

    def progress(self, task: str, progress: Progress) -> None:
        """Write how far ``task`` has come: each phase, and in between on a terminal."""
        now = time.monotonic()
        new = self._phase != (task, progress.phase)
        if not new and (self._in_ci or now - self._last < _EVERY):
            return
        self._phase = (task, progress.phase)
        self._last = now
        self.say(progress_line(task, progress))

    @property
    def _in_ci(self) -> bool:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        return bool(os.environ.get("CI")) or reporter is None or not reporter.isatty

    @staticmethod
    def _write(reporter: pytest.TerminalReporter, line: str) -> None:
        reporter.ensure_newline()
        reporter.write_line(line)
