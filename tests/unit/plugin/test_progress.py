"""What the tests of the plugin cannot show: they run no two threads in step."""

from __future__ import annotations

import codecs
import io
import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.plugin.progress import _Terminal, _TerminalLines

if TYPE_CHECKING:
    from collections.abc import Callable


class Config:
    """The configuration of a run that captures its output, and its reporter and writer."""

    verbosity = 0
    fullwidth = 80

    def __init__(self, capture: object, print_meanwhile: Callable[[], None]) -> None:
        self.pluginmanager = self
        self._file: Any = sys.stdout
        self._capture = capture
        self._print_meanwhile = print_meanwhile
        self.cleanups: list[Callable[[], None]] = []

    def get_plugin(self, name: str) -> object:
        """Return a plugin of pytest."""
        return {"terminalreporter": self, "capturemanager": self._capture}[name]

    def get_terminal_writer(self) -> Config:
        """Return the writer of the reporter."""
        return self

    def add_cleanup(self, function: Callable[[], None]) -> None:
        """Call a function at the end of the run."""
        self.cleanups.append(function)

    def ensure_newline(self) -> None:
        """Begin a line, while a program prints."""
        self._print_meanwhile()

    def write_line(self, line: str) -> None:
        """Write a line."""
        self._file.write(f"{line}\n")

    def flush(self) -> None:
        """Write it now."""
        self._file.flush()


def test_a_line_goes_past_the_capture_and_nothing_else_does(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another thread prints meanwhile stays captured, as all that it prints."""
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    captured, streams = sys.stdout, []
    config: Any = Config(capture, lambda: streams.append(sys.stdout))
    reading, writing = os.pipe()
    with monkeypatch.context() as patch:
        output = SimpleNamespace(fileno=lambda: writing, encoding="utf-8", errors="strict")
        patch.setattr(sys, "stdout", output)
        terminal = _Terminal(config)
    os.close(writing)
    with os.fdopen(reading, "rb") as shown:
        _TerminalLines(config, terminal).write_line("mipro: scoring")
        assert (streams, config._file) == ([captured], captured)
        assert capture.is_capturing()
        terminal.write_over("searching")
        (close,) = config.cleanups
        close()
        assert shown.read() == b"mipro: scoring\n\rsearching\r"


class Replacement:
    """An output that a script puts in the place of its own, with what pytest asks of one."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        """Keep a text."""
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Do nothing."""

    def getvalue(self) -> str:
        """Return what was written."""
        return self.text


@pytest.mark.parametrize("output", [io.StringIO, Replacement])
def test_a_stream_that_is_no_file_is_written_to(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    output: type[io.StringIO | Replacement],
) -> None:
    """As in a run of pytest inside of this process, or of a script."""
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    stream = output()
    config: Any = Config(capture, lambda: None)
    monkeypatch.setattr(sys, "stdout", stream)
    terminal = _Terminal(config)
    monkeypatch.delenv("COLUMNS", raising=False)
    _TerminalLines(config, terminal).write_line("mipro: scoring")
    terminal.write_over("é" * (terminal.width - 79))
    assert stream.getvalue() == "mipro: scoring\n\ré\r"
    assert config.cleanups == []


@pytest.mark.parametrize(
    "names",
    [
        {"encoding": "nosuch", "errors": "strict"},
        {"encoding": 8, "errors": None},
        {"encoding": "a\0b"},
        {"encoding": "rot13"},
        {"encoding": "utf-8", "errors": "nosuch"},
    ],
    ids=["unknown", "number", "nul", "no encoding of texts", "errors"],
)
def test_an_output_with_an_odd_encoding_leaves_no_descriptor(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, names: dict[str, Any]
) -> None:
    """An object of another class may name anything; the live line is still written."""
    config: Any = Config(request.config.pluginmanager.get_plugin("capturemanager"), lambda: None)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as shown:
        with os.fdopen(writing, "w") as written, monkeypatch.context() as patch:
            output = SimpleNamespace(
                fileno=written.fileno, write=written.write, flush=written.flush, **names
            )
            patch.setattr(sys, "stdout", output)
            terminal = _Terminal(config)
            terminal.write_over("searching")
        for close in config.cleanups:
            close()
        assert shown.read() == b"\rsearching\r"  # which ends with the last descriptor


def test_a_writer_of_bytes_is_written_past(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a file, and no name of an encoding."""
    config: Any = Config(request.config.pluginmanager.get_plugin("capturemanager"), lambda: None)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as shown:
        with os.fdopen(writing, "wb") as written, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", codecs.getwriter("utf-8")(written))
            terminal = _Terminal(config)
        _TerminalLines(config, terminal).write_line("mipro: scoring")
        (close,) = config.cleanups
        close()
        assert shown.read() == b"mipro: scoring\n"
