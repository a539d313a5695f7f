"""Telling the person at the terminal what takes so long."""

from __future__ import annotations

import os
import sys
import time
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from pytest_mipro.plugin.xdist import Worker
from pytest_mipro.report import columns_cut, progress_line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pytest_mipro.records import Progress

_EVERY = 2.0
"""Seconds between lines that stay."""
_SELDOM = 60.0
"""Seconds between lines of a log, where some systems take silence for a hang."""
_OFTEN = 0.2
"""Seconds between states of the line that is written over."""
_TELLING = 0.05
"""The share of a phase that has to be done before its pace says anything."""
_AT_LEAST = 3.0
"""The seconds it has to have taken, too."""


class ProgressReporter:
    """Writes lines between pytest's own: one that moves on a terminal, few in CI."""

    def __init__(self, config: pytest.Config) -> None:
        """Write to ``config``'s terminal, or from a worker to that of its controller."""
        told = getattr(config, "workerinput", None)
        self._voice: _Voice = _Terminal(config) if told is None else Worker(told)
        self._line = _LiveLine(config) if told is None else None
        self._last = 0.0
        self._pace: _Pace | None = None

    def say(self, line: str) -> None:
        """Write one line, unless pytest was asked to be quiet."""
        if self._line is not None:
            self._line.clear()
        self._voice.say(line)

    def progress(self, task: str, progress: Progress) -> None:
        """Write how far ``task`` has come: each phase, and in between, in a log seldom."""
        now = time.monotonic()
        line = self._line if self._line is not None and self._line.is_possible else None
        pace = self._pace
        if pace is None or pace.phase != (task, progress.phase):
            pace = _Pace(task, progress, now)
        left = pace.left(progress, now)
        if pace is self._pace and not self._is_due(now, line):
            return
        self._pace = pace
        self._last = now
        # What a model says that has to be asked again is mostly longer than a line can be.
        if line is None or progress.provider_error:
            self.say(progress_line(task, progress, left=left))
        else:
            line.show(lambda width: progress_line(task, progress, left=left, width=width))

    def _is_due(self, now: float, line: _LiveLine | None) -> bool:
        if line is not None:
            return now - self._last >= _OFTEN
        return now - self._last >= (_EVERY if self._voice.often else _SELDOM)


class _Pace:
    """How fast a phase goes, since it was first heard of."""

    def __init__(self, task: str, progress: Progress, now: float) -> None:
        self.phase = task, progress.phase
        self._begun = self._advanced = now
        self._first = self._done = progress.done

    def left(self, progress: Progress, now: float) -> float | None:
        """Return the seconds it will take yet, while there is something to go by."""
        if progress.done != self._done:
            self._done, self._advanced = progress.done, now
        done, seconds = self._done - self._first, self._advanced - self._begun
        # What was stored is done at once, and says nothing of what is to come.
        if progress.total is None or done < max(progress.total * _TELLING, 1):
            return None
        missing = progress.total - progress.done
        left = seconds / done * missing - (now - self._advanced)
        # Where it takes longer than it would at this pace, nobody knows how long.
        return left if seconds >= _AT_LEAST and left > 0 else None


class _Voice(Protocol):
    @property
    def often(self) -> bool:
        """Whether somebody watches who wants to see it move."""

    def say(self, line: str) -> None:
        """Write one line."""


class _Terminal:
    """The terminal of this process, if it has one."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @property
    def often(self) -> bool:
        return _is_watched(self._config)

    def say(self, line: str) -> None:
        def write(reporter: pytest.TerminalReporter) -> None:
            reporter.ensure_newline()
            reporter.write_line(line)
            reporter.flush()  # Or a log in CI would show nothing of it for minutes.

        _write(self._config, write)


class _LiveLine:
    """
    A line that is written over, and gone before anything else is written.

    Only a fixture that is being set up has one: whatever pytest captures cannot
    get between, and what is written afterwards finds the line empty.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._depth = 0
        self._shown = False
        self._lock = Lock()  # The search says from a thread of its own how far it is.
        config.pluginmanager.register(self)

    @property
    def is_possible(self) -> bool:
        """Whether a line can be written over: nobody else writes, and the terminal can."""
        config = self._config
        is_captured = config.getoption("capture", "no") != "no"
        logs = config.getini("log_cli") or config.getoption("log_cli_level", None)
        can = os.environ.get("TERM") != "dumb"
        return _is_watched(config) and is_captured and not logs and can

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_fixture_setup(self) -> Generator[None, Any, Any]:
        """Leave nothing behind for whoever writes next, such as ``--setup-show``."""
        self._depth += 1
        try:
            return (yield)
        finally:
            self._depth -= 1
            self.clear()

    def show(self, line: Callable[[int], str]) -> None:
        """Write a line, given the columns there are for it."""

        def write(reporter: pytest.TerminalReporter) -> None:
            if not self._shown:
                reporter.ensure_newline()
            # Where the last column is filled, some terminals begin another line.
            width = self._config.get_terminal_writer().fullwidth - 1
            _write_over(reporter, columns_cut(line(width), width))
            self._shown = True

        with self._lock:
            if self._depth:
                _write(self._config, write)

    def clear(self) -> None:
        """Take the line away."""

        def write(reporter: pytest.TerminalReporter) -> None:
            width = self._config.get_terminal_writer().fullwidth - 1
            _write_over(reporter, " " * width)
            self._shown = False

        with self._lock:
            if self._shown:
                _write(self._config, write)


def _write_over(reporter: pytest.TerminalReporter, text: str) -> None:
    """Write a line where the last one was, past pytest, which would count it as one of its own."""
    reporter.flush()
    if (terminal := sys.__stdout__) is not None:
        encoding = terminal.encoding or "utf-8"
        shown = text.encode(encoding, "replace").decode(encoding)
        # Back at its start, so that the terminal's ^C does not begin another line.
        terminal.write(f"\r{shown}\r")
        terminal.flush()


def _write(config: pytest.Config, write: Callable[[pytest.TerminalReporter], None]) -> None:
    """Write to the terminal itself, whatever is captured, unless it shall be quiet."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or reporter.verbosity < 0:
        return
    if capture is None:
        write(reporter)
    else:
        with capture.global_and_fixture_disabled():
            write(reporter)


def _is_watched(config: pytest.Config) -> bool:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return not os.environ.get("CI") and reporter is not None and reporter.isatty
