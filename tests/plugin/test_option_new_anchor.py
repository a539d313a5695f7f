"""``--mipro-new-anchor`` accepts a program that is worse than what was accepted before."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project


def test_a_worse_program_needs_the_flag(accepted: Project) -> None:
    """An update alone fails with the command, which makes the test pass from then on."""
    conftest = (accepted.path / "conftest.py").read_text()
    accepted.write(conftest=conftest.replace('"calls.log")', '"calls.log", base=0, per_demo=0)'))
    result = accepted.run("--mipro", "--mipro-update")
    result.assert_outcomes(failed=1)
    command = "pytest --mipro --mipro-update test_adder.py::test_adder --mipro-new-anchor"
    result.stdout.fnmatch_lines([f"*accept it as the new anchor with: {command}"])
    accepted.run("--mipro", "--mipro-frozen").assert_outcomes(failed=1)
    accepted.run(*shlex.split(command)[1:]).assert_outcomes(passed=1)
    accepted.run("--mipro", "--mipro-frozen").assert_outcomes(passed=1)


def test_the_flag_needs_an_update(project: Project) -> None:
    """Without one it is an error before any work, also without ``--mipro``."""
    for flags, message in (
        (["--mipro"], "*--mipro-new-anchor does nothing without --mipro-update*"),
        ([], "*--mipro-new-anchor does nothing without --mipro:*"),
    ):
        result = project.run(*flags, "--mipro-new-anchor")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([message])
    assert project.calls == 0
