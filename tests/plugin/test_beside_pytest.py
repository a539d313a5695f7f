"""The plugin beside what pytest and pytest-xdist do with tests; docs/reference/other-plugins.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from project import CONFTEST, LONGEST, PROGRAM, run_pytest, start_pytest
from quick_project import ASYNC, IGNORED, QUICK, ROWS, TASK, quick

if TYPE_CHECKING:
    from project import Project

FAILING = """
import pathlib

@adding
def test_first(mipro):
    assert pathlib.Path("fixed").exists()

@adding
def test_second(mipro):
    assert mipro.compiled.score > 0
"""
DEBUGGER = """
class Debugger:
    quitting = False

    def __init__(self, *args, **options):
        pass

    def reset(self):
        pass

    def interaction(self, frame, trace):
        while trace.tb_next:
            trace = trace.tb_next
        mipro = trace.tb_frame.f_locals["mipro"]
        answer = mipro.compiled.program(question="What is 1 + 4?").answer
        print("DEBUGGED", mipro, answer)
"""
"""Shows an outcome, in place of a person at the terminal."""
TWICE = """
import pytest
arguments = ["-p", "no:cacheprovider", "-q", *{arguments!r}]
codes = [int(pytest.main(arguments)) for _ in range(2)]

def test_both_runs():
    assert codes == [0, 0]
"""


def cached(project: Project, *arguments: str) -> pytest.RunResult:
    """Run pytest with its cache, in which it keeps what failed."""
    return run_pytest(project.pytester, project.server, *QUICK, *arguments)


def test_last_failed_runs_what_failed(project: Project) -> None:
    """``--lf`` selects the failed test, whose scores are in the store, and names no orphans."""
    quick(project, FAILING)
    cached(project).assert_outcomes(failed=1, passed=1)
    result = cached(project, "--lf")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*test_second*")
    assert project.calls == ROWS


def test_stepwise_stops_and_goes_on(project: Project) -> None:
    """``--sw`` begins with the test that failed, and ``-x`` stops at it."""
    quick(project, FAILING)
    cached(project, "--sw").assert_outcomes(failed=1)
    cached(project, "-x").assert_outcomes(failed=1)
    (project.path / "fixed").touch()
    cached(project, "--sw").assert_outcomes(passed=2)
    assert project.calls == ROWS


def test_collecting_asks_no_model(project: Project) -> None:
    """``--co`` checks the declarations, and opens no store."""
    quick(project)
    result = project.run(*QUICK, "--co", "-q")
    result.stdout.fnmatch_lines(["test_adder.py::test_first", "test_adder.py::test_second"])
    assert project.calls == 0
    assert not (project.path / ".mipro").exists()


@pytest.mark.parametrize("workers", ["-n0", "-n1"])
def test_a_run_without_a_terminal_writes_its_reports(project: Project, workers: str) -> None:
    """``-p no:terminal`` shows nothing; what failed is in the files."""
    quick(project, FAILING)
    result = project.run(
        *QUICK, workers, "-p", "no:terminal", "--junitxml=junit.xml", "--mipro-report=report.md"
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert not result.stdout.str() + result.stderr.str()
    junit = (project.path / "junit.xml").read_text(encoding="utf-8")
    assert 'errors="0" failures="1"' in junit
    assert "mipro" in junit
    assert "1 of 2 tasks failed" in (project.path / "report.md").read_text(encoding="utf-8")


def test_a_debugger_sees_the_outcome(project: Project) -> None:
    """``--pdb`` stops where the test failed; the programs can be called there."""
    quick(project, FAILING)
    project.write(debugger=DEBUGGER)
    result = project.run(*QUICK, "--pdb", "--pdbcls=debugger:Debugger", "-k", "first")
    result.stdout.fnmatch_lines(["DEBUGGED <Outcome of test_first> *"])


def test_two_runs_in_one_process(project: Project) -> None:
    """``pytest.main()`` starts each with nothing of the other but the store."""
    quick(project)
    arguments = [*QUICK, "test_adder.py"]
    project.write(test_twice=TWICE.format(arguments=arguments))
    project.run("test_twice.py").assert_outcomes(passed=1)
    assert project.calls == ROWS


def test_another_working_directory(project: Project) -> None:
    """Store and references are where they are when pytest starts in the root."""
    quick(project)
    (project.path / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
    folder = project.path / "deep" / "down"
    folder.mkdir(parents=True)
    run = start_pytest(project.server, *QUICK, "--mipro-update", "../..", cwd=folder)
    output, _ = run.communicate(timeout=LONGEST)
    assert "2 passed" in output
    assert (project.path / "__mipro__" / "test_adder" / "test_first.json").exists()
    assert (project.path / ".mipro" / "store.db").exists()


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_a_src_layout(project: Project, mode: str) -> None:
    """The program is in ``src``, the tests beside it; the key is the same in each import mode."""
    for name in ("program", "test_adder"):
        (project.path / f"{name}.py").unlink()
    (project.path / "pytest.ini").write_text("[pytest]\npythonpath = src\n", encoding="ascii")
    files = {
        "src/program.py": PROGRAM,
        "tests/conftest.py": CONFTEST,
        "tests/unit/test_adder.py": f"{TASK}\n@adding\ndef test(mipro):\n    pass\n",
    }
    for name, text in files.items():
        path = project.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    project.run(*QUICK, f"--import-mode={mode}", "--mipro-update").assert_outcomes(passed=1)
    assert (project.path / "tests/unit/__mipro__/test_adder/test.json").exists()
    frozen = ("--mipro", "--mipro-frozen", "--mipro-optimizer", "labeled", "-W", IGNORED)
    second_mode = {"prepend": "importlib", "importlib": "prepend"}[mode]
    project.run(*frozen, f"--import-mode={second_mode}").assert_outcomes(passed=1)


def test_subtests(project: Project) -> None:
    """A verdict may be that of a subtest; the task has one line in the summary."""
    quick(
        project,
        """
@adding
def test_first(mipro, subtests):
    with subtests.test("score"):
        assert mipro.compiled.score > 0
    with subtests.test("regression"):
        assert mipro.no_regression()
""",
    )
    result = project.run(*QUICK)
    result.stdout.fnmatch_lines(["test_first  10 *  FAIL *", "*no regression*"])
    result.stdout.fnmatch_lines(["SUBFAILED*regression*"])
    assert result.stdout.str().count("\ntest_first  10 ") == 1


@pytest.mark.uses("pytest-xdist")
@pytest.mark.parametrize("distribution", ["loadscope", "loadgroup", "worksteal"])
def test_every_distribution_of_xdist(project: Project, distribution: str) -> None:
    """Two workers pay for the rows once, whichever tests each of them gets."""
    tests = """
import pytest

@pytest.mark.xdist_group("sums")
@adding
def test_first(mipro):
    assert mipro.compiled.score > 0

class TestMore:
    @pytest.mark.xdist_group("sums")
    @adding
    def test_second(self, mipro):
        assert mipro.compiled.score > 0

    @adding
    def test_third(self, mipro):
        assert mipro.compiled.score > 0
"""
    quick(project, tests)
    result = project.run(*QUICK, "-n", "2", "--dist", distribution, "--mipro-update")
    result.assert_outcomes(passed=3)
    assert project.calls == ROWS
    programs = (project.path / "__mipro__" / "test_adder").glob("*.program.json")
    assert sorted(path.name.removesuffix(".program.json") for path in programs) == [
        *("TestMore.test_second", "TestMore.test_third", "test_first")
    ]


def test_async_tests_under_anyio(project: Project) -> None:
    """An ``async def`` test calls and awaits the programs of its outcome; the calls are counted."""
    quick(project, ASYNC.format(decorator="@pytest.mark.anyio"))
    result = project.run(*QUICK)
    result.assert_outcomes(passed=1)
    assert project.calls == ROWS + 2
    result.stdout.fnmatch_lines([f"test_first  10 * {ROWS + 2} *"])
