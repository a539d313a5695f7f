"""The progress of a compile on a terminal, in CI and in a pipe."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, cast

import pyte
import pytest
from project import CONFTEST, LONGEST, PROGRAM, SILENT

from pytest_mipro.plugin.progress import ProgressDisplay, _PhaseRate
from pytest_mipro.records import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from project import Project

on_a_terminal = pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
"""The marker of tests that need a terminal."""

FEW = PROGRAM.replace("ROWS[70:94]", "ROWS[70:78]")
"""A program with few held-out rows: the progress of more is the same."""
SLOW = (
    CONFTEST.replace('"calls.log")', '"calls.log", latency=0.1)')
    + """
from pytest_mipro.plugin import progress

progress._LINE_INTERVAL = 0.1
"""
)
"""A conftest file whose model is slower than the live line."""
UNREACHABLE = """
import os
import time
import dspy
import pytest
from scripted import ScriptedEngine
from pytest_mipro.evaluate import event_loop
from pytest_mipro.plugin import progress

event_loop.PROGRESS_INTERVAL = progress._LOG_INTERVAL = progress._LINE_INTERVAL = 0.1

class Unreachable(ScriptedEngine):
    start = None

    def complete(self, request):
        if self.start is None:
            self.start = time.monotonic()
        if time.monotonic() < self.start + 3:
            key = os.environ["PROXY_KEY"]
            raise dspy.LMTransportError(f"refused by https://me:{key}@host")
        return super().complete(request)

@pytest.fixture(scope="session")
def mipro_lm():
    return dspy.LM("scripted", engine=Unreachable(), cache=False, num_retries=0)
"""
"""A conftest file whose model cannot be reached for three seconds."""
LONG = "test_" + "多" * 30
LIVE = re.compile(r"^test_adder: (bootstrapping|proposing|searching|scoring)")
PLAIN = re.compile(r"^mipro: test_adder: (bootstrapping|proposing|searching|scoring)")
VARIABLES = ("CI", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS")
"""The variables that describe the terminal of the test run."""
LINES = 60


@pytest.fixture
def project(project: Project) -> Project:
    """Write a project that is compiled quickly."""
    project.write(program=FEW, test_adder=SILENT)
    return project


@dataclass
class Recording:
    """The output of a run on a terminal.

    Attributes:
        columns: The width of the terminal.
        raw: The text that was sent to it.
        screens: The lines on it after each piece of text.
    """

    columns: int
    raw: str = ""
    screens: list[list[str]] = field(default_factory=list)

    @property
    def end(self) -> list[str]:
        """The lines after the run."""
        return self.screens[-1]

    @property
    def live(self) -> list[str]:
        """The states of the live line."""
        last = [screen[-1] for screen in self.screens if screen]
        return list(dict.fromkeys(line for line in last if LIVE.match(line)))


def record(
    project: Project,
    *arguments: str,
    columns: int = 80,
    variables: Mapping[str, str] = MappingProxyType({}),
    stop_at: str | None = None,
) -> Recording:
    """Run pytest on a terminal, or press Ctrl-C once it shows ``stop_at``."""
    # Windows has none of these modules.
    import fcntl
    import pty
    import termios

    terminal, program_side = pty.openpty()
    fcntl.ioctl(program_side, termios.TIOCSWINSZ, struct.pack("4H", LINES, columns, 0, 0))
    assert project.server is not None
    run = project.server.start(
        ["-p", "no:cacheprovider", "--mipro", *arguments],
        cwd=project.path,
        env=environment(TERM="xterm", **variables),
        streams=[program_side] * 3,
    )
    os.close(program_side)
    recording = read_terminal(terminal, columns, stop_at)
    assert run.wait(60) == (0 if stop_at is None else 2), recording.raw
    os.close(terminal)
    return recording


def environment(**variables: str) -> dict[str, str]:
    """Return the environment without the variables that describe another terminal."""
    neutral = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return {**neutral, **variables}


def read_terminal(terminal: int, columns: int, stop_at: str | None) -> Recording:
    """Record the text on a terminal until its other side is closed; press Ctrl-C at ``stop_at``."""
    recording, screen = Recording(columns), pyte.Screen(columns, LINES)
    stream = pyte.ByteStream(screen)
    for chunk in chunks(terminal):
        stream.feed(chunk)
        recording.raw += chunk.decode("utf-8", "replace")
        lines = "\n".join(line.rstrip() for line in screen.display).rstrip()
        recording.screens.append(lines.split("\n"))
        if stop_at is not None and stop_at in lines:
            os.write(terminal, b"\x03")
            stop_at = None
    return recording


def chunks(terminal: int) -> Iterator[bytes]:
    """Yield pieces of text until the other side is closed, which is an OSError on Linux."""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:
            return
        if not chunk:
            return
        yield chunk


@pytest.mark.uses("pytest")
@on_a_terminal
@pytest.mark.parametrize("columns", [50, 100])
def test_the_live_line_is_written_over_and_cleared(project: Project, columns: int) -> None:
    """The line shows the progress of each phase, and pytest's output follows without it."""
    project.write(conftest=SLOW)
    recording = record(project, columns=columns)
    states = "\n".join(recording.live)
    assert "test_adder: bootstrapping demos\n" in states
    assert re.search(r"searching \d+/\d+, best so far [01]\.\d+", states)
    assert "scoring held-out examples" in states
    for screen in recording.screens:
        assert sum(bool(LIVE.match(line)) for line in screen) <= 1
    assert not any("searching" in line or "scoring" in line for line in recording.end)
    start = recording.end.index(
        "mipro: test_adder: compiling: no artifact in the store yet"[:columns]
    )
    rest = recording.end[start + 1 :]
    dots = next(index for index, line in enumerate(rest) if line.startswith("."))
    assert rest[dots] == "." + "[100%]".rjust(columns - 2)
    assert "1 passed" in recording.end[-1]


@on_a_terminal
def test_the_live_line_fits_a_wide_name(project: Project) -> None:
    """A line with letters of two columns does not wrap onto the next line."""
    project.write(conftest=SLOW, test_adder=SILENT.replace("dataset=", f"name={LONG!r}, dataset="))
    recording = record(project, columns=60)
    counts = [sum("…: " in line for line in screen) for screen in recording.screens]
    assert max(counts) == 1
    assert any("…: searching" in line for screen in recording.screens for line in screen)


@pytest.mark.uses("pytest", "pytest-xdist")
@on_a_terminal
@pytest.mark.parametrize(
    "arguments, variables",
    [
        (("-s",), {}),
        (("--log-cli-level=WARNING",), {}),
        (("-n1",), {}),
        ((), {"CI": "true"}),
    ],
    ids=["nothing captured", "live logs", "xdist", "CI"],
)
def test_permanent_lines(
    project: Project, arguments: tuple[str, ...], variables: dict[str, str]
) -> None:
    """Each phase has a line of its own if other output is possible or no user watches."""
    printing = SILENT.replace("DATASET\n", "DATASET\nprint('imported')\n", 1)
    project.write(test_adder=printing)
    recording = record(project, *arguments, variables=variables)
    phases = [match[1] for line in recording.end if (match := PLAIN.match(line))]
    assert list(dict.fromkeys(phases)) == ["bootstrapping", "proposing", "searching", "scoring"]
    assert not recording.live
    assert "\r" not in recording.raw.replace("\r\n", "").partition("compiling")[2]


@pytest.mark.uses("pytest-xdist")
def test_lines_between_the_dots_of_xdist(project: Project) -> None:
    """A progress line begins on a new line after the dots."""
    quick = "import pytest, time\n"
    quick += "@pytest.mark.parametrize('number', range(20))\n"
    quick += "def test_quick(number): time.sleep(0.1)"
    project.write(conftest=SLOW, test_quick=quick)
    result = project.run("--mipro", "-n2", "test_quick.py", "test_adder.py")
    result.assert_outcomes(passed=21)
    lines = [line for line in result.outlines if "mipro: test_adder: " in line]
    assert len(lines) >= 5
    assert all(line.startswith("mipro: ") for line in lines)
    assert any(set(line) == {"."} for line in result.outlines)


@pytest.mark.uses("pytest")
@on_a_terminal
def test_output_of_pytest_after_the_live_line(project: Project) -> None:
    """Output in the middle of a test begins on a new line, too."""
    project.write(conftest=SLOW)
    recording = record(project, "--setup-show", "-v")
    assert recording.live
    assert "        SETUP    F mipro" in recording.end
    assert "test_adder.py::test_adder PASSED" in [line.split("  ")[0] for line in recording.end]
    assert not any("searching" in line or "scoring" in line for line in recording.end)


@on_a_terminal
def test_ctrl_c_clears_the_live_line(project: Project) -> None:
    """The message after Ctrl-C follows without the rest of a line, also with the ^C."""
    project.write(conftest=CONFTEST.replace('"calls.log")', '"calls.log", latency=0.5)'))
    recording = record(project, stop_at="test_adder: searching")
    start = recording.end.index("mipro: test_adder: compiling: no artifact in the store yet")
    rest = [line for line in recording.end[start + 1 :] if line]
    assert rest[0].startswith("! _pytest.outcomes.Exit: mipro: stopped by Ctrl-C.")


@on_a_terminal
def test_quiet_shows_no_progress(project: Project) -> None:
    """With ``-q`` the terminal shows only the result."""
    recording = record(project, "-q")
    assert not recording.live
    assert not any("searching" in line for screen in recording.screens for line in screen)
    assert "\r" not in recording.raw.replace("\r\n", "")
    assert "1 passed" in recording.end[-1]


def test_a_pipe_gets_plain_lines(project: Project) -> None:
    """Each phase has one line without control characters of terminals."""
    run = project.start("-p", "no:cacheprovider", "--mipro", env=environment())
    text, _ = run.communicate(timeout=LONGEST)
    assert run.returncode == pytest.ExitCode.OK, text
    assert "\r" not in text
    assert "\x1b" not in text
    phases = [match[1] for line in text.split("\n") if (match := PLAIN.match(line))]
    assert phases == ["bootstrapping", "proposing", "searching", "scoring"]


@pytest.mark.parametrize("terminal", [False, pytest.param(True, marks=on_a_terminal)])
def test_the_error_of_an_unreachable_model_is_shown(
    project: Project, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """A permanent line shows the provider's last error, without credentials."""
    secret = "sk-" + "proxy4711" * 4
    monkeypatch.setenv("PROXY_KEY", secret)
    project.write(conftest=UNREACHABLE)
    message = "asking the model again: LMTransportError: refused by https://me:***@host"
    lines = record(project, columns=160).end if terminal else project.run("--mipro").outlines
    assert any(line.startswith("mipro: ") and line.endswith(message) for line in lines)
    assert secret not in "\n".join(lines)


def test_a_log_has_a_line_each_minute() -> None:
    """A long phase keeps a log alive, as some systems take silence for a hang."""
    reporter = ProgressDisplay(cast("pytest.Config", SimpleNamespace(workerinput={})))
    reporter._last = 100.0
    due = [reporter._is_due(now, None) for now in (101.0, 159.0, 160.0)]
    assert due == [False, False, True]


class TestPhaseRate:
    def test_time_left(self) -> None:
        """The estimate is the time of the missing rows at the rate of the phase so far."""
        rate = _PhaseRate("a", Progress("search", 20, 100), 50.0)
        assert rate.seconds_left(Progress("search", 40, 100), 60.0) == pytest.approx(30.0)
        assert rate.seconds_left(Progress("search", 40, 100), 70.0) == pytest.approx(20.0)

    def test_time_left_is_unknown_for_a_slower_phase(self) -> None:
        """A phase that stalls, or whose rows came from the store at once, has no estimate."""
        rate = _PhaseRate("a", Progress("search", 20, 100), 50.0)
        assert rate.seconds_left(Progress("search", 40, 100), 60.0) is not None
        assert rate.seconds_left(Progress("search", 40, 100), 91.0) is None
        rate = _PhaseRate("a", Progress("bootstrap", 0, 3), 50.0)
        assert rate.seconds_left(Progress("bootstrap", 2, 3), 50.1) is None
        assert rate.seconds_left(Progress("bootstrap", 2, 3), 110.0) is None

    @pytest.mark.parametrize(
        "done, total, now",
        [(21, 100, 90.0), (20, 100, 90.0), (40, 100, 51.0), (100, 100, 90.0), (40, None, 90.0)],
        ids=["too little", "nothing", "too soon", "all", "no end"],
    )
    def test_time_left_is_unknown_without_a_basis(
        self, done: int, total: int | None, now: float
    ) -> None:
        """Too few rows, too few seconds or no rows to come leave nothing to estimate."""
        rate = _PhaseRate("a", Progress("search", 20, 100), 50.0)
        assert rate.seconds_left(Progress("search", done, total), now) is None
