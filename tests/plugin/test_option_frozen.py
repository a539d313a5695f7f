"""``--mipro-frozen`` compiles nothing and takes the accepted program and scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project

COMMAND = "pytest --mipro --mipro-update test_adder.py::test_adder"


def delete_store(project: Project) -> None:
    """Delete the store, as on a machine that has only the committed files."""
    (project.path / ".mipro" / "store.db").unlink()


def change(project: Project, old: str, new: str) -> None:
    """Replace a text in the project's program."""
    text = (project.path / "program.py").read_text()
    assert old in text
    project.write(program=text.replace(old, new))


def test_a_reference_is_enough(accepted: Project) -> None:
    """Without a store or an LM call, the accepted scores give the verdicts."""
    test = (accepted.path / "test_adder.py").read_text()
    accepted.write(test_adder=f"{test}\n    assert mipro.beats_baseline()\n")
    delete_store(accepted)
    paid = accepted.calls
    result = accepted.run("--mipro", "--mipro-frozen", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "test_adder  24 * PASS *  0    $0  from the reference",
            "  no regression: PASS: nothing changed: *",
            "  beats baseline: PASS: *",
        ]
    )
    assert accepted.calls == paid
    assert not (accepted.path / ".mipro" / "store.db").exists()


def test_a_missing_reference_is_an_error(unaccepted: Project) -> None:
    """The error shows the command that accepts one, also if the store has the artifact."""
    paid = unaccepted.calls
    result = unaccepted.run("--mipro", "-o", "mipro_frozen=true")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*--mipro-frozen*test_adder.json is missing; *"])
    result.stdout.fnmatch_lines([f"*accept one with: {COMMAND}"])
    assert unaccepted.calls == paid


def test_a_stale_reference_is_an_error_with_the_reason(accepted: Project) -> None:
    """The error names the change, and ``--mipro-update`` wins over the ini option."""
    change(accepted, "ROWS[:20]", "ROWS[1:20]")
    paid = accepted.calls
    result = accepted.run("--mipro", "--mipro-frozen")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*is out of date: 1 train row removed*; *anew with: {COMMAND}"])
    assert accepted.calls == paid
    flags = ("--mipro-update", "--mipro-new-anchor")
    result = accepted.run("--mipro", *flags, "-o", "mipro_frozen=true")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("contrary", ["update", "refresh"])
def test_a_contrary_flag_is_a_usage_error(guarded: Project, contrary: str) -> None:
    """The error names both flags."""
    result = guarded.run("--mipro", "--mipro-frozen", f"--mipro-{contrary}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--mipro-{contrary} and --mipro-frozen contradict each other*"])
