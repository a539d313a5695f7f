"""Code in an installed package counts by its text or by its version, or a warning says neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project

SITE = """
import os, sys, sysconfig
from pathlib import Path
from pytest_mipro.fingerprint import ownership

SITE = str(Path(__file__).parent / "site")
sys.path.insert(0, SITE)
sys.dont_write_bytecode = True
sysconfig.get_path = lambda name: SITE
ownership._INSTALLED += (SITE + os.sep,)
"""
"""Makes a folder of the project one of installed packages."""
HELPER = "def matches(one, other):\n    return one == other\n"
TEST = """
from pytest_mipro import mipro_optimize
from program import Adder, DATASET
from ticketbot import matches

def metric(example, prediction, trace=None):
    return matches(example.answer, prediction.answer)

@mipro_optimize(program=Adder, metric=metric, dataset=DATASET, optimizer="labeled")
def test_adder(mipro):
    pass

@mipro_optimize(program=Adder, metric=metric, dataset=DATASET, optimizer="labeled", seed=5)
def test_again(mipro):
    pass
"""


def install(project: Project, helper: str, version: str = "1") -> None:
    """Install a wheel of an index, as far as Python sees it."""
    metadata = f"site/ticketbot-{version}.dist-info"
    for old in (project.path / "site").glob("*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    for name, text in {
        "site/ticketbot.py": helper,
        f"{metadata}/RECORD": "ticketbot.py,,\n",
        f"{metadata}/METADATA": f"Metadata-Version: 2.1\nName: ticketbot\nVersion: {version}\n",
    }.items():
        path = project.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def judged(project: Project) -> Project:
    """Return a project whose metric uses a package that is installed, after one run."""
    conftest = (project.path / "conftest.py").read_text(encoding="utf-8")
    project.write(conftest=f"{conftest}{SITE}", test_adder=TEST)
    install(project, HELPER)
    return project


EDITED = HELPER.replace("one == other", "one == other or 0")


def test_edit_of_the_project_under_test_is_a_change(judged: Project) -> None:
    """Its own package is its code, though it was installed from an index."""
    name = '[project]\nname = "ticketbot"\nversion = "1"\n'
    (judged.path / "pyproject.toml").write_text(name, encoding="utf-8")
    judged.run("--mipro").assert_outcomes(passed=2)

    install(judged, EDITED)

    result = judged.run("--mipro")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_adder: compiling: code of ticketbot.matches changed*"])


def test_new_version_of_a_package_is_a_change(judged: Project) -> None:
    """The reason names it; an edit behind an index's back is none."""
    judged.run("--mipro").assert_outcomes(passed=2)
    install(judged, EDITED)
    judged.run("--mipro").stdout.no_fnmatch_line("*compiling:*")

    install(judged, EDITED, version="2")

    result = judged.run("--mipro")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_adder: compiling: ticketbot version changed*"])


def test_package_of_no_distribution_is_warned_about_once(judged: Project) -> None:
    """Two tests use it; the warning names the package and the ways out."""
    for file in (judged.path / "site" / "ticketbot-1.dist-info").iterdir():
        file.unlink()

    result = judged.run("--mipro")

    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines(["*test_adder: the code uses the package 'ticketbot', which is*"])
    result.stdout.no_fnmatch_line("*test_again: the code uses*")
