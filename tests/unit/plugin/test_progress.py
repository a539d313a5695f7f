"""What the tests of the plugin cannot show: they run no two threads in step."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pytest_mipro.plugin.progress import _TerminalLines

if TYPE_CHECKING:
    import pytest


class Reporter:
    """A terminal, during whose writes a program prints in another thread."""

    verbosity = 0
    streams: list[tuple[object, object]]

    def ensure_newline(self) -> None:
        """Begin a line."""
        sys.stdout.write("::error::from a model\n")
        sys.stderr.write("::stop-commands::x\n")
        self.streams.append((sys.stdout, sys.stderr))

    def write_line(self, line: str) -> None:
        """Write a line."""

    def flush(self) -> None:
        """Write it now."""


def test_what_is_printed_meanwhile_stays_captured(
    request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    """A line is written past the capture of pytest, and nothing else is.

    A program may ask the stream for more than to be written to, such as its file descriptor.
    """
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    reporter = Reporter()
    plugins = {"terminalreporter": reporter, "capturemanager": capture}
    config: Any = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin=plugins.get))
    reporter.streams = [(sys.stdout, sys.stderr)]
    _TerminalLines(config).write_line("mipro: scoring")
    assert len(set(reporter.streams)) == 1
    assert capfd.readouterr() == ("::error::from a model\n", "::stop-commands::x\n")
