"""Without ``--mipro`` the plugin loads nothing heavy and prints nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project

HEAVY = ("dspy", "optuna", "sqlalchemy", "scipy", "numpy", "pydantic", "jinja2", "xllamacpp")

LIST_MODULES = """
import sys

def test_modules():
    print("LOADED", sorted(set(sys.modules) & {heavy}))
"""


def test_a_session_without_the_flag_loads_no_heavy_module(pytester: pytest.Pytester) -> None:
    """Neither DSPy, Optuna, SQLAlchemy nor SciPy is in sys.modules when tests run."""
    pytester.makepyfile(LIST_MODULES.format(heavy=set(HEAVY)))
    result = pytester.runpytest_subprocess("-s", "-p", "no:hypothesispytest", "-p", "no:anyio")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*LOADED []*"])


def test_the_decorator_loads_no_heavy_module() -> None:
    """A test module can import the decorator without DSPy."""
    code = (
        "import sys; from pytest_mipro import mipro_optimize; "
        f"print(sorted(set(sys.modules) & {set(HEAVY)!r}))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"


def test_declaring_tests_are_skipped_with_the_reason(project: Project) -> None:
    """The reason names the missing flag, and the run makes no LM call."""
    result = project.run("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*needs --mipro"])
    assert project.calls == 0


def test_a_session_without_the_flag_leaves_no_trace(project: Project) -> None:
    """The session makes no folder and prints no line about the plugin."""
    result = project.run()
    assert not (project.path / ".mipro").exists()
    result.stdout.no_fnmatch_line("*mipro:*")


def test_a_wrong_declaration_is_not_checked(project: Project) -> None:
    """A skipped test may have a wrong declaration."""
    project.write(
        test_adder="""
        import pytest

        @pytest.mark.mipro(dataset="missing.jsonl", progam=1)
        def test_adder(mipro):
            raise AssertionError
        """
    )
    project.run().assert_outcomes(skipped=1)


def test_the_marker_is_registered(project: Project) -> None:
    """Strict markers accept the marker, and ``--markers`` explains it."""
    project.run("--strict-markers").assert_outcomes(skipped=1)
    project.run("--markers").stdout.fnmatch_lines(["@pytest.mark.mipro(*declare*"])


@pytest.mark.parametrize("flag", ["update", "frozen", "refresh", "rescore", "dry-run"])
def test_a_flag_that_needs_mipro_is_an_error(project: Project, flag: str) -> None:
    """A CI job that lacks ``--mipro`` fails, because it would skip every test."""
    result = project.run(f"--mipro-{flag}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --mipro-{flag} does nothing without --mipro*add it"])
