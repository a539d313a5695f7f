"""``mipro.no_regression()`` and ``mipro.reference`` from the outside."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

WORSE = ('"calls.log")', '"calls.log", base=0, per_demo=0)')
A_LITTLE_WORSE = ('"calls.log")', '"calls.log", base=28, per_demo=12)')


def change(project: Project, file: str, old: str, new: str) -> None:
    """Replace a text in one of the project's files."""
    text = (project.path / f"{file}.py").read_text()
    assert old in text
    project.write(**{file: text.replace(old, new)})


def test_without_a_reference_the_test_fails_with_the_command(guarded: Project) -> None:
    """The command that is shown accepts a reference, and then the test passes."""
    result = guarded.run("--mipro")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*assert FAIL: no reference is accepted yet*"])
    command = "pytest --mipro --mipro-update test_adder.py::test_adder"
    result.stdout.fnmatch_lines([f"E*accept them with: {command}"])
    guarded.run(*shlex.split(command)[1:]).assert_outcomes(passed=1)
    result = guarded.run("--mipro", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["  no regression: PASS: nothing changed: the score is 0.*n = 60*"])


def test_another_model_is_judged_by_the_accepted_scores(guarded: Project) -> None:
    """A model that got worse fails the test; the reference is not scored again."""
    guarded.run("--mipro", "--mipro-update").assert_outcomes(passed=1)
    change(guarded, "conftest", *WORSE)
    result = guarded.run("--mipro")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*assert FAIL: compiled 0.000, reference 0.*"])
    # What pytest shows of the assert is cut; this is not.
    said = " ".join(result.outlines)
    assert re.search(r"no regression: FAIL: .*p = .*n = 60; worse.*differences.*-update ", said)
    result.stdout.no_fnmatch_line("*scored again*")


def test_doubt_is_a_warning_or_a_failure(guarded: Project) -> None:
    """INCONCLUSIVE passes with a warning, which a filter can name, or fails if asked to."""
    guarded.run("--mipro", "--mipro-update").assert_outcomes(passed=1)
    change(guarded, "conftest", *A_LITTLE_WORSE)
    result = guarded.run("--mipro")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        [
            (
                "*test_adder.py:6: MiproWarning: test_adder: no regression: INCONCLUSIVE: *"
                "the examples do not decide it*more held-out examples*this counts as passed"
            )
        ]
    )
    strict = guarded.run("--mipro", "-o", "mipro_inconclusive=fail")
    strict.assert_outcomes(failed=1)
    strict.stdout.fnmatch_lines(["no regression: INCONCLUSIVE: *"])
    filtered = ["-W", "error::pytest_mipro.MiproWarning", "--mipro-inconclusive", "warn"]
    guarded.run("--mipro", *filtered, "-o", "mipro_inconclusive=fail").assert_outcomes(failed=1)


def test_a_program_that_no_longer_fits_is_told(guarded: Project) -> None:
    """Under another metric the accepted program is needed; one of other predictors cannot run."""
    guarded.run("--mipro", "--mipro-update").assert_outcomes(passed=1)
    change(guarded, "program", "self.add", "self.sum")
    change(guarded, "program", "example.answer ==", "prediction.answer ==")
    change(guarded, "program", "== prediction.answer", "== example.answer")
    result = guarded.run("--mipro")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*does not fit the code any more: * with other fields: add, sum; *-update *"])
    result.stdout.no_fnmatch_line("*pytest_mipro/*")


def test_no_common_example_cannot_be_judged(guarded: Project) -> None:
    """Nothing is compared, nothing passes, and the command to accept anew is there."""
    change(guarded, "program", '"test": ROWS[60:]', '"test": ROWS[60:90]')
    guarded.run("--mipro", "--mipro-update").assert_outcomes(passed=1)
    change(guarded, "program", '"test": ROWS[60:90]', '"test": ROWS[90:]')
    result = guarded.run("--mipro")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*none of the 30 held-out examples is in the reference*-update *"]
    )
    result.stdout.no_fnmatch_line("*pytest_mipro/*")


def test_wrong_arguments_show_the_users_line_only(guarded: Project) -> None:
    """The error names the argument; no traceback from our insides."""
    test = (guarded.path / "test_adder.py").read_text()
    wrong = test.replace("no_regression()", "no_regression(tolerance=-1)")
    change(guarded, "test_adder", "no_regression()", "no_regression(alpha=2)")
    guarded.write(test_wrong=wrong)
    result = guarded.run("--mipro", "--mipro-update")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "E*DeclarationError: tolerance=-1: expected a loss*",
            "E*DeclarationError: alpha=2: expected a probability*",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_mipro/*")


def test_a_damaged_reference_is_an_error(guarded: Project) -> None:
    """It is told before anything is paid for, and accepting anew mends it."""
    guarded.run("--mipro", "--mipro-update").assert_outcomes(passed=1)
    scores = guarded.path / "__mipro__" / "test_adder" / "test_adder.json"
    scores.write_text(f"<<<<<<< HEAD\n{scores.read_text()}")
    (guarded.path / ".mipro" / "store.db").unlink()
    paid = guarded.calls
    result = guarded.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["mipro: the reference __mipro__/test_adder/*conflict markers*"])
    assert guarded.calls == paid
    mended = guarded.run("--mipro", "--mipro-update")
    mended.assert_outcomes(passed=1)
    mended.stdout.fnmatch_lines(["test_adder: accepted, in place of files that could not*"])
