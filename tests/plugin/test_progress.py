"""What somebody sees while a compile goes on: on a terminal, in CI, in a pipe."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, cast

import pyte
import pytest
from project import CONFTEST, LONGEST, TEST

from pytest_mipro.plugin.progress import ProgressReporter, _Pace
from pytest_mipro.records import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from project import Project

pytestmark = pytest.mark.uses("pytest")

on_a_terminal = pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
"""For tests that look at a terminal."""

SLOW = CONFTEST.replace('"calls.log")', '"calls.log", latency=0.1)')
"""For a compile that takes a moment."""
UNREACHABLE = """
import os
import time
import dspy
import pytest
from scripted import ScriptedEngine
from pytest_mipro.evaluate import event_loop
from pytest_mipro.plugin import progress

event_loop.PROGRESS_INTERVAL = progress._SELDOM = progress._EVERY = 0.1  # It is a minute.

class Unreachable(ScriptedEngine):
    begun = None

    def complete(self, request):
        if self.begun is None:
            self.begun = time.monotonic()
        if time.monotonic() < self.begun + 3:
            key = os.environ["PROXY_KEY"]
            raise dspy.LMTransportError(f"refused by https://me:{key}@host")
        return super().complete(request)

@pytest.fixture(scope="session")
def mipro_lm():
    return dspy.LM("scripted", engine=Unreachable(), cache=False, num_retries=0)
"""
"""A model that cannot be asked at first."""
LONG = "test_" + "多" * 30
LIVE = re.compile(r"^test_adder: (bootstrapping|proposing|searching|scoring)")
PLAIN = re.compile(r"^mipro: test_adder: (bootstrapping|proposing|searching|scoring)")
VARIABLES = ("CI", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS")
"""They are about the terminal of whoever tests this."""
LINES = 60


@dataclass
class Seen:
    """
    What a terminal showed.

    Attributes:
        columns: How wide it is.
        raw: What was sent to it.
        screens: The lines on it after each time something was sent.

    """

    columns: int
    raw: str = ""
    screens: list[list[str]] = field(default_factory=list)

    @property
    def end(self) -> list[str]:
        """The lines that are left."""
        return self.screens[-1]

    @property
    def live(self) -> list[str]:
        """The states of the line that is written over."""
        last = [screen[-1] for screen in self.screens if screen]
        return list(dict.fromkeys(line for line in last if LIVE.match(line)))


def watch(
    project: Project,
    *arguments: str,
    columns: int = 80,
    variables: Mapping[str, str] = MappingProxyType({}),
    stop_at: str | None = None,
) -> Seen:
    """Run pytest on a terminal, perhaps until that shows a text, and return what it showed."""
    # Windows has none of them.
    import fcntl
    import pty
    import termios

    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("4H", LINES, columns, 0, 0))
    assert project.server is not None
    run = project.server.start(
        ["-p", "no:cacheprovider", "--mipro", *arguments],
        cwd=project.path,
        env=environment(TERM="xterm", **variables),
        streams=[there, there, there],
    )
    os.close(there)
    seen = look(here, columns, stop_at)
    assert run.wait(60) == (0 if stop_at is None else 2), seen.raw
    os.close(here)
    return seen


def environment(**variables: str) -> dict[str, str]:
    """Return the environment, but for what tells of another terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return {**kept, **variables}


def look(terminal: int, columns: int, stop_at: str | None) -> Seen:
    """Show what is sent to a terminal until nobody has it open; press Ctrl-C at a text."""
    seen, screen = Seen(columns), pyte.Screen(columns, LINES)
    stream = pyte.ByteStream(screen)
    for sent in chunks(terminal):
        stream.feed(sent)
        seen.raw += sent.decode("utf-8", "replace")
        lines = "\n".join(line.rstrip() for line in screen.display).rstrip()
        seen.screens.append(lines.split("\n"))
        if stop_at is not None and stop_at in lines:
            os.write(terminal, b"\x03")
            stop_at = None
    return seen


def chunks(terminal: int) -> Iterator[bytes]:
    """Yield what comes, until the other side is closed, which Linux calls an error."""
    while True:
        try:
            sent = os.read(terminal, 4096)
        except OSError:
            return
        if not sent:
            return
        yield sent


@on_a_terminal
@pytest.mark.parametrize("columns", [50, 100])
def test_a_line_moves_and_leaves_nothing(project: Project, columns: int) -> None:
    """It says how far each phase is, within its line, and is gone before anything else comes."""
    project.write(conftest=SLOW)
    seen = watch(project, columns=columns)
    states = "\n".join(seen.live)
    assert "test_adder: bootstrapping demos\n" in states
    assert re.search(r"searching \d+/\d+, best so far [01]\.\d+", states)
    assert "scoring held-out examples" in states
    for screen in seen.screens:
        assert sum(bool(LIVE.match(line)) for line in screen) <= 1
    assert not any("searching" in line or "scoring" in line for line in seen.end)
    start = seen.end.index("mipro: test_adder: compiling: no artifact in the store yet"[:columns])
    rest = seen.end[start + 1 :]
    dots = next(index for index, line in enumerate(rest) if line.startswith("."))
    assert rest[dots] == "." + "[100%]".rjust(columns - 2)
    assert "1 passed" in seen.end[-1]


@on_a_terminal
def test_it_fits_whatever_the_name(project: Project) -> None:
    """Letters may take two columns each: nothing is ever wrapped onto another line."""
    project.write(conftest=SLOW, test_adder=TEST.replace("dataset=", f"name={LONG!r}, dataset="))
    seen = watch(project, columns=60)
    named = [sum("…: " in line for line in screen) for screen in seen.screens]
    assert max(named) == 1
    assert any("…: searching" in line for screen in seen.screens for line in screen)


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
def test_lines_that_stay(
    project: Project, arguments: tuple[str, ...], variables: dict[str, str]
) -> None:
    """Where others write meanwhile, or nobody watches, each phase has a line of its own."""
    talking = TEST.replace("DATASET\n", "DATASET\nprint('imported')\n", 1)
    project.write(test_adder=talking)
    seen = watch(project, *arguments, variables=variables)
    phases = [match[1] for line in seen.end if (match := PLAIN.match(line))]
    assert list(dict.fromkeys(phases)) == ["bootstrapping", "proposing", "searching", "scoring"]
    assert not seen.live
    assert "\r" not in seen.raw.replace("\r\n", "").partition("compiling")[2]


def test_lines_between_the_dots_of_xdist(project: Project) -> None:
    """Each is a line of its own, though these dots are of no file."""
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


@on_a_terminal
def test_what_pytest_writes_next_begins_its_own_line(project: Project) -> None:
    """Also where pytest says something in the middle of a test."""
    project.write(conftest=SLOW)
    seen = watch(project, "--setup-show", "-v")
    assert seen.live
    assert "        SETUP    F mipro" in seen.end
    assert "test_adder.py::test_adder PASSED" in [line.split("  ")[0] for line in seen.end]
    assert not any("searching" in line or "scoring" in line for line in seen.end)


@on_a_terminal
def test_ctrl_c(project: Project) -> None:
    """Nothing half-written is left, and the terminal's own ^C did no harm."""
    project.write(conftest=CONFTEST.replace('"calls.log")', '"calls.log", latency=0.5)'))
    seen = watch(project, stop_at="test_adder: searching")
    start = seen.end.index("mipro: test_adder: compiling: no artifact in the store yet")
    rest = [line for line in seen.end[start + 1 :] if line]
    assert rest[0].startswith("! _pytest.outcomes.Exit: mipro: stopped by Ctrl-C.")


@on_a_terminal
def test_quiet(project: Project) -> None:
    """With -q there is the result."""
    seen = watch(project, "-q")
    assert not seen.live
    assert not any("searching" in line for screen in seen.screens for line in screen)
    assert "\r" not in seen.raw.replace("\r\n", "")
    assert "1 passed" in seen.end[-1]


def test_a_pipe_gets_plain_lines(project: Project) -> None:
    """One for each phase, without anything that only a terminal understands."""
    run = project.start("-p", "no:cacheprovider", "--mipro", env=environment())
    text, _ = run.communicate(timeout=LONGEST)
    assert run.returncode == pytest.ExitCode.OK, text
    assert "\r" not in text
    assert "\x1b" not in text
    phases = [match[1] for line in text.split("\n") if (match := PLAIN.match(line))]
    assert phases == ["bootstrapping", "proposing", "searching", "scoring"]


@pytest.mark.parametrize("terminal", [False, pytest.param(True, marks=on_a_terminal)])
def test_a_model_that_does_not_answer(
    project: Project, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """After a while of silence it is said, to stay, what the model that is asked again said."""
    secret = "sk-" + "proxy4711" * 4
    monkeypatch.setenv("PROXY_KEY", secret)
    project.write(conftest=UNREACHABLE)
    said = "asking the model again: LMTransportError: refused by https://me:***@host"
    shown = watch(project, columns=160).end if terminal else project.run("--mipro").outlines
    assert any(line.startswith("mipro: ") and line.endswith(said) for line in shown)
    assert secret not in "\n".join(shown)


def test_a_log_hears_of_a_long_phase_once_a_minute() -> None:
    """A search of an hour is no silence, which some systems take for a hang."""
    narrator = ProgressReporter(cast("pytest.Config", SimpleNamespace(workerinput={})))
    narrator._last = 100.0
    due = [narrator._is_due(now, None) for now in (101.0, 159.0, 160.0)]
    assert due == [False, False, True]


class TestPace:
    def test_time_left(self) -> None:
        """It is what the rest takes as fast as it went since the phase began."""
        pace = _Pace("a", Progress("search", 20, 100), 50.0)
        assert pace.left(Progress("search", 40, 100), 60.0) == pytest.approx(30.0)
        assert pace.left(Progress("search", 40, 100), 70.0) == pytest.approx(20.0)

    def test_time_left_is_unknown_where_it_takes_longer(self) -> None:
        """A model that does not answer any more makes no pace, and what came at once neither."""
        pace = _Pace("a", Progress("search", 20, 100), 50.0)
        assert pace.left(Progress("search", 40, 100), 60.0) is not None
        assert pace.left(Progress("search", 40, 100), 91.0) is None
        pace = _Pace("a", Progress("bootstrap", 0, 3), 50.0)
        assert pace.left(Progress("bootstrap", 2, 3), 50.1) is None
        assert pace.left(Progress("bootstrap", 2, 3), 110.0) is None

    @pytest.mark.parametrize(
        "done, total, now",
        [(21, 100, 90.0), (20, 100, 90.0), (40, 100, 51.0), (100, 100, 90.0), (40, None, 90.0)],
        ids=["too little", "nothing", "too soon", "all", "no end"],
    )
    def test_nobody_knows(self, done: int, total: int | None, now: float) -> None:
        """Too little to go by, or nothing left."""
        pace = _Pace("a", Progress("search", 20, 100), 50.0)
        assert pace.left(Progress("search", done, total), now) is None
