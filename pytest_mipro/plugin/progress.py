"""Show the progress of tasks on the terminal while their tests are set up."""

from __future__ import annotations

import codecs
import io
import os
import sys
import time
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import pytest

from pytest_mipro.plugin.xdist import WorkerLines
from pytest_mipro.report import filled, progress_line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pytest_mipro.records import Progress

_LINE_INTERVAL = 2.0
"""Seconds between lines on a terminal that a user watches."""
_LOG_INTERVAL = 60.0
"""Seconds between lines of a log, where some systems take silence for a hang."""
_LIVE_INTERVAL = 0.2
"""Seconds between two states of the live line."""
_LEAST_SHARE = 0.05
"""The share of a phase that has to be done before its rate allows an estimate."""
_LEAST_SECONDS = 3.0
"""The seconds that it has to have taken, too."""
_NO_FILE = AttributeError, LookupError, OSError, TypeError, ValueError
"""What an object may raise that stands in the place of the standard output and is no file."""


class ProgressDisplay:
    """Writes lines between pytest's own: a live line on a terminal, few lines in CI."""

    def __init__(self, config: pytest.Config) -> None:
        """Write to ``config``'s terminal, or from a worker to that of its controller."""
        workerinput = getattr(config, "workerinput", None)
        self._writer: _LineWriter
        self._live_line: _LiveLine | None
        if workerinput is None:
            terminal = _Terminal(config)
            self._writer = _TerminalLines(config, terminal)
            self._live_line = _LiveLine(config, terminal)
        else:
            self._writer, self._live_line = WorkerLines(workerinput), None
        self._last = 0.0
        self._rate: _PhaseRate | None = None

    def say(self, line: str) -> None:
        """Write one line, unless pytest is quiet."""
        if self._live_line is not None:
            self._live_line.clear()
        self._writer.write_line(line)

    def progress(self, task: str, progress: Progress) -> None:
        """Write the progress of ``task``: at the start of each phase, and at intervals."""
        now = time.monotonic()
        line = self._live_line
        if line is not None and not line.is_possible:
            line = None
        rate = self._rate
        if rate is None or rate.phase != (task, progress.phase):
            rate = _PhaseRate(task, progress, now)
        left = rate.seconds_left(progress, now)
        if rate is self._rate and not self._is_due(now, line):
            return
        self._rate = rate
        self._last = now
        # A provider's error is mostly longer than a live line can be.
        if line is None or progress.provider_error:
            self.say(progress_line(task, progress, left=left))
        else:
            line.show(lambda width: progress_line(task, progress, left=left, width=width))

    def _is_due(self, now: float, line: _LiveLine | None) -> bool:
        if line is not None:
            return now - self._last >= _LIVE_INTERVAL
        interval = _LINE_INTERVAL if self._writer.is_interactive else _LOG_INTERVAL
        return now - self._last >= interval


class _PhaseRate:
    """The rate of a phase since its first report."""

    def __init__(self, task: str, progress: Progress, now: float) -> None:
        self.phase = task, progress.phase
        self._start = self._advanced = now
        self._first = self._done = progress.done

    def seconds_left(self, progress: Progress, now: float) -> float | None:
        """Return the estimated seconds until the phase ends; None without a basis for it."""
        if progress.done != self._done:
            self._done, self._advanced = progress.done, now
        done, seconds = self._done - self._first, self._advanced - self._start
        # Stored rows are done at once, and say nothing of those that are evaluated.
        if progress.total is None or done < max(progress.total * _LEAST_SHARE, 1):
            return None
        missing = progress.total - progress.done
        left = seconds / done * missing - (now - self._advanced)
        # A phase that is slower than its rate so far leaves nothing to estimate by.
        return left if seconds >= _LEAST_SECONDS and left > 0 else None


class _LineWriter(Protocol):
    @property
    def is_interactive(self) -> bool:
        """Whether the lines go to a terminal that a user watches."""

    def write_line(self, line: str) -> None:
        """Write one line."""


class _TerminalLines:
    """Lines on the terminal of this process, if it has one."""

    def __init__(self, config: pytest.Config, terminal: _Terminal) -> None:
        self._config = config
        self._terminal = terminal

    @property
    def is_interactive(self) -> bool:
        return _is_interactive(self._config)

    def write_line(self, line: str) -> None:
        def write(reporter: pytest.TerminalReporter) -> None:
            reporter.ensure_newline()
            reporter.write_line(line)
            reporter.flush()  # Or a log in CI would show nothing of it for minutes.

        self._terminal.write(write)


class _LiveLine:
    """A line that is written over, and cleared before any other line is written.

    It exists only while a fixture is set up: pytest captures all other output
    meanwhile, and writes its own afterwards.
    """

    def __init__(self, config: pytest.Config, terminal: _Terminal) -> None:
        self._config = config
        self._terminal = terminal
        self._depth = 0
        self._is_shown = False
        self._lock = Lock()  # The search reports its progress from a thread of its own.
        config.pluginmanager.register(self)

    @property
    def is_possible(self) -> bool:
        """Whether pytest captures all other output, and the terminal can write over a line."""
        config = self._config
        is_captured = config.getoption("capture", "no") != "no"
        has_live_logs = config.getini("log_cli") or config.getoption("log_cli_level", None)
        is_capable = os.environ.get("TERM") != "dumb"
        return _is_interactive(config) and is_captured and not has_live_logs and is_capable

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_fixture_setup(self) -> Generator[None, Any, Any]:
        """Clear the line before other output follows, such as that of ``--setup-show``."""
        self._depth += 1
        try:
            return (yield)
        finally:
            self._depth -= 1
            self.clear()

    def show(self, line: Callable[[int], str]) -> None:
        """Write the line that ``line`` returns for the number of columns."""

        def write(reporter: pytest.TerminalReporter) -> None:
            if not self._is_shown:
                reporter.ensure_newline()
            # Some terminals begin another line when the last column is filled.
            width = self._terminal.width - 1
            self._terminal.write_over(filled(line(width), width))
            self._is_shown = True

        with self._lock:
            if self._depth:
                self._terminal.write(write)

    def clear(self) -> None:
        """Remove the line from the terminal."""

        def write(_: pytest.TerminalReporter) -> None:
            self._terminal.write_over(" " * (self._terminal.width - 1))
            self._is_shown = False

        with self._lock:
            if self._is_shown:
                self._terminal.write(write)


class _Terminal:
    """The terminal of this process, which lines reach past pytest's capture.

    If pytest suspended its capture for a line, what a program prints in another thread just then
    would reach the terminal, too, and it may be what a model wrote. So the lines go through a
    copy of the file descriptor, which pytest redirects for all others.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._stream = _copy(sys.stdout)  # Nothing is captured while pytest is configured.
        if self._stream is not sys.stdout:
            config.add_cleanup(self._stream.close)
        self._lock = Lock()

    @property
    def width(self) -> int:
        """The number of columns."""
        # pytest asks the standard output, which it captures at times.
        if "COLUMNS" not in os.environ:
            with suppress(*_NO_FILE):
                return os.get_terminal_size(self._stream.fileno()).columns
        return self._config.get_terminal_writer().fullwidth

    def write(self, write: Callable[[pytest.TerminalReporter], None]) -> None:
        """Have ``write`` write through pytest's reporter, unless pytest is quiet."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if reporter is None or reporter.verbosity < 0:
            return
        if capture is None or not capture.is_capturing():
            write(reporter)
            return
        # The reporter counts columns in its writer, so that no other writer can take its place.
        writer = vars(self._config.get_terminal_writer())
        with self._lock:
            own, writer["_file"] = writer["_file"], self._stream
            try:
                write(reporter)
            finally:
                writer["_file"] = own

    def write_over(self, text: str) -> None:
        """Write over the present line, not through pytest, which would count the line as its own.

        The cursor goes back to the start, so that the terminal's ^C begins no other line.
        """
        encoding = _encoding_of(self._stream) or "utf-8"
        self._stream.write(f"\r{text.encode(encoding, 'replace').decode(encoding)}\r")
        self._stream.flush()


def _copy(stream: TextIO) -> TextIO:
    """Return a stream to the same file; the stream itself if it is no file's.

    A script that runs pytest may have put an object of any class in the place of its output.
    """
    encoding, errors = _encoding_of(stream), getattr(stream, "errors", None)
    try:
        codecs.lookup_error(errors or "strict")
        written = io.BufferedWriter(io.FileIO(os.dup(stream.fileno()), "w"))
    except _NO_FILE:
        return stream
    return io.TextIOWrapper(written, encoding=encoding, errors=errors)


def _encoding_of(stream: TextIO) -> str | None:
    """Return the encoding of a stream, if it names one that there is, of texts."""
    encoding: Any = getattr(stream, "encoding", None)
    try:
        "".encode(encoding)
    except (LookupError, TypeError, ValueError):
        return None
    return str(encoding)


def _is_interactive(config: pytest.Config) -> bool:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return not os.environ.get("CI") and reporter is not None and reporter.isatty
