"""The output of a run under pytest's options for the terminal."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from project import CONFTEST, LONGEST, MANY_ROWS, SUPPORT, TEST

if TYPE_CHECKING:
    from pathlib import Path

    from forks import ForkServer

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no forks")

JUDGED = TEST.replace(", **SEARCH", "")
"""The test with a search that finds another instruction."""
BAD = JUDGED.replace("beats_baseline()", "beats_baseline(margin=0.6)")
SCORED = JUDGED.replace("beats_baseline()", "compiled.score > 0.99")
ERRING = JUDGED.replace("metric=right", "metric=lambda *_: None")
VARIABLES = ("CI", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS")
"""The variables that describe the terminal of the test run."""
SECTION = re.compile(r"^=+ mipro =+$", re.MULTILINE)
FAILURE = re.compile(r"^-+ mipro -+$", re.MULTILINE)
WORST = " held-out examples got worse than the baseline"


@dataclass(frozen=True)
class FailingProject:
    """A compiled project whose tests fail."""

    path: Path
    server: ForkServer

    def output(self, *arguments: str, file: str = "test_bad.py", **variables: str) -> str:
        """Return the output of a run of pytest."""
        env = {
            **{name: value for name, value in os.environ.items() if name not in VARIABLES},
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
def failing(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> FailingProject:
    """Write a project and compile it, so that all later runs are quick."""
    path = tmp_path_factory.mktemp("failing")
    files = {
        "program": MANY_ROWS,
        "conftest": CONFTEST,
        "test_bad": BAD,
        "test_three": BAD
        + SCORED.replace("test_adder", "test_score")
        + ERRING.replace("test_adder", "test_none"),
    }
    for name, text in files.items():
        (path / f"{name}.py").write_text(text, encoding="ascii")
    project = FailingProject(path, fork_server)
    project.output()
    return project


def section(text: str) -> str:
    """Return the section of the summary about the tasks."""
    return SECTION.split(text)[1].partition("\n=")[0].strip("\n")


def failure_section(text: str) -> str:
    """Return the section below the first failure."""
    return re.split(r"^[=_]+ ", FAILURE.split(text)[1], flags=re.MULTILINE)[0].strip("\n")


@pytest.mark.uses("pytest")
def test_a_failure_and_the_table(failing: FailingProject) -> None:
    """A failure shows the verdict, the worst examples and the prompt; the table follows."""
    text = failing.output()
    verdict, worst, prompt, hint = failure_section(text).split("\n\n")
    assert verdict.startswith("beats baseline: FAIL: compiled 0.800, baseline 0.333, difference")
    assert re.match(rf"\d+ of 60{WORST}, \d+ better; the worst 3:\n  1  score 1.000", worst)
    assert worst.count("     baseline  answer: ") == 3
    assert prompt.startswith("the prompt since the baseline:\n  instruction of add:\n    - Given ")
    assert "\n  demos of add:\n    + question: " in prompt
    assert "-vv" in hint
    assert section(text).splitlines() == [
        "FAIL          test_adder",
        "              0.333 -> 0.800  +0.467 [+0.324, +0.593]  n = 60",
        "              from the store, 0 LM calls",
    ]
    assert "\x1b" not in text


def test_verbosity(failing: FailingProject) -> None:
    """``-q`` changes nothing, ``-v`` adds prompts and examples, ``-vv`` shows all examples."""
    quiet, verbose, complete = (failing.output(flag) for flag in ("-q", "-v", "-vv"))
    assert [text.count("     baseline  ") for text in (quiet, verbose, complete)][:2] == [3, 10]
    assert complete.count("     baseline  ") > 10
    assert "compiled instruction of add:" not in quiet
    for text in (verbose, complete):
        assert "  compiled instruction of add:" in section(text)
        assert "  beats baseline: FAIL: compiled 0.800" in section(text)
    assert section(quiet) == section(failing.output())
    assert "store sqlite" not in quiet


@pytest.mark.uses("pytest")
@pytest.mark.parametrize("style", ["auto", "short", "native"])
def test_styles_of_tracebacks(failing: FailingProject, style: str) -> None:
    """Each style of traceback has the section below the failure."""
    assert WORST in failure_section(failing.output(f"--tb={style}"))


@pytest.mark.uses("pytest")
def test_tracebacks_of_one_line(failing: FailingProject) -> None:
    """With ``--tb=line``, the table follows pytest's lines."""
    text = failing.output("--tb=line")
    assert re.search(r"test_bad\.py:\d+: ", text)
    assert section(text).startswith("FAIL          test_adder\n")


@pytest.mark.uses("pytest")
def test_without_tracebacks_or_header(failing: FailingProject) -> None:
    """With ``--tb=no --no-header``, the run shows only the table."""
    text = failing.output("--tb=no", "--no-header")
    assert not FAILURE.search(text)
    assert section(text).startswith("FAIL          test_adder\n")
    assert "store sqlite" not in text


@pytest.mark.uses("pytest")
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
    failing: FailingProject, arguments: tuple[str, ...], variables: dict[str, str], is_painted: bool
) -> None:
    """A verdict has a colour if pytest uses colours."""
    text = failing.output(*arguments, **variables)
    assert ("\x1b" in text) == is_painted
    assert ("\x1b[31mFAIL" in text) == is_painted


@pytest.mark.parametrize("columns", [40, 66, 100, 160])
def test_widths(failing: FailingProject, columns: int) -> None:
    """No line of a section is wider than the terminal."""
    text = failing.output("-v", file="test_three.py", COLUMNS=str(columns))
    for lines in (failure_section(text).splitlines(), section(text).splitlines()):
        assert max(map(len, lines)) <= columns
    table = section(text)
    for cell in ("FAIL", "not judged", "ERROR", "+0.467 [+0.324, +0.593]", "the metric returned"):
        assert cell in table
    assert ("difference" in table.splitlines()[0]) == (columns == 160)


@pytest.mark.uses("pytest-xdist")
def test_workers(failing: FailingProject) -> None:
    """The output with a worker of xdist equals that without."""
    alone, spread = (failing.output(*flags, COLUMNS="100") for flags in ((), ("-n1",)))
    assert failure_section(alone) == failure_section(spread)
    assert section(alone) == section(spread)
