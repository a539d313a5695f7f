"""``--mipro-update`` accepts outcomes as references, and no other flag writes them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from project import PROGRAM

if TYPE_CHECKING:
    from project import Project

SEVERAL = """
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

task = mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)

@task
def test_one(mipro):
    assert mipro.no_regression()

class TestMore:
    @pytest.mark.parametrize("path", ["a", "b/c $(x)"])
    @task
    def test_two(self, mipro, path):
        assert mipro.no_regression()
"""

LOAD = """
import sys
import dspy
from program import Adder

program = Adder()
program.load(sys.argv[1])
print(len(program.add.demos), program.add.lm, "pytest_mipro" in sys.modules)
"""


def files(project: Project) -> dict[str, bytes]:
    """Return the content of all files under ``__mipro__``."""
    folder = project.path / "__mipro__"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_an_update_writes_three_files_and_shows_them(unaccepted: Project) -> None:
    """A run without the flag writes no file, and a second update changes none."""
    unaccepted.run("--mipro")
    assert not (unaccepted.path / "__mipro__").exists()
    result = unaccepted.run("--mipro", "--mipro-update", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "  no regression: PASS: the reference was accepted now; nothing changed: *",
            "test_adder: first reference: *test_adder.json, *.program.json, *.history.json",
            "  scores: baseline 0.*, compiled 0.* (n = 24)",
            "  instruction of add:",
            "    + *",
            "  demos of add:",
            "    + question: What is * | answer: *",
        ]
    )
    written = files(unaccepted)
    suffixes = (".history.json", ".json", ".program.json")
    assert list(written) == [f"test_adder/test_adder{suffix}" for suffix in suffixes]
    second = unaccepted.run("--mipro", "--mipro-update", "--mipro-store", "sqlite:///other.db")
    second.stdout.fnmatch_lines(["test_adder: reference unchanged: __mipro__/*"])
    assert files(unaccepted) == written


def test_a_change_is_shown_as_a_diff(accepted: Project) -> None:
    """The summary compares the earlier with the accepted reference."""
    program = (accepted.path / "program.py").read_text()
    accepted.write(program=program.replace("ROWS[:20]", "ROWS[4:20]"))
    result = accepted.run("--mipro", "--mipro-update", "--mipro-new-anchor")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "test_adder: accepted: __mipro__/*",
            "  scores: baseline 0.* (n = 24) -> baseline 0.* (n = 24)",
            "  examples by compiled score: *",
            "  demos of add:",
            "    - question: *",
            "    + question: *",
        ]
    )


def test_tests_that_share_a_task_have_references_of_their_own(compiled: Project) -> None:
    """The file name has class and parameters, also those that no file name can hold."""
    compiled.write(test_adder=SEVERAL)
    result = compiled.run("--mipro", "--mipro-update", "-n", "2")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines_random(
        [
            "test_one: first reference: *",
            "test_two[[]a]: first reference: __mipro__/test_adder/TestMore.test_two[[]a].json, *",
            "test_two[[]b/c $(x)]: first reference: *TestMore.test_two[[]b_c___x_]-*.json, *",
        ]
    )
    written = files(compiled)
    assert len(written) == 9
    alone = compiled.run("--mipro", "--mipro-update")
    alone.stdout.fnmatch_lines(["test_one: reference unchanged: *"])
    assert files(compiled) == written


def test_the_program_is_for_plain_dspy_and_holds_no_secret(guarded: Project) -> None:
    """Plain DSPy loads the file, which has neither models nor credentials."""
    secret = "sk-very-secret"
    guarded.write(
        program=PROGRAM.replace(
            'dspy.Predict("question -> answer: int")',
            'dspy.Predict("question -> answer: int")\n'
            "        import pathlib, scripted\n"
            "        log = pathlib.Path(__file__).parent / 'calls.log'\n"
            "        self.add.lm = scripted.scripted_lm(log)\n"
            f"        self.add.lm.kwargs['api_key'] = {secret!r}",
        )
    )
    guarded.run("--mipro", "--mipro-update").assert_outcomes(passed=1)
    content = b"".join(files(guarded).values())
    assert content
    assert secret.encode() not in content
    assert str(guarded.path).encode() not in content
    guarded.write(program=PROGRAM)
    path = guarded.path / "__mipro__" / "test_adder" / "test_adder.program.json"
    (guarded.path / "load.py").write_text(LOAD)
    run = subprocess.run(
        [sys.executable, "load.py", str(path)],
        cwd=guarded.path,
        check=True,
        capture_output=True,
        text=True,
    )
    demos, lm, has_plugin = run.stdout.split()
    assert int(demos) > 0
    assert (lm, has_plugin) == ("None", "False")
    assert "mismatch" not in run.stderr


def test_two_tests_of_one_file_name_are_refused(guarded: Project) -> None:
    """Names that some systems take as equal are an error that names both tests."""
    guarded.write(
        test_adder="""
        from pytest_mipro import mipro_optimize

        @mipro_optimize()
        def test_Adder(mipro):
            pass

        @mipro_optimize()
        def test_adder(mipro):
            pass
        """
    )
    for workers in ([], ["-n", "1"]):
        result = guarded.run("--mipro", *workers)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(
            ["*test_adder.py::test_adder and test_adder.py::test_Adder would have the same*rename*"]
        )
        result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_the_error_of_another_fixture_does_not_hide_the_acceptance(compiled: Project) -> None:
    """The summary names the accepted reference of a test that errs later."""
    conftest = (compiled.path / "conftest.py").read_text()
    compiled.write(
        conftest=f"{conftest}\n@pytest.fixture\ndef broken(mipro): raise ValueError\n",
        test_adder="""
        from pytest_mipro import mipro_optimize
        from program import Adder, right, DATASET, SEARCH

        @mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
        def test_adder(broken):
            pass
        """,
    )
    result = compiled.run("--mipro", "--mipro-update")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["test_adder: first reference: *"])
