"""What a change of a project leads to: a recompile that says why, new scores, or nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from project import Project


@pytest.fixture
def compiled(project: Project) -> Project:
    """Return the project after its first run."""
    project.run("--mipro").assert_outcomes(passed=1)
    return project


def edit(project: Project, *edits: tuple[str, str]) -> None:
    """Change what is in the project's program."""
    text = (project.path / "program.py").read_text()
    for old, new in edits:
        assert text.count(old) == 1
        text = text.replace(old, new)
    project.write(program=text)


def said(result: pytest.RunResult) -> list[str]:
    """Return why it says it compiles."""
    return re.findall(r"mipro: test_adder: compiling: (.*)", result.stdout.str())


def test_several_changes_are_all_said(compiled: Project) -> None:
    """One line names what changed in the code, in the options and in the rows."""
    edit(
        compiled,
        ('"question -> answer: int"', '"question -> answer: float"'),
        ("ROWS[:20]", "ROWS[:19]"),
    )
    result = compiled.run("--mipro")
    assert said(result) == [
        "code of program.Adder changed (program.py:3), fields of add changed, 1 train row removed"
    ]


def test_held_out_rows_are_scored_without_a_compile(compiled: Project) -> None:
    """New held-out rows cost a call for each program, corrected labels cost none."""
    paid = compiled.calls
    edit(compiled, ("range(120)", "range(121)"))
    grown = compiled.run("--mipro")
    assert said(grown) == []
    grown.stdout.fnmatch_lines(["test_adder  61 *"])
    assert compiled.calls == paid + 2
    edit(compiled, ("answer=2 * i + 3)", "answer=2 * i + 3 + (i == 70))"))
    corrected = compiled.run("--mipro")
    assert said(corrected) == []
    corrected.stdout.fnmatch_lines(["test_adder  61 *"])
    assert compiled.calls == paid + 2


def test_nothing_that_counts_changed(compiled: Project, tmp_path: Path) -> None:
    """A copy of the folder, other times, a comment, another hash seed: nothing is done again."""
    paid = compiled.calls
    edit(
        compiled,
        ("def right(", "# Say whether the sum is right.\n\n\ndef right("),
        ('"test": ROWS[60:]', '"test": ROWS[60:][::-1]'),
    )
    elsewhere = tmp_path / "else where"
    shutil.copytree(compiled.path, elsewhere, copy_function=shutil.copyfile)
    environment = {**os.environ, "PYTHONHASHSEED": "4242"}
    # A fork has the hash seed of the process before it.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--mipro"]
    done = subprocess.run(
        command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True
    )
    assert "compiling" not in done.stdout
    assert re.search(r"  0    \$0  from the store", done.stdout)
    assert len((elsewhere / "calls.log").read_text().splitlines()) == paid
