"""What a run leaves on the terminal, under pytest's own options for it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from project import CONFTEST, LONGEST, PROGRAM, SUPPORT, TEST

if TYPE_CHECKING:
    from pathlib import Path

    from forks import ForkServer

pytestmark = [pytest.mark.skipif(os.name == "nt", reason="no forks"), pytest.mark.uses("pytest")]

BAD = TEST.replace("beats_baseline()", "beats_baseline(margin=0.6)")
SCORED = TEST.replace("beats_baseline()", "compiled.score > 0.99")
ERRING = TEST.replace("metric=right", "metric=lambda *_: None")
VARIABLES = ("CI", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS")
"""They are about the terminal of whoever tests this."""
SECTION = re.compile(r"^=+ mipro =+$", re.MULTILINE)
FAILURE = re.compile(r"^-+ mipro -+$", re.MULTILINE)
WORST = " held-out examples got worse than the baseline"


@dataclass(frozen=True)
class Red:
    """A project of which tests fail, and which is compiled."""

    path: Path
    server: ForkServer

    def output(self, *arguments: str, file: str = "test_bad.py", **variables: str) -> str:
        """Return what a run of pytest prints."""
        kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        env = {
            **kept,
            "PYTHONPATH": str(SUPPORT),
            "DSPY_CACHEDIR": str(self.path / "dspy-cache"),
            **variables,
        }
        run = self.server.start(
            ["--mipro", "-p", "no:cacheprovider", file, *arguments], cwd=self.path, env=env
        )
        text, _ = run.communicate(LONGEST)
        assert run.returncode == pytest.ExitCode.TESTS_FAILED, text
        return text


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> Red:
    """Write a project and compile it; all runs after that are quick."""
    path = tmp_path_factory.mktemp("red")
    files = {
        "program": PROGRAM,
        "conftest": CONFTEST,
        "test_bad": BAD,
        "test_three": BAD
        + SCORED.replace("test_adder", "test_score")
        + ERRING.replace("test_adder", "test_none"),
    }
    for name, text in files.items():
        (path / f"{name}.py").write_text(text, encoding="ascii")
    made = Red(path, fork_server)
    made.output()
    return made


def section(text: str) -> str:
    """Return what the summary says of the tasks."""
    return SECTION.split(text)[1].partition("\n=")[0].strip("\n")


def beside(text: str) -> str:
    """Return what is shown with the first failure."""
    return re.split(r"^[=_]+ ", FAILURE.split(text)[1], flags=re.MULTILINE)[0].strip("\n")


def test_a_red_build(red: Red) -> None:
    """What got worse, by how much, on which examples, and what changed; then the table."""
    text = red.output()
    said, worst, prompt, more = beside(text).split("\n\n")
    assert said.startswith("beats baseline: FAIL: compiled 0.767, baseline 0.333, difference")
    assert re.match(rf"\d+ of 60{WORST}, \d+ better; the worst 3:\n  1  score 1.000", worst)
    assert worst.count("     baseline  answer: ") == 3
    assert prompt.startswith("the prompt since the baseline:\n  demos of add:\n    + question: ")
    assert "-vv" in more
    assert section(text).splitlines() == [
        "FAIL          test_adder",
        "              0.333 -> 0.767  +0.433 [+0.264, +0.574]  n = 60",
        "              from the store, 0 LM calls",
    ]
    assert "\x1b" not in text


def test_how_much_is_said(red: Red) -> None:
    """With -q as much, with -v the prompts and more examples, with -vv all of it."""
    quiet, loud, louder = (red.output(flag) for flag in ("-q", "-v", "-vv"))
    assert [text.count("     baseline  ") for text in (quiet, loud, louder)][:2] == [3, 10]
    assert louder.count("     baseline  ") > 10
    assert "compiled instruction of add:" not in quiet
    for text in (loud, louder):
        assert "  compiled instruction of add:" in section(text)
        assert "  beats baseline: FAIL: compiled 0.767" in section(text)
    assert section(quiet) == section(red.output())
    assert "store sqlite" not in quiet


@pytest.mark.parametrize("style", ["auto", "short", "native"])
def test_styles_of_tracebacks(red: Red, style: str) -> None:
    """Whatever the style, it is shown; what pytest says of it is not ours."""
    assert WORST in beside(red.output(f"--tb={style}"))


def test_a_line_for_each_failure(red: Red) -> None:
    """With ``--tb=line``, what else is shown is pytest's choice; the table is there."""
    text = red.output("--tb=line")
    assert re.search(r"test_bad\.py:\d+: ", text)
    assert section(text).startswith("FAIL          test_adder\n")


def test_without_tracebacks_or_header(red: Red) -> None:
    """There is only the table."""
    text = red.output("--tb=no", "--no-header")
    assert not FAILURE.search(text)
    assert section(text).startswith("FAIL          test_adder\n")
    assert "store sqlite" not in text


@pytest.mark.parametrize(
    "arguments, variables, is_painted",
    [
        (("--color=yes",), {}, True),
        (("--color=no",), {"FORCE_COLOR": "1"}, False),
        ((), {"FORCE_COLOR": "1"}, True),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ((), {"PY_COLORS": "1"}, True),
    ],
)
def test_colours(
    red: Red, arguments: tuple[str, ...], variables: dict[str, str], is_painted: bool
) -> None:
    """A verdict has one where pytest has some."""
    text = red.output(*arguments, **variables)
    assert ("\x1b" in text) == is_painted
    assert ("\x1b[31mFAIL" in text) == is_painted


@pytest.mark.parametrize("columns", [40, 66, 100, 160])
def test_widths(red: Red, columns: int) -> None:
    """Nothing of it is wider than the terminal."""
    text = red.output("-v", file="test_three.py", COLUMNS=str(columns))
    for ours in (beside(text), section(text)):
        assert max(map(len, ours.splitlines())) <= columns
    table = section(text)
    for what in ("FAIL", "not judged", "ERROR", "+0.433 [+0.264, +0.574]", "the metric returned"):
        assert what in table
    assert ("difference" in table.splitlines()[0]) == (columns == 160)


def test_workers(red: Red) -> None:
    """What a worker of xdist found is shown as if it had been found here."""
    alone, spread = (red.output(*flags, COLUMNS="100") for flags in ((), ("-n1",)))
    assert beside(alone) == beside(spread)
    assert section(alone) == section(spread)
