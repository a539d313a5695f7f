"""Compile, score, judge, store: the main job from the outside."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project

pytestmark = pytest.mark.uses("dspy", "pytest")

SEVERAL = """
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

task = mipro_optimize(program=Adder, metric=right, dataset=DATASET)

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
    """Return what the summary lines say between the task's name and the effort."""
    return re.findall(r"^test_\w+ +(\d+ .*\]  [A-Z]+) ", text, re.MULTILINE)


def test_the_compiled_program_beats_the_baseline(project: Project) -> None:
    """The test passes and the summary has the verdict with both scores."""
    result = project.run("--mipro")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["test_adder  60  *  0.*  +0.* PASS  *  compiled in * no artifact in the store yet"]
    )
    assert project.calls > 0


def test_the_second_run_asks_no_model_and_says_the_same(project: Project) -> None:
    """Everything comes from the store."""
    first = project.run("--mipro")
    paid = project.calls
    second = project.run("--mipro")
    assert project.calls == paid
    assert scores(second.stdout.str()) == scores(first.stdout.str()) != []
    second.stdout.fnmatch_lines(["test_adder *  0    $0  from the store"])


def test_the_artifact_is_in_the_store_as_json(project: Project) -> None:
    """The store lies under the rootdir, is ignored by git, and holds the program's state."""
    project.run("--mipro")
    with sqlite3.connect(project.path / ".mipro" / "store.db") as store:
        ((state,),) = store.execute(
            "SELECT json_extract(value, '$.state.add.signature.instructions') FROM artifacts"
        )
    store.close()
    assert isinstance(state, str)
    assert (project.path / ".mipro" / ".gitignore").read_text() == "*\n"
    assert (project.path / ".mipro" / "CACHEDIR.TAG").exists()


def test_workers_give_the_same_verdict_and_compile_once(project: Project) -> None:
    """With ``-n 2`` four tests on one task pay as much as one process does."""
    project.write(test_adder=SEVERAL)
    alone = project.run("--mipro")
    alone.assert_outcomes(passed=4)
    paid = project.calls
    (project.path / "calls.log").unlink()
    spread = project.run("--mipro", "--mipro-store", "sqlite:///other.db", "-n", "2")
    spread.assert_outcomes(passed=4)
    assert project.calls == paid
    assert sorted(scores(spread.stdout.str())) == sorted(scores(alone.stdout.str()))


def test_verbose_shows_sentence_instruction_and_demos(project: Project) -> None:
    """With ``-v`` a reviewer reads the verdict and the compiled prompt."""
    result = project.run("--mipro", "-v")
    result.stdout.fnmatch_lines(
        [
            "mipro: *, model as declared, store sqlite:///.mipro/store.db (new)",
            "*mipro: test_adder: compiling: no artifact in the store yet",
            "*beats baseline: PASS: compiled 0.*, baseline 0.*p = *n = 60*",
            "*compiled instruction of add:",
            "*compiled demos of add: *",
        ]
    )


def test_quiet_shows_no_progress(project: Project) -> None:
    """With ``-q`` there is the summary and nothing before it."""
    result = project.run("--mipro", "-q")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*bootstrapping*")


def test_a_failing_verdict_fails_the_test_with_its_sentence(project: Project) -> None:
    """A model that demos do not help leaves nothing to gain; the assert says so."""
    conftest = (
        (project.path / "conftest.py")
        .read_text()
        .replace('"calls.log")', '"calls.log", base=50, per_demo=0)')
    )
    project.write(conftest=conftest)
    result = project.run("--mipro")
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r"E +assert (FAIL|INCONCLUSIVE): .*"])


def test_a_change_says_why_it_recompiles(project: Project) -> None:
    """The reason names the part and the line; what did not change is not paid again."""
    project.run("--mipro")
    program = (project.path / "program.py").read_text()
    project.write(program=program.replace("2 * i + 3)", "2 * i + 3 if i else 4)"))
    result = project.run("--mipro")
    result.stdout.fnmatch_lines(["*compiling: 1 train row added, 1 train row removed*"])


def test_an_edited_test_split_does_not_recompile(project: Project) -> None:
    """Held-out rows are scored anew, the artifact stays."""
    project.run("--mipro")
    paid = project.calls
    program = (project.path / "program.py").read_text()
    project.write(program=program.replace('"test": ROWS[60:]', '"test": ROWS[60:-1]'))
    result = project.run("--mipro")
    result.stdout.no_fnmatch_line("*compiling*")
    result.stdout.fnmatch_lines(["test_adder  59 *  0    $0  from the store"])
    assert project.calls == paid


def test_two_tests_may_be_judged_on_different_rows(project: Project) -> None:
    """They share the artifact, which the held-out rows do not decide, and not the scores."""
    project.write(
        test_adder="""
        from pytest_mipro import mipro_optimize
        from program import Adder, right, DATASET, ROWS

        @mipro_optimize(program=Adder, metric=right, dataset=DATASET)
        def test_all(mipro):
            assert len(mipro.compiled.scores) == 60

        @mipro_optimize(program=Adder, metric=right, dataset={**DATASET, "test": ROWS[70:]})
        def test_some(mipro):
            assert len(mipro.compiled.scores) == 50
        """
    )
    result = project.run("--mipro")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["test_some  50 * 0 * $0  from the store"])


def test_demos_are_shown_inputs_first(project: Project) -> None:
    """Whatever order the dataset has its fields in."""
    program = (project.path / "program.py").read_text()
    swapped = 'dspy.Example(answer=2 * i + 3, question=f"What is {i} + {i + 3}?")'
    original = 'dspy.Example(question=f"What is {i} + {i + 3}?", answer=2 * i + 3)'
    assert original in program
    project.write(program=program.replace(original, swapped))
    result = project.run("--mipro", "-v")
    result.stdout.fnmatch_lines(["    question: What is * | answer: *"])
    result.stdout.no_fnmatch_line("    answer: * | question: *")
