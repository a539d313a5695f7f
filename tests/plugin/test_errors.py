"""A problem that prevents a verdict is an error of the set-up, never a score or a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest
    from project import Project

BROKEN_LM = """
import pathlib
import dspy
import pytest
from dspy import lm15
from scripted import ScriptedEngine

class Revoked(ScriptedEngine):
    def complete(self, request):
        if self.calls >= LIMIT:
            raise lm15.AuthError("key revoked")
        return super().complete(request)

@pytest.fixture(scope="session")
def mipro_lm():
    engine = Revoked(pathlib.Path(__file__).parent / "calls.log")
    return dspy.LM("scripted", engine=engine, cache=False)
"""


def test_a_revoked_key_is_an_error_and_the_next_run_continues(compiled: Project) -> None:
    """The run with the revoked key errs, and the next run makes only the missing calls."""
    working = (compiled.path / "conftest.py").read_text()
    whole = compiled.run("--mipro")
    compiled.write(conftest=BROKEN_LM.replace("LIMIT", "60"))
    (compiled.path / "calls.log").unlink()
    store = ["--mipro-store", "sqlite:///second.db"]
    broken = compiled.run("--mipro", *store, "--mipro-threads", "1")
    broken.assert_outcomes(errors=1)
    broken.stdout.fnmatch_lines(
        ["*key revoked*", "*this is no score; *the store, which holds * rows, and*"]
    )
    broken.stdout.no_fnmatch_line("*pytest_mipro/*")
    compiled.write(conftest=working)
    assert compiled.calls == 60
    repaired = compiled.run("--mipro", *store)
    repaired.assert_outcomes(passed=1)
    line = "test_adder  24 * PASS *"
    repaired.stdout.fnmatch_lines([line])
    whole.stdout.fnmatch_lines([line])


def test_a_metric_that_gives_no_score_is_an_error(project: Project) -> None:
    """The message names the value and the example."""
    program = (project.path / "program.py").read_text()
    project.write(program=program.replace("example.answer == prediction.answer", "None"))
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*the metric returned None, expected*", '*on the example {"answer":*']
    )


def fail_on_nines(project: Project) -> None:
    """Have the program of ``project`` fail on the sums that begin with a nine."""
    program = (project.path / "program.py").read_text()
    raising = """
        if question.startswith("What is 9"):
            raise LookupError("no nines")
        return self.add"""
    project.write(program=program.replace("\n        return self.add", raising))


def test_failures_of_the_program_are_counted_and_shown(project: Project) -> None:
    """A row that the program fails on scores 0, and a failing test shows three tracebacks."""
    fail_on_nines(project)
    test = (project.path / "test_adder.py").read_text()
    test = test.replace("mipro.beats_baseline()", "mipro.compiled.score > 1")
    project.write(test_adder=test.replace("**SEARCH", "optimizer='labeled'"))
    result = project.run("--mipro")
    result.assert_outcomes(failed=1)
    line = (
        "*the compiled program failed on 4 of 24 answers, the baseline program failed on 4 of 24*"
    )
    result.stdout.fnmatch_lines([line])
    assert sum(line.strip() == "LookupError: no nines" for line in result.outlines) == 3
    assert "the first 3 of 8" in result.stdout.str()


SECRETS = """
JUDGE = dspy.LM("openai/judge", api_key="canary-1")

class Client:
    token = "canary-2"

class Leaky(Adder):
    def __init__(self):
        super().__init__()
        self.client = Client()

    def forward(self, question):
        if question.startswith("What is 9"):
            password = "canary-3"
            raise LookupError(
                f"404: {os.environ['MY_PAT']} {JUDGE.kwargs['api_key']} "
                f"{self.client.token} {password} "
                f"{os.environ['DATABASE_URL']} pin {os.environ['DEPLOY_PIN']}"
            )
        return super().forward(question)
"""


def test_no_credential_of_a_failing_program_is_stored(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception of the program can contain credentials, which no file and no log repeats."""
    monkeypatch.setenv("MY_PAT", "canary-4")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:canary-5@db")
    monkeypatch.setenv("DEPLOY_PIN", "canary-6")
    program = (project.path / "program.py").read_text()
    project.write(program=f"import os\n{program}{SECRETS}")
    test = (project.path / "test_adder.py").read_text()
    test = test.replace("mipro.beats_baseline()", "mipro.compiled.score > 1")
    test = test.replace("**SEARCH", "optimizer='labeled'")
    project.write(test_adder=test.replace("Adder", "Leaky"))
    reports = [word for name in ("r.html", "r.json", "r.md") for word in ("--mipro-report", name)]
    result = project.run("--mipro", "-vv", "-o", "mipro_redact=*_pin", "--junitxml=r.xml", *reports)
    result.assert_outcomes(failed=1)
    assert "404: *** *** *** *** postgresql://me:***@db pin ***" in result.stdout.str()
    files = [path for path in project.path.rglob("*") if path.is_file()]
    shown = [path for path in files if path.suffix not in {".py", ".pyc"}]
    assert {"r.html", "r.json", "r.md", "r.xml", "store.db"} <= {path.name for path in shown}
    assert [path.name for path in shown if b"canary" in path.read_bytes()] == []


def test_a_program_with_threads_needs_the_context(project: Project) -> None:
    """Threads without DSPy's context have no model, and the error says how to pass the context."""
    program = (project.path / "program.py").read_text()
    threaded = """
        import contextvars
        from concurrent.futures import ThreadPoolExecutor
        context = contextvars.copy_context()
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self.add, question=question).result()"""
    code = program.replace("\n        return self.add(question=question)", threaded)
    project.write(program=code)
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*is broken*", "*let dspy.Parallel start it, or run it with*"])
    project.write(program=code.replace("self.add, question", "context.run, self.add, question"))
    project.run("--mipro").assert_outcomes(passed=1)
    assert project.calls > 120


def test_an_exit_in_user_code_is_an_error_of_its_test_alone(project: Project) -> None:
    """Neither sys.exit in a program nor pytest.skip in a metric ends or skips a test."""
    project.write(
        test_exits="""
import sys
import pytest
from pytest_mipro import mipro_optimize
from program import DATASET, SEARCH, Adder, right

class Leaving(Adder):
    def forward(self, question):
        sys.exit(3)

def skipping(example, prediction, trace=None):
    pytest.skip("no label")

@mipro_optimize(program=Leaving, metric=right, dataset=DATASET, **SEARCH)
def test_leaves(mipro): pass

@mipro_optimize(program=Adder, metric=skipping, dataset=DATASET, **SEARCH)
def test_skips(mipro): pass

def test_after(): pass
"""
    )
    result = project.run("--mipro", "test_exits.py")
    result.assert_outcomes(errors=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*Leaving raised SystemExit: 3, which would end or skip the test run*",
            "*test_exits.py:*in forward: sys.exit(3)*",
            "*the metric raised Skipped: no label, which would end or skip the test run*",
            "*test_exits.py:*in skipping: pytest.skip*",
        ]
    )


def test_a_passing_test_shows_the_answers_that_failed(project: Project) -> None:
    """The summary has their number and the first error, and the next run asks again."""
    fail_on_nines(project)
    for _ in range(2):
        result = project.run("--mipro")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(
            ["test_adder: * compiled answers failed and score 0: * LookupError; the first is*"]
        )
    assert "from the store" in str(result.stdout)
