"""``mipro.no_regression()`` and ``mipro.reference``."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

from pytest_mipro.canonical import digest

if TYPE_CHECKING:
    from project import Project

WORSE = ('"calls.log")', '"calls.log", base=0, per_demo=0)')
A_LITTLE_WORSE = ('"calls.log")', '"calls.log", base=29, per_demo=12)')


def change(project: Project, file: str, old: str, new: str) -> None:
    """Replace a text in a file of the project."""
    text = (project.path / f"{file}.py").read_text()
    assert old in text
    project.write(**{file: text.replace(old, new)})


def test_without_a_reference_the_test_fails_with_the_command(unaccepted: Project) -> None:
    """The failure shows a command that accepts a reference, after which the test passes."""
    result = unaccepted.run("--mipro")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*assert FAIL: no reference is accepted yet*"])
    command = "pytest --mipro --mipro-update test_adder.py::test_adder"
    result.stdout.fnmatch_lines([f"E*accept them with: {command}"])
    unaccepted.run(*shlex.split(command)[1:]).assert_outcomes(passed=1)
    result = unaccepted.run("--mipro", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["  no regression: PASS: nothing changed: the score is 0.*n = 24*"])


def test_the_command_has_the_flags_that_decide_what_is_accepted(unaccepted: Project) -> None:
    """Without them it would accept what another model or optimizer gives."""
    flags = "--mipro-optimizer labeled --mipro-repeat 2 --mipro-lm openai/none"
    result = unaccepted.run("--mipro", "--mipro-frozen", *flags.split())
    result.assert_outcomes(errors=1)
    command = f"pytest --mipro --mipro-update test_adder.py::test_adder {flags}"
    result.stdout.fnmatch_lines([f"*accept one with: {command}"])


def test_another_model_is_judged_by_the_accepted_scores(accepted: Project) -> None:
    """A worse model fails the test, and the reference is not scored again."""
    change(accepted, "conftest", *WORSE)
    result = accepted.run("--mipro")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*assert FAIL: *; compiled 0.000, reference 0.*"])
    # pytest cuts the text of the assert, but not that of the section.
    output = " ".join(result.outlines)
    assert re.search(r"no regression: FAIL: .*p = .*n = 24; worse.*a loss of.*-update ", output)
    result.stdout.no_fnmatch_line("*scored again*")


def test_an_inconclusive_verdict_is_a_warning_or_a_failure(accepted: Project) -> None:
    """INCONCLUSIVE passes with a warning at the line of the assert, or fails by option."""
    change(accepted, "conftest", *A_LITTLE_WORSE)
    result = accepted.run("--mipro")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        [
            (
                "*test_adder.py:6: MiproWarning: test_adder: no regression: INCONCLUSIVE: *"
                "the examples do not decide it*so allow a loss, *tolerance=*this counts as passed"
            )
        ]
    )
    strict = accepted.run("--mipro", "-o", "mipro_inconclusive=fail")
    strict.assert_outcomes(failed=1)
    strict.stdout.fnmatch_lines(["no regression: INCONCLUSIVE: *"])
    filtered = ["-W", "error::pytest_mipro.MiproWarning", "--mipro-inconclusive", "warn"]
    accepted.run("--mipro", *filtered, "-o", "mipro_inconclusive=fail").assert_outcomes(failed=1)


def test_an_accepted_program_that_no_longer_fits_is_a_failure(accepted: Project) -> None:
    """A changed metric needs the accepted program, which must have the present predictors."""
    change(accepted, "program", "self.add", "self.sum")
    change(accepted, "program", "example.answer ==", "prediction.answer ==")
    change(accepted, "program", "== prediction.answer", "== example.answer")
    result = accepted.run("--mipro")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*does not fit the code any more: * with other fields: add, sum; *-update *"]
    )
    result.stdout.no_fnmatch_line("*pytest_mipro/*")


def test_a_reference_without_common_examples_is_a_failure(unaccepted: Project) -> None:
    """The failure shows the command that accepts the reference anew."""
    change(unaccepted, "program", '"test": ROWS[70:94]', '"test": ROWS[70:82]')
    unaccepted.run("--mipro", "--mipro-update").assert_outcomes(passed=1)
    change(unaccepted, "program", '"test": ROWS[70:82]', '"test":  ROWS[82:94]')
    result = unaccepted.run("--mipro")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*none of the 12 held-out examples is in the reference*-update *"]
    )
    result.stdout.no_fnmatch_line("*pytest_mipro/*")


def test_a_wrong_argument_is_named(unaccepted: Project) -> None:
    """The error names the argument, and shows no frame of the plugin."""
    test = (unaccepted.path / "test_adder.py").read_text()
    wrong = test.replace("no_regression()", "no_regression(tolerance=-1)")
    change(unaccepted, "test_adder", "no_regression()", "no_regression(alpha=2)")
    unaccepted.write(test_wrong=wrong)
    result = unaccepted.run("--mipro", "--mipro-update")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "E*DeclarationError: tolerance=-1: expected a loss*",
            "E*DeclarationError: alpha=2: expected a probability*",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_mipro/*")


def test_a_damaged_reference_is_an_error(accepted: Project) -> None:
    """The error precedes all LM calls, and accepting the reference anew repairs it."""
    scores = accepted.path / "__mipro__" / "test_adder" / "test_adder.json"
    scores.write_text(f"<<<<<<< HEAD\n{scores.read_text()}")
    store = accepted.path / ".mipro"
    aside = store.rename(accepted.path / "aside")
    paid = accepted.calls
    result = accepted.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["mipro: the reference __mipro__/test_adder/*conflict markers*"])
    assert accepted.calls == paid
    assert not store.exists()
    aside.rename(store)
    repaired = accepted.run("--mipro", "--mipro-update")
    repaired.assert_outcomes(passed=1)
    repaired.stdout.fnmatch_lines(["test_adder: accepted, in place of files that could not*"])


def test_an_accepted_program_without_its_fields(accepted: Project) -> None:
    """Both files say that it is of this code, so that nothing can be judged, and it is no FAIL."""
    (scores,) = accepted.path.glob("__mipro__/*/test_adder.json")
    program, history = (scores.with_suffix(f".{name}.json") for name in ("program", "history"))
    data, state = json.loads(scores.read_text()), json.loads(program.read_text())
    del state["add"]["signature"]["fields"]
    content = {name: part for name, part in state.items() if name != "metadata"}
    data["program"] = digest(content)
    identity = digest([data["parts"], data["metric"], data["compiled"], digest(content)])[:16]
    (old,) = json.loads(history.read_text())["acceptances"]
    history.write_text(history.read_text().replace(old, identity))
    scores.write_text(json.dumps(data))
    program.write_text(json.dumps(state))
    result = accepted.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*the accepted program * does not fit the code any more*")
