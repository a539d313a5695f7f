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
TEXTS = [HOSTILE.replace("##", "#"), "::error::x", "  ::stop-commands::x", "\\u202ecba\\x9b31m"]

@pytest.mark.parametrize("text", [*TEXTS, pytest.param(1, id=TEXTS[0] + "id")])
@mipro_optimize(program=Adder, metric=lambda *_: 0.5, dataset=DATASET, optimizer="labeled")
def test_text(mipro, text):
    assert mipro.beats_baseline()
"""
OLD = "##[set-env name=PATH]/evil"


@pytest.mark.parametrize("arguments", [["-v", "-rA"], ["-n2", "-v"]], ids=["one", "workers"])
def test_parameters_of_tests_are_not_obeyed(project: Project, arguments: list[str]) -> None:
    """Pytest escapes them in names."""
    project.write(test_adder=PARAMETERS)
    result = project.run("--mipro", *arguments)
    result.assert_outcomes(failed=5)
    log = result.stdout.str()
    assert control_characters(log) == set()
    assert commands(log) == []


@pytest.mark.parametrize("old", [f"[{OLD!r}]", f'[pytest.param(1, id="x" + {OLD!r})]'])
@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_a_name_that_would_be_obeyed_is_refused(project: Project, old: str, workers: str) -> None:
    """Pytest does not escape this prefix; nothing is asked, and nothing shows the name."""
    project.write(test_adder=PARAMETERS.replace("[*TEXTS,", f"{old} + [*TEXTS,"))
    result = project.run("--mipro", workers)
    result.assert_outcomes(errors=1)
    log = result.stdout.str()
    assert r"#\x23[set-env name=PATH]/evil" in log
    assert "pytest.param(text, id=" in log
    assert commands(log) == []
    assert project.calls == 0


BESIDE = f"""
import threading
import warnings
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, DATASET

HOSTILE = {HOSTILE!r}

class Warner(Adder):
    def forward(self, question):
        warnings.warn("said: " + HOSTILE)
        return super().forward(question)

judged = mipro_optimize(
    program=Warner, metric=lambda *_: 0.5, dataset=DATASET, optimizer="labeled"
)

@judged
def test_expected(mipro):
    pytest.xfail("expected: " + HOSTILE)

@judged
def test_skipped(mipro):
    pytest.skip("skipped: " + HOSTILE)

@judged
def test_thread(mipro):
    def fail():
        raise ValueError("in a thread: " + HOSTILE)
    thread = threading.Thread(target=fail, name=HOSTILE)
    thread.start()
    thread.join()
"""
SUBTESTS = """
@judged
def test_parts(mipro, subtests):
    with subtests.test("part: " + HOSTILE, answer=HOSTILE):
        print("printed: " + HOSTILE)
        assert HOSTILE == ""
    with subtests.test("expected part: " + HOSTILE):
        pytest.xfail("expected: " + HOSTILE)
"""
HAS_SUBTESTS = hasattr(pytest, "Subtests")


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_what_pytest_shows_beside_failures_is_not_obeyed(project: Project, workers: str) -> None:
    """Warnings, reasons of skipped and of expected failures, and subtests with their output."""
    project.write(test_adder=BESIDE + SUBTESTS * HAS_SUBTESTS)
    result = project.run("--mipro", "-vv", "-rA", workers)
    log = result.stdout.str()
    for text in ("said: ", "expected: ", "skipped: ", "in a thread: ", r"\x3a:stop-commands"):
        assert text in log
    if HAS_SUBTESTS:
        assert all(text in log for text in ("part: ", "printed: ", "answer="))
    assert commands(log) == []
    assert control_characters(log) == set()


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
