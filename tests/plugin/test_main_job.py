"""Compile, score, judge and store a task."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project

pytestmark = pytest.mark.uses("dspy", "pytest")

SEVERAL = """
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

task = mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)

@task
def test_beats(mipro):
    assert mipro.beats_baseline()

@task
def test_score(mipro):
    assert mipro.compiled.score >= 0.5

@pytest.mark.parametrize("index", [0, 1])
@task
def test_rows(mipro, index):
    assert mipro.compiled.scores[index] in (0.0, 1.0)
"""


def scores(text: str) -> list[str]:
    """Return the part of each summary line between the task's name and the effort."""
    return re.findall(r"^test_\w+ +(\d+ .*\]  [A-Z]+) ", text, re.MULTILINE)


def test_the_compiled_program_beats_the_baseline(project: Project) -> None:
    """The summary has the verdict and, with ``-v``, the prompt; the second run makes no call."""
    test = (project.path / "test_adder.py").read_text(encoding="utf-8")
    project.write(test_adder=test.replace(", **SEARCH", ""))  # What the declaration leaves out.
    first = project.run("--mipro", "-v")
    first.assert_outcomes(passed=1)
    first.stdout.fnmatch_lines(
        [
            "mipro: *, model as declared, store sqlite:///.mipro/store.db (new)",
            "*mipro: test_adder: compiling: no artifact in the store yet",
            "test_adder  24  *  0.*  +0.* PASS  *  compiled in * no artifact in the store yet",
            "*beats baseline: PASS: compiled 0.*, baseline 0.*p = *n = 24*",
            "*compiled instruction of add:",
            "*compiled demos of add: *",
        ]
    )
    paid = project.calls
    assert paid > 0
    second = project.run("--mipro")
    assert project.calls == paid
    assert scores(second.stdout.str()) == scores(first.stdout.str()) != []
    second.stdout.fnmatch_lines(["test_adder *  0    $0  from the store"])


def test_workers_give_the_same_verdict_and_compile_once(project: Project) -> None:
    """With ``-n 2``, four tests of one task make as many calls as in one process."""
    project.write(test_adder=SEVERAL)
    alone = project.run("--mipro")
    alone.assert_outcomes(passed=4)
    paid = project.calls
    (project.path / "calls.log").unlink()
    spread = project.run("--mipro", "--mipro-store", "sqlite:///other.db", "-n", "2")
    spread.assert_outcomes(passed=4)
    assert project.calls == paid
    assert sorted(scores(spread.stdout.str())) == sorted(scores(alone.stdout.str()))


def test_a_failing_verdict_fails_the_test_with_its_sentence(project: Project) -> None:
    """A model that demos do not help fails the assert, which shows it; ``-q`` hides progress."""
    conftest = (
        (project.path / "conftest.py")
        .read_text()
        .replace('"calls.log")', '"calls.log", base=50, per_demo=0)')
    )
    project.write(conftest=conftest)
    result = project.run("--mipro", "-q")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*bootstrapping*")
    result.stdout.re_match_lines([r"E +assert (FAIL|INCONCLUSIVE): .*"])


def test_demos_are_shown_inputs_first(project: Project) -> None:
    """The order of fields in the dataset does not matter."""
    program = (project.path / "program.py").read_text()
    swapped = 'dspy.Example(answer=2 * i + 3, question=f"What is {i} + {i + 3}?")'
    original = 'dspy.Example(question=f"What is {i} + {i + 3}?", answer=2 * i + 3)'
    assert original in program
    project.write(program=program.replace(original, swapped))
    result = project.run("--mipro", "-v")
    result.stdout.fnmatch_lines(["    question: What is * | answer: *"])
    result.stdout.no_fnmatch_line("    answer: * | question: *")
