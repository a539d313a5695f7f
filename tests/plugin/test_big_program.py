"""A program is described once per task and run, as one with many documents takes long."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

COUNTER = """
from pytest_mipro.fingerprint import programs

describe_modules = programs._describe_modules

def count(program, *arguments):
    with open("described.log", "a") as log:
        print(id(program), file=log)
    return describe_modules(program, *arguments)

programs._describe_modules = count
"""


def descriptions(project: Project) -> list[int]:
    """Run once; return how often each program was described."""
    log = project.path / "described.log"
    log.unlink(missing_ok=True)
    project.run("--mipro").assert_outcomes(passed=1)
    return list(Counter(log.read_text(encoding="ascii").split()).values())


def test_a_program_is_described_once(project: Project) -> None:
    """This holds for a run that compiles, and for one that takes all from the store."""
    conftest = (project.path / "conftest.py").read_text(encoding="utf-8")
    test = (project.path / "test_adder.py").read_text(encoding="utf-8")
    labeled = test.replace("**SEARCH", 'optimizer="labeled"')
    assert labeled != test
    project.write(conftest=f"{conftest}{COUNTER}", test_adder=labeled)
    assert descriptions(project) == [1]
    assert descriptions(project) == [1]
