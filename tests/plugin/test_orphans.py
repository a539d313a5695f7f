"""A full run lists references that are out of date or belong to no test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from project import Project

TESTS = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
def test_adder(mipro):
    pass

def test_plain():
    pass
"""
OTHER = "def test_other(): pass"
ORPHANS = [
    "__mipro__/test_adder/test_renamed.[*] belongs to no test; delete it*",
    "__mipro__/test_gone/test_x.[*] belongs to no test; delete it*",
]


def write_references(folder: Path, *names: str) -> None:
    """Write reference files under these names."""
    for name in names:
        path = folder / "__mipro__" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


@pytest.fixture
def littered(compiled: Project) -> Project:
    """Write a compiled with references of a renamed test and of a deleted module."""
    compiled.write(test_adder=TESTS, test_other=OTHER)
    write_references(
        compiled.path,
        "test_adder/test_renamed.json",
        "test_adder/test_renamed.program.json",
        "test_gone/test_x.json",
    )
    return compiled


def test_a_full_run_lists_orphans(littered: Project) -> None:
    """Each orphan has a line, also beside a plain module and with workers; no file is deleted."""
    write_references(littered.path, "test_other/test_old.json")
    for arguments in ([], ["."], ["-n", "2"]):
        result = littered.run("--mipro", *arguments)
        result.assert_outcomes(passed=3)
        result.stdout.fnmatch_lines([*ORPHANS, "__mipro__/test_other/test_old.[*] belongs *"])
        result.stdout.no_fnmatch_line("*test_adder/test_adder*belongs*")
    assert (littered.path / "__mipro__" / "test_gone" / "test_x.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["-k", "plain"],
        ["--deselect", "test_adder.py::test_adder"],
        ["test_other.py"],
        ["test_adder.py::test_plain"],
        ["--ignore", "test_adder.py"],
    ],
)
def test_a_partial_run_lists_no_orphans(littered: Project, arguments: list[str]) -> None:
    """A test that was left out may use the reference."""
    result = littered.run("--mipro", *arguments)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*belongs to no test*")


def test_a_run_with_a_broken_module_lists_no_orphans(littered: Project) -> None:
    """A test of the broken module may use the reference."""
    littered.write(test_broken="import nothing_of_that_name")
    result = littered.run("--mipro", "--continue-on-collection-errors")
    result.stdout.no_fnmatch_line("*belongs to no test*")


def test_a_module_that_conftest_leaves_out_keeps_its_references(littered: Project) -> None:
    """The file exists, so its tests may run in another session."""
    conftest = (littered.path / "conftest.py").read_text()
    littered.write(conftest=f"{conftest}\ncollect_ignore = ['test_other.py']\n")
    write_references(littered.path, "test_other/test_elsewhere.json")
    result = littered.run("--mipro")
    result.stdout.fnmatch_lines(ORPHANS)
    result.stdout.no_fnmatch_line("*test_elsewhere*")


@pytest.mark.parametrize(
    "skip", ["pytest.importorskip('nothing_of_that_name')", "pytest.skip(allow_module_level=True)"]
)
def test_a_module_that_skips_itself_keeps_its_references(littered: Project, skip: str) -> None:
    """The tests may run on another machine."""
    littered.write(test_other=f"import pytest\n{skip}\n")
    write_references(littered.path, "test_other/test_elsewhere.json")
    for arguments in ([], ["-n", "1"]):
        result = littered.run("--mipro", *arguments)
        result.stdout.fnmatch_lines(ORPHANS)
        result.stdout.no_fnmatch_line("*test_elsewhere*")


def test_a_test_that_requests_its_outcome_late_keeps_its_reference(compiled: Project) -> None:
    """The test has no fixture that pytest sees at collection."""
    compiled.write(
        test_adder="""
        import pytest
        from program import Adder, right, DATASET, SEARCH

        @pytest.mark.mipro(program=Adder, metric=right, dataset=DATASET, **SEARCH)
        def test_late(request):
            assert request.getfixturevalue("mipro").compiled.score
        """
    )
    result = compiled.run("--mipro", "--mipro-update")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_late: first reference: *"])
    result.stdout.no_fnmatch_line("*belongs to no test*")


def test_without_the_flag_no_orphans_are_listed(littered: Project) -> None:
    """A session without ``--mipro`` compares no references."""
    littered.run().stdout.no_fnmatch_line("*belongs to no test*")


def test_a_stale_reference_is_listed(accepted: Project) -> None:
    """The line of a full run names the change and the command that accepts anew."""
    program = (accepted.path / "program.py").read_text()
    accepted.write(program=program.replace("ROWS[:20]", "ROWS[1:20]"))
    line = "the reference __mipro__/* is out of date: 1 train row removed*; accept anew with: *"
    accepted.run("--mipro").stdout.fnmatch_lines([line])
    accepted.run("--mipro", "test_adder.py").stdout.no_fnmatch_line("*out of date*")
