from __future__ import annotations

import unicodedata
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hostile import TEXTS
from hypothesis import given
from hypothesis import strategies as st
from summaries import (
    COMPARISON,
    EXAMPLES,
    PASSED,
    REGRESSED,
    TONED,
    UNDECIDED,
    held_out,
    hostile,
    report,
    summary,
    task_summary,
)

from pytest_mipro.escaping import printable
from pytest_mipro.records import BudgetCut, ExampleResult, Failure, Prompt, Usage, Verdict
from pytest_mipro.report.summary import effort
from pytest_mipro.report.terminal import (
    render_details,
    render_failed_answers,
    render_failure,
    render_table,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_mipro.records import Report
    from pytest_mipro.report.summary import Summary

WIDTHS = (40, 80, 120, 200)
VERBOSITIES = (0, 1, 2)
INSTRUCTION = " ".join(f"Rule {number}." for number in range(200))


def columns(text: str) -> int:
    """Return how many columns a terminal needs, by the Unicode database alone."""
    if text.isascii():  # Each letter takes one, and to look them up took most of these tests.
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "FW")
        for letter in text
    )


def shown(session: Summary, width: int = 120) -> list[str]:
    """Return the lines of the table without their styles."""
    return ["".join(segment.text for segment in line) for line in render_table(session, width)]


def all_texts(session: Summary, width: int) -> Iterable[str]:
    """Yield all texts about ``session`` that a terminal shows."""
    yield "\n".join(shown(session, width))
    for task in session.tasks:
        yield render_details(task, width)
        yield render_failed_answers(task, width)
        yield from (render_failure(task, width, verbosity) for verbosity in VERBOSITIES)


def failing(count: int) -> Report:
    """Return a report whose compiled program has ``count`` different failures."""
    outcome = report()
    failures = tuple(
        Failure("ValueError", f"no {number}", f'Traceback:\n  File "a.py"\nValueError: no {number}')
        for number in range(count)
    )
    return replace(outcome, compiled=replace(outcome.compiled, failures=failures))


class TestFailures:
    def test_no_line_without_failures(self) -> None:
        """A report without failures has no line about them."""
        assert "failed on" not in render_failure(task_summary(failing(0), failed=True), 120)

    def test_they_are_counted_and_the_first_three_shown(self) -> None:
        """The line counts all failures, and says that each scores 0."""
        text = render_failure(task_summary(failing(5), failed=True), 120)
        assert "the compiled program failed on 5 of " in text
        assert "each scores 0; the first 3 of 5:" in text
        assert [f"ValueError: no {number}" in text for number in range(5)] == [
            *[True] * 3,
            *[False] * 2,
        ]

    def test_both_programs(self) -> None:
        """The failures of the compiled program come first."""
        outcome = failing(1)
        outcome = replace(
            outcome, baseline=replace(outcome.baseline, failures=failing(2).compiled.failures)
        )
        text = render_failure(task_summary(outcome, failed=True), 200)
        assert "the compiled program failed on 1 of " in text
        assert "the baseline program failed on 2 of " in text
        assert "all of them:" in text
        assert text.count("Traceback:") == 3

    def test_a_hostile_traceback_is_only_shown(self) -> None:
        """No control character of a model reaches the terminal."""
        outcome = failing(1)
        evil = (Failure("\x1b[2J", "\x1b[2J", "\x1b]0;owned\x07\n::error::x"),)
        text = render_failure(
            task_summary(
                replace(outcome, compiled=replace(outcome.compiled, failures=evil)), failed=True
            ),
            80,
        )
        assert "\x1b" not in text
        assert "\x07" not in text


class TestFailedAnswers:
    def test_a_test_that_passed_shows_them(self) -> None:
        """The line has their number, their kinds and the first error."""
        assert render_failed_answers(PASSED, 200) == (
            "router: 1 of 4 compiled answers failed and score 0: 1 ValueError; the first is "
            "ValueError: no team called 'x'"
        )

    def test_a_test_that_failed_shows_their_tracebacks_instead(self) -> None:
        """Nothing is shown twice."""
        assert not render_failed_answers(REGRESSED, 200)

    def test_a_long_error_is_cut(self) -> None:
        """No program fills the terminal with one error."""
        text = render_failed_answers(task_summary(failing(40)), 80)
        assert 0 < len(text.splitlines()) <= 8


class TestTable:
    def test_a_line_a_task(self) -> None:
        """On a wide terminal, each task is a line of a table; an error has its message below."""
        assert shown(summary(), 130) == [
            (
                "task      n  baseline  compiled               difference  verdict       calls"
                "     cost  effort"
            ),
            (
                "router   40     0.425     0.675  +0.250 [+0.080, +0.400]  PASS          1,234"
                "  $0.0456  compiled in 13 s: metric changed (test_ro…"
            ),
            (
                "summary  40     0.425     0.675  +0.250 [+0.080, +0.400]  FAIL          1,234"
                "  $0.0456  compiled in 13 s: metric changed (test_ro…"
            ),
            "  no regression:  0.950 -> 0.675  -0.275 [-0.400, -0.100]  n = 40",
            (
                "answer   40     0.425     0.675  +0.250 [+0.080, +0.400]  INCONCLUSIVE      0"
                "       $0  from the store"
            ),
            "broken                                                    ERROR",
            "  the language model failed while running Router: LMAuthError: the key was revoked",
        ]

    def test_some_lines_a_task(self) -> None:
        """Where a table is too wide, each task has several lines."""
        assert shown(summary(), 80) == [
            "PASS          router",
            "              0.425 -> 0.675  +0.250 [+0.080, +0.400]  n = 40",
            "              compiled in 13 s, 1,234 LM calls, $0.0456: metric changed (test_r…",
            "FAIL          summary",
            "              no regression:  0.950 -> 0.675  -0.275 [-0.400, -0.100]  n = 40",
            "              baseline:  0.425 -> 0.675  +0.250 [+0.080, +0.400]  n = 40",
            "              compiled in 13 s, 1,234 LM calls, $0.0456: metric changed (test_r…",
            "INCONCLUSIVE  answer",
            "              0.425 -> 0.675  +0.250 [+0.080, +0.400]  n = 40",
            "              from the store, 0 LM calls",
            "ERROR         broken",
            "              the language model failed while running Router: LMAuthError: the",
            "              key was revoked",
        ]

    def test_a_narrow_terminal(self) -> None:
        """Lines are indented less, and figures are not broken."""
        assert shown(summary(PASSED), 40) == [
            "PASS  router",
            "  0.425 -> 0.675",
            "  +0.250 [+0.080, +0.400]  n = 40",
            "  compiled in 13 s, 1,234 LM calls,",
            "  $0.0456: metric changed…",
        ]

    def test_where_a_search_was_cut_is_shown(self) -> None:
        """The effort has two lines then, so that the name of the limit is whole."""
        assert PASSED.report is not None
        cut = BudgetCut("--mipro-max-calls 330", "calls", 5.0)
        report = replace(PASSED.report, cut=cut)
        lines = shown(summary(replace(PASSED, report=report, effort=effort(report))), 80)
        assert lines[2:] == [
            "              compiled in 13 s, 1,234 LM calls, search cut at --mipro-max-calls",
            "              330, $0.0456: metric changed (test_router.py:3)",
        ]

    def test_no_table_without_tasks(self) -> None:
        """A session without tasks has no table."""
        assert render_table(replace(summary(), tasks=()), 80) == []

    @pytest.mark.parametrize("width", WIDTHS)
    def test_an_interrupted_run_says_so(self, width: int) -> None:
        """A line below the tasks says so; without tasks there is none."""
        interrupted = replace(summary(), interrupted=True)
        lines = [*shown(summary(), width), "interrupted: not all tests were judged"]
        assert shown(interrupted, width) == lines
        assert render_table(replace(interrupted, tasks=()), width) == []

    @pytest.mark.parametrize("width", [80, 120])
    def test_only_verdicts_have_a_colour(self, width: int) -> None:
        """Styles have pytest's names, so that pytest decides whether to show colours."""
        lines = render_table(summary(), width)
        styles = {
            segment.text.strip(): segment.style
            for line in lines
            for segment in line
            if segment.style not in {"", "bold"}
        }
        assert styles == {
            "PASS": "green",
            "FAIL": "red",
            "INCONCLUSIVE": "yellow",
            "ERROR": "red",
        }

    @pytest.mark.parametrize("width", WIDTHS)
    def test_tasks_of_one_name_have_their_tests(self, width: int) -> None:
        """Their test ids are shown, and the end of an id is never cut."""
        tasks = [
            replace(
                PASSED, test=f"tests/deeply/nested/test_router.py::TestRouter::test_router[{n}]"
            )
            for n in range(2)
        ]
        lines = shown(summary(*tasks, UNDECIDED), width)
        assert [sum(f"router[{n}])" in line for line in lines) for n in range(2)] == [1, 1]
        assert not any("answer (" in line for line in lines)

    def test_a_failure_without_an_unmet_verdict_has_its_message(self) -> None:
        """The table shows the assert on a score that failed."""
        text = "assert 0.675 >= 0.8\n +  where"
        failed = task_summary(report(), failed=True, message=text)
        tolerated = replace(report("INCONCLUSIVE").verdicts[0], tolerated=True)
        passed = task_summary(report(verdicts=(tolerated,)), failed=True, message=text)
        for width, task in product(WIDTHS, (failed, passed)):
            lines = shown(summary(task), width)
            assert task.word in "\n".join(lines)
            assert "assert 0.675 >= 0.8" in [line.strip() for line in lines]

    def test_unmet_verdicts_with_other_figures_have_lines(self) -> None:
        """A verdict that passed, or has the figures of the task, has none."""
        lost = replace(COMPARISON, comparator=0.95, difference=-0.275, low=-0.4, high=-0.1)
        same_means = replace(COMPARISON, margin=0.1, low=0.05)
        verdicts = (
            Verdict("beats_baseline", "INCONCLUSIVE", "so", same_means),
            Verdict("no_regression", "FAIL", "worse", lost),
            Verdict("no_regression", "INCONCLUSIVE", "worse", replace(lost, n=7)),
            Verdict("no_regression", "PASS", "as good", replace(lost, n=8)),
            Verdict("no_regression", "FAIL", "no reference", comparison=None),
            Verdict("no_regression", "FAIL", "no reference", comparison=None),
        )
        task = task_summary(report(verdicts=verdicts), failed=True)
        notes = [
            "no regression:  0.950 -> 0.675  -0.275 [-0.400, -0.100]  n = 40",
            "no regression: INCONCLUSIVE  0.950 -> 0.675  -0.275 [-0.400, -0.100]  n = 7",
            "no regression: no reference",
        ]
        assert shown(summary(task), 200)[2:] == [f"  {note}" for note in notes]
        assert [line.strip() for line in shown(summary(task), 100)[1:5]] == [
            *notes,
            "baseline:  0.425 -> 0.675  +0.250 [+0.080, +0.400]  n = 40",
        ]

    def test_an_unknown_cost(self) -> None:
        """It is called unknown, and is not $0."""
        unpriced = task_summary(report("PASS", usage=Usage(12, 100, 10)))
        assert "   12  unknown  " in shown(summary(unpriced), 200)[1]
        assert "12 LM calls, cost unknown: metric changed" in "\n".join(
            shown(summary(unpriced), 100)
        )

    def test_wide_letters_do_not_shift_columns(self) -> None:
        """The columns of a table are aligned whatever the widths of letters."""
        names = ("你好", "e\u0301te\u0301", "plain")
        tasks = [task_summary(report("PASS", task=name)) for name in names]
        lines = shown(summary(*tasks), 160)
        assert len({columns(line[: line.index("0.425")]) for line in lines[1:]}) == 1

    @pytest.mark.parametrize("width", range(30, 220, 7))
    def test_never_too_wide(self, width: int) -> None:
        """No line is wider than the terminal, whatever the names and messages."""
        long = task_summary(report("FAIL", task="test_" + "long_" * 60), failed=True)
        tasks = [*summary().tasks, long, replace(long, test="你" * 300)]
        lines = shown(summary(*tasks), width)
        assert max(map(columns, lines)) <= width

    def test_a_summary_is_not_changed(self) -> None:
        """Rendering only reads it."""
        session = summary()
        data = session.to_dict()
        list(all_texts(session, 80))
        assert session.to_dict() == data


class TestFailure:
    def test_its_paragraphs(self) -> None:
        """A failure shows verdicts, tracebacks, the worst examples and the diff of the prompt."""
        assert render_failure(REGRESSED, 80).splitlines() == [
            "no regression: FAIL: worse than the reference",
            "the reference is out of date: metric changed",
            "",
            "the compiled program failed on 1 of 4 answers; each scores 0; all of them:",
            "  Traceback:",
            '    File "a.py"',
            "  ValueError",
            "",
            "1 of 4 held-out examples got worse than the reference, 0 better; the worst:",
            "  1  score 1.000 -> 0.000, baseline 1.000",
            "     input     ticket: Ticket 2",
            "     expected  team: mobile",
            "     baseline  team: mobile",
            "     compiled  team: billing",
            "  2  score 0.000 -> 0.000, baseline 0.000",
            "     input     ticket: Ticket 4",
            "     expected  team: mobile",
            "     baseline  team: web",
            "     compiled  (failed) ValueError: no team called 'x'",
            "",
            "the prompt since the reference:",
            "  instruction of route:",
            "    - Route the ticket to the team that owns it.",
            "    + Route the ticket to the team that owns the product.",
            "    + Answer with one word.",
            "  demos of route:",
            "    + ticket: The app crashes | team: mobile",
            "",
            "-vv shows all of it; --mipro-report out.html is a page to sort and filter",
        ]

    def test_the_baseline_is_compared_without_a_reference(self) -> None:
        """Examples and the prompt are compared with it."""
        examples = [replace(example, accepted=None) for example in EXAMPLES]
        text = render_failure(task_summary(report("FAIL", examples=examples), failed=True), 80)
        assert "1 of 4 held-out examples got worse than the baseline, 1 better" in text
        assert "the prompt since the baseline:" in text
        assert "    - Route the ticket to a team." in text
        assert "score 1.000 -> 0.000\n" in text
        assert "reference" not in text

    def test_each_unmet_verdict_is_shown(self) -> None:
        """A tolerated verdict passes and is not shown."""
        verdicts = report("PASS", "FAIL", "INCONCLUSIVE", sentence="so").verdicts
        tolerated = replace(verdicts[2], tolerated=True, sentence="tolerated")
        text = render_failure(
            task_summary(report(verdicts=(*verdicts, tolerated)), failed=True), 80
        )
        assert text.splitlines()[:3] == [
            "beats baseline: FAIL: so",
            "beats baseline: INCONCLUSIVE: so",
            "",
        ]

    def test_an_assert_on_a_score(self) -> None:
        """A failure without a verdict shows the figures."""
        text = render_failure(task_summary(report(), failed=True), 80)
        assert text.startswith(
            "baseline 0.425, compiled 0.675, difference +0.250 [+0.080, +0.400], n = 40\n\n"
        )

    def test_an_assert_on_a_score_with_a_reference(self) -> None:
        """The figures have the score of the reference, too."""
        assert REGRESSED.report is not None
        missed = replace(REGRESSED.report, verdicts=(), stale="")
        assert render_failure(task_summary(missed, failed=True), 120).startswith(
            "baseline 0.425, reference 0.750, compiled 0.675, "
            "difference from the baseline +0.250 [+0.080, +0.400], n = 40\n\n"
        )

    def test_a_missed_gain_compares_with_the_baseline(self) -> None:
        """Where only the gain is missing, examples are compared with the baseline."""
        assert REGRESSED.report is not None
        held = replace(REGRESSED.report.verdicts[1], word="PASS")
        missed = replace(REGRESSED.report.verdicts[0], word="FAIL")
        outcome = replace(REGRESSED.report, verdicts=(missed, held))
        text = render_failure(task_summary(outcome, failed=True), 80)
        assert "1 of 4 held-out examples got worse than the baseline, 1 better" in text
        assert "the prompt since the baseline:" in text

    def test_an_error_is_its_message(self) -> None:
        """An error has no other paragraph."""
        assert render_failure(summary().tasks[-1], 50) == (
            "the language model failed while running Router:\nLMAuthError: the key was revoked"
        )

    def test_an_unchanged_prompt_is_named_so(self) -> None:
        """A line says that the prompt is that of the baseline."""
        same = report("FAIL", prompts_before=report().prompts_after)
        assert "the prompt is that of the baseline" in render_failure(
            task_summary(same, failed=True), 80
        )

    def test_no_example_is_shown_if_all_have_the_best_score(self) -> None:
        """A failure without a worst example has no paragraph about examples."""
        good = report("FAIL", examples=(held_out(1.0, 1.0),))
        assert "held-out" not in render_failure(task_summary(good, failed=True), 80)

    @pytest.mark.parametrize(
        "verbosity, number, heading",
        [
            (-1, 3, "worst 3:"),
            (0, 3, "worst 3:"),
            (1, 10, "worst 10:"),
            (2, 30, "worst:"),
        ],
    )
    def test_more_examples_with_v(self, verbosity: int, number: int, heading: str) -> None:
        """It shows three, ten, or all; -q does not show fewer."""
        examples = [held_out(1.0, 0.0, number=number) for number in range(30)]
        failed = task_summary(report("FAIL", examples=examples), failed=True)
        text = render_failure(failed, 80, verbosity)
        assert heading in text
        assert text.count("input") == number

    @pytest.mark.parametrize("verbosity, lines", [(0, 1), (1, 6), (2, 26)])
    def test_more_of_a_value_with_v(self, verbosity: int, lines: int) -> None:
        """A value has one line, a few, or all."""
        words = " ".join(f"word{number:04}" for number in range(200))
        examples = [held_out(1.0, 0.0, compiled_team=words)]
        text = render_failure(
            task_summary(report("FAIL", examples=examples), failed=True), 90, verbosity
        )
        assert sum("word0" in line for line in text.splitlines()) == lines
        assert ("word0199" in text) == (verbosity == 2)
        assert ("…\n" in text) == (verbosity != 2)

    def test_more_of_the_prompt_with_v(self) -> None:
        """A diff has at most twenty lines without -v, and counts the rest."""
        prompt = Prompt("route", "\n".join(f"Rule {number}." for number in range(150)))
        failed = task_summary(report("FAIL", prompts_after=(prompt,)), failed=True)
        texts = [render_failure(failed, 80, verbosity) for verbosity in VERBOSITIES]
        assert [text.count("+ Rule") for text in texts] == [18, 98, 150]
        assert "  … 132 more lines with -v\n" in texts[0]
        assert "  … 52 more lines with -vv\n" in texts[1]
        assert "more lines" not in texts[2]

    def test_both_long_instructions_are_seen(self) -> None:
        """An instruction of one long line is cut, so that the new one is seen, too."""
        prompts = [Prompt("route", f"{start} {INSTRUCTION}") for start in ("Old.", "New.")]
        outcome = report("FAIL", prompts_before=(prompts[0],), prompts_after=(prompts[1],))
        text = render_failure(task_summary(outcome, failed=True), 80)
        assert "    - Old. Rule 0." in text
        assert "    + New. Rule 0." in text
        assert "Rule 199." not in text
        assert "Rule 199." in render_failure(task_summary(outcome, failed=True), 80, 1)

    def test_demos_come_after_instructions(self) -> None:
        """A demo has one line without -v, below the instructions of all predictors."""
        demos = tuple({"q": f"{number} {INSTRUCTION}"} for number in range(8))
        old = (Prompt("one", "Same."), Prompt("two", "Old."))
        new = (Prompt("one", "Same.", demos), Prompt("two", "New."))
        task = task_summary(report("FAIL", prompts_before=old, prompts_after=new), failed=True)
        lines = [line.strip() for line in render_failure(task, 60).splitlines()]
        start = lines.index("instruction of two:")
        assert lines[start + 1 : start + 4] == ["- Old.", "+ New.", "demos of one:"]
        assert [line[:5] for line in lines[start + 4 : start + 12]] == [
            f"+ q: {number}"[:5] for number in range(8)
        ]
        assert INSTRUCTION in " ".join(render_failure(task, 60, 1).split())

    def test_several_answers(self) -> None:
        """Each answer is shown once with its count."""
        answer = ExampleResult(0.25, ({"team": "web"}, {"team": "billing"}, {"team": "web"}))
        example = replace(held_out(1.0, 0.25), compiled=answer)
        text = render_failure(task_summary(report("FAIL", examples=[example]), failed=True), 80)
        assert "compiled  2 x team: web / 1 x team: billing" in text

    def test_an_unknown_answer_is_marked(self) -> None:
        """An answer of which only the score is known has a placeholder."""
        example = replace(held_out(1.0, 0.0), baseline=ExampleResult(1.0))
        text = render_failure(task_summary(report("FAIL", examples=[example]), failed=True), 80)
        assert "baseline  (not kept)" in text

    def test_a_new_example_is_named_so(self) -> None:
        """An example that is not in the reference has no score of it."""
        assert REGRESSED.report is not None
        outcome = replace(REGRESSED.report, held_out=(held_out(1.0, 0.0), held_out(1.0, 1.0)))
        text = render_failure(replace(REGRESSED, report=outcome), 80)
        assert "0 of 2 held-out examples got worse than the reference" in text
        assert "  1  score 0.000, baseline 1.000, not in the reference\n" in text

    def test_an_example_without_a_label(self) -> None:
        """It has no line for the expected value."""
        example = replace(held_out(1.0, 0.0), expected={})
        text = render_failure(task_summary(report("FAIL", examples=[example]), failed=True), 80)
        assert "expected" not in text

    def test_lines_of_a_value_stay_below_its_name(self) -> None:
        """With -v, each line of a value is a line; without, the value is one line."""
        failed = task_summary(
            report("FAIL", examples=[held_out(1.0, 0.0, ticket="a\nb")]), failed=True
        )
        assert "input     ticket: a\\nb\n" in render_failure(failed, 80)
        assert "     input     ticket: a\n               b\n" in render_failure(failed, 80, 1)

    def test_the_way_to_more_is_named(self) -> None:
        """The last line names the flags that show more."""
        assert "-vv" in render_failure(REGRESSED, 80)
        assert "-vv" not in render_failure(REGRESSED, 80, 2)
        assert "--mipro-report out.html" in render_failure(REGRESSED, 80, 2)


class TestDetails:
    def test_verdicts_and_prompts(self) -> None:
        """Details have all sentences, the reasons of the compile, and the compiled prompts."""
        assert render_details(REGRESSED, 80).splitlines() == [
            "summary (tests/test_router.py::test_summary)",
            "  beats baseline: PASS: better",
            "  no regression: FAIL: worse than the reference",
            "  compiled because: metric changed (test_router.py:3)",
            "  compiled instruction of route:",
            "    Route the ticket to the team that owns the product.",
            "    Answer with one word.",
            "  compiled demos of route: 1",
            "    ticket: The app crashes | team: mobile",
        ]

    def test_an_error(self) -> None:
        """The details of an error are its message."""
        assert render_details(summary().tasks[-1], 120).splitlines() == [
            "broken (tests/test_router.py::test_broken)",
            "  the language model failed while running Router: LMAuthError: the key was revoked",
        ]

    def test_no_demos_and_no_instruction(self) -> None:
        """An empty instruction and a prompt without demos are named so."""
        text = render_details(
            task_summary(report("PASS", prompts_after=(Prompt("classify", ""),))), 80
        )
        assert "    (empty)" in text.splitlines()
        assert "  compiled demos of classify: none" in text.splitlines()

    def test_a_long_instruction_is_complete(self) -> None:
        """It is broken into lines, and none is left out."""
        text = render_details(
            task_summary(report("PASS", prompts_after=(Prompt("route", INSTRUCTION),))), 60
        )
        assert INSTRUCTION in " ".join(text.split())

    @pytest.mark.parametrize("fake", ["x\nother: PASS", "x\r\nother: PASS", "x" * 500])
    def test_no_text_can_fake_a_task(self, fake: str) -> None:
        """All lines below a task are indented, whatever its texts."""
        prompt = Prompt(fake, fake, ({"q": fake},))
        outcome = report("FAIL", sentence=fake, prompts_after=(prompt,), reasons=(fake,))
        lines = render_details(task_summary(outcome), 80).split("\n")
        assert [line for line in lines if not line.startswith("  ")] == lines[:1]


class TestHostile:
    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
    def test_it_is_escaped(self, text: str) -> None:
        """A terminal of any width and a CI system obey no text of any field."""
        session = hostile(text)
        for width in WIDTHS:
            for output in all_texts(session, width):
                assert printable(output) == output
                assert all(columns(line) <= width for line in output.split("\n"))
                output.encode("utf-8")

    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
    def test_a_name_stays_in_its_line(self, text: str) -> None:
        """A name with a line break adds no second task."""
        task = task_summary(report("PASS", task=f"{text}\nother: PASS"))
        assert len(shown(summary(task), 80)) == 3

    @given(st.text(st.sampled_from("a :#[你\u0301\n\u115f\ufe0f"), max_size=60), st.integers(4, 30))
    def test_no_line_becomes_a_command_by_being_broken(self, text: str, width: int) -> None:
        """A command inside a line has an escape where the line is broken before it."""
        prompt = Prompt("p", text)
        shown_text = render_details(task_summary(report(prompts_after=(prompt,))), width + 10)
        assert printable(shown_text) == shown_text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_has_a_line_for_each_further_metric(width: int) -> None:
    """The line has both means, the difference and n, and a verdict names its metric."""
    lines = [
        "".join(segment.text for segment in line) for line in render_table(summary(TONED), width)
    ]
    text = " ".join(" ".join(lines).split())
    assert "tone: 0.375 -> 0.750 +0.375 [" in text
    assert "no regression (tone): 0.375 -> 0.750" in text
    assert "no regression (tone): FAIL: ruder" in " ".join(render_failure(TONED, width).split())
