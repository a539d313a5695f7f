"""Nothing that a model, a dataset or a provider says is obeyed where a run prints it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from ci_commands import commands, control_characters
from hostile import TEXTS

if TYPE_CHECKING:
    from project import Project

pytestmark = pytest.mark.uses("pytest")

NAMES = [
    *("workflow command", "old workflow command", "stop commands", "percent", "clear screen"),
    *("window title", "8-bit escape", "right-to-left override", "carriage return", "nul"),
]
HOSTILE = "\n".join(["", *(TEXTS[name] for name in NAMES)])

CONFTEST = f"""
import logging
import dspy
import pytest
from dspy import lm15

HOSTILE = {HOSTILE!r}
ANSWER = f"[[ ## answer ## ]]\\n{{HOSTILE}}\\n\\n[[ ## completed ## ]]"


class Engine:
    def complete(self, request):
        if "dead" in request.model:
            raise lm15.AuthError(HOSTILE)
        if "limited" in request.model and not hasattr(self, "is_asked"):
            self.is_asked = True
            raise lm15.RateLimitError(HOSTILE, retry_after=0.01)
        return lm15.Response(
            id="1", model="x", message=lm15.Message.assistant(ANSWER), finish_reason="stop",
            usage=lm15.Usage(),
        )


def model(name):
    return dspy.LM(name, engine=Engine(), cache=False, num_retries=0)
"""
TEST = """
import logging
import dspy
import pytest
from conftest import HOSTILE, model
from pytest_mipro import mipro_optimize

ROWS = [{"question": f"{i}: {HOSTILE}", "answer": HOSTILE.strip()} for i in range(16)]
SMALL = dict(
    dataset={"train": ROWS[:4], "val": ROWS[4:8], "test": ROWS[8:]}, inputs=["question"],
    name=f"{HOSTILE} task", auto=None, num_candidates=2, num_trials=1, minibatch=False,
)


def graded(example, prediction, trace=None):
    return 0.5


class Talkative(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question):
        print(HOSTILE)
        logging.getLogger("dspy.talkative").warning("answer: %s", HOSTILE)
        return self.ask(question=question)


@mipro_optimize(program=Talkative, metric=graded, lm=model("limited/x"), **SMALL)
def test_text(mipro):
    logging.getLogger("dspy.talkative").error(HOSTILE, exc_info=ValueError(HOSTILE))
    print(HOSTILE)
    answer = mipro.compiled.answers[0].predictions[0]["answer"]
    assert answer == "", f"{answer}\\n{answer}"


NUMBER = dspy.Predict("question -> answer: int")


@mipro_optimize(program=NUMBER, metric=graded, lm=model("a/b"), **SMALL)
def test_unreadable(mipro):
    pass


@mipro_optimize(program=Talkative, metric=graded, lm=model("dead/x"), **SMALL)
def test_dead(mipro):
    pass


@mipro_optimize(program=Talkative, metric=lambda *_: HOSTILE, lm=model("a/b"), **SMALL)
def test_metric(mipro):
    pass
"""


@pytest.fixture
def hostile(project: Project) -> Project:
    """Write a project in which everything that is not code is hostile."""
    project.write(conftest=CONFTEST, test_adder=TEST)
    return project


@pytest.mark.parametrize(
    "arguments",
    [
        ["-vv", "-rA", "--showlocals"],
        ["-n2", "--tb=short"],
        # One thread: pytest stops capturing while it writes a live log, so that what another thread
        # prints just then reaches the terminal.
        ["-o", "log_cli=true", "-o", "log_cli_level=INFO", "-o", "mipro_threads=1", "--tb=native"],
    ],
    ids=["verbose", "workers", "live log"],
)
def test_nothing_is_obeyed(hostile: Project, arguments: list[str]) -> None:
    """Neither by a runner, in both syntaxes, nor by a terminal."""
    result = hostile.run("--mipro", "--mipro-report", "r.md", *arguments)
    result.assert_outcomes(failed=1, errors=3)
    log = f"{result.stdout.str()}\n{result.stderr.str()}"
    for text in ("stop-commands", "set-env name", r"\x1b[2J", "AuthError", "is broken"):
        assert text in log
    assert commands(log) == []
    assert control_characters(log) == set()


PARAMETERS = f"""
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, DATASET

HOSTILE = {HOSTILE!r}
OLD = "##[set-env name=PATH]/evil"
TEXTS = [HOSTILE.replace("##", "#"), "::error::x", "  ::stop-commands::x", "\\u202ecba\\x9b31m"]

@pytest.mark.parametrize("text", [*TEXTS, pytest.param(1, id=TEXTS[0] + "id"), OLD])
@mipro_optimize(program=Adder, metric=lambda *_: 0.5, dataset=DATASET, optimizer="labeled")
def test_text(mipro, text):
    assert mipro.beats_baseline()
"""


@pytest.mark.parametrize("arguments", [["-v", "-rA"], ["-n2", "-v"]], ids=["one", "workers"])
def test_parameters_of_tests_are_not_obeyed(project: Project, arguments: list[str]) -> None:
    """Pytest escapes them in names, but for one prefix, which only lines of its own have."""
    project.write(test_adder=PARAMETERS)
    result = project.run("--mipro", *arguments)
    result.assert_outcomes(failed=6)
    log = result.stdout.str()
    assert control_characters(log) == set()
    lines = commands(log)
    assert lines
    assert all("test_text[##[set-env name=PATH]/evil" in line for line in lines)
    assert not [line for line in lines if "mipro:" in line]


def test_annotations_are_the_only_commands(
    hostile: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In GitHub Actions, each test that did not pass is annotated; nothing else is a command."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = hostile.run("--mipro")
    lines = commands(result.stdout.str())
    assert len(lines) == 4
    assert all(line.startswith("::error file=test_adder.py,line=") for line in lines)


@pytest.mark.parametrize("word, workers", [("PASS", "-n0"), ("passed", "-n1")])
def test_a_password_that_is_a_word_of_reports(
    compiled: Project, monkeypatch: pytest.MonkeyPatch, word: str, workers: str
) -> None:
    """The run ends well, and its reports have their words."""
    monkeypatch.setenv("POSTGRES_PASSWORD", word)
    result = compiled.run("--mipro", workers, "--mipro-report", "report.json")
    result.assert_outcomes(passed=1)
    (task,) = json.loads((compiled.path / "report.json").read_text(encoding="utf-8"))["tasks"]
    assert (task["word"], task["status"]) == ("PASS", "passed")
