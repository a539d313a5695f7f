"""``sequential=`` and ``mipro_sequential`` ask held-out examples until a verdict is clear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from project import MANY_ROWS

if TYPE_CHECKING:
    from project import Project

TEST = """
import dspy
from pytest_mipro import mipro_optimize
from program import Adder, right

ROWS = [
    dspy.Example(question=f"What is {i} + {i + 3}?", answer=2 * i + 3).with_inputs("question")
    for i in range(120)
]
DATASET = {"train": ROWS[:20], "val": ROWS[20:60], "test": ROWS[60:]}

@mipro_optimize(
    program=Adder,
    metric=right,
    dataset=DATASET,
    optimizer=dspy.LabeledFewShot(k=1),
    sequential=True,
)
def test_adder(mipro):
    assert mipro.beats_baseline()
"""
SURE = """
import pathlib
import dspy
import pytest
from scripted import ScriptedEngine

@pytest.fixture(scope="session")
def mipro_lm():
    engine = ScriptedEngine(pathlib.Path(__file__).parent / "calls.log", base=0, per_demo=100)
    return dspy.LM("scripted", engine=engine, cache=False)
"""
LIMITED = """
import pathlib
import dspy
import pytest
from dspy import lm15
from scripted import ScriptedEngine

class Limited(ScriptedEngine):
    calls = 0

    def complete(self, request):
        Limited.calls += 1
        if Limited.calls > 40:
            raise lm15.AuthError("the key was revoked")
        return super().complete(request)

    def dump_state(self):
        return {"engine": "limited"}

@pytest.fixture(scope="session")
def mipro_lm():
    engine = Limited(pathlib.Path(__file__).parent / "calls.log", base=50, per_demo=10)
    return dspy.LM("scripted", engine=engine, cache=False)
"""


def test_a_clear_verdict_saves_calls(project: Project) -> None:
    """A marker is stronger than the ini file, and the report says how far asking went."""
    project.write(program=MANY_ROWS, test_adder=TEST, conftest=SURE)
    result = project.run("--mipro", "-v", "-o", "mipro_sequential=false")
    result.assert_outcomes(passed=1)
    assert project.calls == 2 * 15
    result.stdout.fnmatch_lines(["*interim analysis 1 of 4, at 15 of 60 held-out examples*"])


def test_the_ini_file_is_for_tests_that_say_nothing(project: Project) -> None:
    """Scores that a test reads before a verdict are those of all examples."""
    test = TEST.replace("sequential=True,", "").replace(
        "    assert", "    assert mipro.compiled.score == 1\n    assert"
    )
    project.write(program=MANY_ROWS, test_adder=test, conftest=SURE)
    result = project.run("--mipro", "-v", "-o", "mipro_sequential=true")
    result.assert_outcomes(passed=1)
    assert project.calls == 2 * 60
    result.stdout.fnmatch_lines(["*interim analysis 1 of 4, at 15 of 60 held-out examples*"])


def test_a_model_that_fails_while_the_test_runs_is_an_error(project: Project) -> None:
    """It is no failure of the test, neither on the terminal nor in JUnit's XML."""
    project.write(program=MANY_ROWS, test_adder=TEST, conftest=LIMITED)
    result = project.run("--mipro", "--junitxml=junit.xml")
    result.assert_outcomes(errors=1)
    lines = ["*ERROR at setup of test_adder*", "*the key was revoked*", "test_adder *  ERROR *"]
    result.stdout.fnmatch_lines(lines)
    xml = (project.path / "junit.xml").read_text()
    assert 'errors="1" failures="0"' in xml
