"""What prevents a verdict is an error of the set-up, never a score, a pass or a failure."""

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

class Dying(ScriptedEngine):
    def complete(self, request):
        if self.calls >= LIMIT:
            raise lm15.AuthError("key revoked")
        return super().complete(request)

@pytest.fixture(scope="session")
def mipro_lm():
    engine = Dying(pathlib.Path(__file__).parent / "calls.log")
    return dspy.LM("scripted", engine=engine, cache=False)
"""


def test_a_dead_key_is_an_error_and_the_next_run_goes_on(project: Project) -> None:
    """When the key dies, the run errs, and the next one pays only for what was missing."""
    working = (project.path / "conftest.py").read_text()
    whole = project.run("--mipro")
    project.write(conftest=BROKEN_LM.replace("LIMIT", "60"))
    (project.path / "calls.log").unlink()
    store = ["--mipro-store", "sqlite:///second.db"]
    broken = project.run("--mipro", *store, "--mipro-threads", "1")
    broken.assert_outcomes(errors=1)
    broken.stdout.fnmatch_lines(
        ["*key revoked*", "*this is no score; *the store, which holds * rows, and*"]
    )
    broken.stdout.no_fnmatch_line("*pytest_mipro/*")
    project.write(conftest=working)
    assert project.calls == 60
    healed = project.run("--mipro", *store)
    healed.assert_outcomes(passed=1)
    line = "test_adder  60 * PASS *"
    healed.stdout.fnmatch_lines([line])
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


def test_what_the_program_failed_on_is_counted_and_shown(project: Project) -> None:
    """A row the program fails on scores 0, and a failing test shows the first three tracebacks."""
    program = (project.path / "program.py").read_text()
    raising = """
        if question.startswith("What is 7"):
            raise LookupError("no sevens")
        return self.add"""
    project.write(program=program.replace("\n        return self.add", raising))
    test = (project.path / "test_adder.py").read_text()
    project.write(test_adder=test.replace("mipro.beats_baseline()", "mipro.compiled.score > 1"))
    result = project.run("--mipro")
    result.assert_outcomes(failed=1)
    said = (
        "*the compiled program failed on 10 of 60 answers, the baseline program failed on 10 of 60*"
    )
    result.stdout.fnmatch_lines([said])
    assert sum(line.strip() == "LookupError: no sevens" for line in result.outlines) == 3
    assert "the first 3 of 20" in result.stdout.str()


def test_no_credential_of_a_failing_program_is_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a program raises may have one in it, as a URL does: no file and no log has it."""
    secret = "sk-" + "search4711" * 4
    monkeypatch.setenv("SEARCH_API_KEY", secret)
    program = (project.path / "program.py").read_text()
    raising = """
        if question.startswith("What is 7"):
            import os
            raise LookupError("404 for https://host/?key=" + os.environ["SEARCH_API_KEY"])
        return self.add"""
    project.write(program=program.replace("\n        return self.add", raising))
    test = (project.path / "test_adder.py").read_text()
    project.write(test_adder=test.replace("mipro.beats_baseline()", "mipro.compiled.score > 1"))
    result = project.run("--mipro", "-vv")
    result.assert_outcomes(failed=1)
    assert "404 for https://host/?key=***" in result.stdout.str()
    assert secret not in result.stdout.str()
    files = [path for path in (project.path / ".mipro").rglob("*") if path.is_file()]
    assert any(b"404 for https://host/?key=***" in path.read_bytes() for path in files)
    assert not any(secret.encode() in path.read_bytes() for path in files)


def test_a_program_with_threads_of_its_own(project: Project) -> None:
    """They do not know the model, which the error explains, unless they are told as it says."""
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
    assert project.calls > 300
