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
    UNDECIDED,
    held_out,
    hostile,
    report,
    summary,
    task_summary,
)

from pytest_mipro.records import ExampleResult, Failure, Prompt, Usage, Verdict
from pytest_mipro.report.escaping import printable
from pytest_mipro.report.terminal import details, failure, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_mipro.records import Report
    from pytest_mipro.report.summary import Summary

WIDTHS = (40, 80, 120, 200)
TALKATIVE = (0, 1, 2)
INSTRUCTION = " ".join(f"Rule {number}." for number in range(200))


def columns(text: str) -> int:
    """Return how many columns a terminal needs, in the simplest way to say it."""
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "FW")
        for each in text
    )


def shown(found: Summary, width: int = 120) -> list[str]:
    """Return the lines of the table without their styles."""
    return ["".join(segment.text for segment in line) for line in table(found, width)]


def all_texts(found: Summary, width: int) -> Iterable[str]:
    """Yield everything a terminal is ever shown of ``found``."""
    yield "\n".join(shown(found, width))
    for task in found.tasks:
        yield details(task, width)
        yield from (failure(task, width, verbosity) for verbosity in TALKATIVE)


def failing(count: int) -> Report:
    """Return a report whose compiled program failed so often, each time in another way."""
    found = report()
    failures = tuple(
        Failure("ValueError", f"no {number}", f'Traceback:\n  File "a.py"\nValueError: no {number}')
        for number in range(count)
    )
    return replace(found, compiled=replace(found.compiled, failures=failures))


class TestFailures:
    def test_nothing_is_said_where_there_are_none(self) -> None:
        """A program that answered is not said to have failed."""
        assert "failed on" not in failure(task_summary(failing(0), failed=True), 120)

    def test_they_are_counted_and_the_first_three_shown(self) -> None:
        """Each scores 0; what is left out is counted."""
        text = failure(task_summary(failing(5), failed=True), 120)
        assert "the compiled program failed on 5 of " in text
        assert "each scores 0; the first 3 of 5:" in text
        assert [f"ValueError: no {number}" in text for number in range(5)] == [
            *[True] * 3,
            *[False] * 2,
        ]

    def test_both_programs(self) -> None:
        """The compiled program's come first."""
        found = failing(1)
        found = replace(
            found, baseline=replace(found.baseline, failures=failing(2).compiled.failures)
        )
        text = failure(task_summary(found, failed=True), 200)
        assert "the compiled program failed on 1 of " in text
        assert "the baseline program failed on 2 of " in text
        assert "all of them:" in text
        assert text.count("Traceback:") == 3

    def test_a_hostile_traceback_is_only_shown(self) -> None:
        """No control character of a model's reaches the terminal."""
        found = failing(1)
        evil = (Failure("\x1b[2J", "\x1b[2J", "\x1b]0;owned\x07\n::error::x"),)
        text = failure(
            task_summary(
                replace(found, compiled=replace(found.compiled, failures=evil)), failed=True
            ),
            80,
        )
        assert "\x1b" not in text
        assert "\x07" not in text


class TestTable:
    def test_a_line_a_task(self) -> None:
        """Where there is room, tasks are lines of a table; an error says what it is below."""
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
        """Where a table is too wide, what matters is still one below the other."""
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
        """Nothing is indented that far, and figures stay whole."""
        assert shown(summary(PASSED), 40) == [
            "PASS  router",
            "  0.425 -> 0.675",
            "  +0.250 [+0.080, +0.400]  n = 40",
            "  compiled in 13 s, 1,234 LM calls,",
            "  $0.0456: metric changed…",
        ]

    def test_nothing_to_show(self) -> None:
        """Without tasks there is no table."""
        assert table(replace(summary(), tasks=()), 80) == []

    @pytest.mark.parametrize("width", WIDTHS)
    def test_an_interrupted_run_says_so(self, width: int) -> None:
        """Below all tasks, that they are not all there are; without any, pytest says enough."""
        found = replace(summary(), interrupted=True)
        whole = [*shown(summary(), width), "interrupted: not all tests were judged"]
        assert shown(found, width) == whole
        assert table(replace(found, tasks=()), width) == []

    @pytest.mark.parametrize("width", [80, 120])
    def test_only_verdicts_have_a_colour(self, width: int) -> None:
        """By pytest's names, so that the plugin leaves it to pytest whether there are any."""
        lines = table(summary(), width)
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
    def test_namesakes_are_told_apart(self, width: int) -> None:
        """Two tests of one name have their ids shown, of which the end is never cut."""
        tasks = [
            replace(
                PASSED, test=f"tests/deeply/nested/test_router.py::TestRouter::test_router[{n}]"
            )
            for n in range(2)
        ]
        lines = shown(summary(*tasks, UNDECIDED), width)
        assert [sum(f"router[{n}])" in line for line in lines) for n in range(2)] == [1, 1]
        assert not any("answer (" in line for line in lines)

    def test_a_failure_without_a_bad_verdict_says_why(self) -> None:
        """An assert on a score is no verdict, so the table says what did not hold."""
        text = "assert 0.675 >= 0.8\n +  where"
        failed = task_summary(report(), failed=True, message=text)
        tolerated = replace(report("INCONCLUSIVE").verdicts[0], tolerated=True)
        passed = task_summary(report(verdicts=(tolerated,)), failed=True, message=text)
        for width, task in product(WIDTHS, (failed, passed)):
            lines = shown(summary(task), width)
            assert task.word in "\n".join(lines)
            assert "assert 0.675 >= 0.8" in [line.strip() for line in lines]

    def test_what_got_worse_than_a_reference(self) -> None:
        """The difference to the baseline would not say it; what passed needs no line."""
        lost = replace(COMPARISON, baseline=0.95, difference=-0.275, low=-0.4, high=-0.1)
        other = replace(COMPARISON, margin=0.1, low=0.05)
        verdicts = (
            Verdict("beats baseline", "INCONCLUSIVE", "so", other),
            Verdict("no regression", "FAIL", "worse", lost),
            Verdict("no regression", "INCONCLUSIVE", "worse", replace(lost, n=7)),
            Verdict("no regression", "PASS", "as good", replace(lost, n=8)),
            Verdict("no regression", "FAIL", "no reference", comparison=None),
            Verdict("no regression", "FAIL", "no reference", comparison=None),
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
        """It is said to be unknown, never to be nothing."""
        unpriced = task_summary(report("PASS", usage=Usage(12, 100, 10)))
        assert "   12  unknown  " in shown(summary(unpriced), 200)[1]
        assert "12 LM calls, cost unknown: metric changed" in "\n".join(
            shown(summary(unpriced), 100)
        )

    def test_wide_letters_do_not_shift_columns(self) -> None:
        """What takes two columns is counted as two, what takes none as none."""
        names = ("你好", "e\u0301te\u0301", "plain")
        tasks = [task_summary(report("PASS", task=name)) for name in names]
        lines = shown(summary(*tasks), 160)
        assert len({columns(line[: line.index("0.425")]) for line in lines[1:]}) == 1

    @pytest.mark.parametrize("width", range(30, 220, 7))
    def test_never_too_wide(self, width: int) -> None:
        """Whatever the terminal, names and messages."""
        long = task_summary(report("FAIL", task="test_" + "long_" * 60), failed=True)
        tasks = [*summary().tasks, long, replace(long, test="你" * 300)]
        lines = shown(summary(*tasks), width)
        assert max(map(columns, lines)) <= width

    def test_a_summary_is_not_changed(self) -> None:
        """Rendering only reads."""
        before = summary().to_dict()
        found = summary()
        list(all_texts(found, 80))
        assert found.to_dict() == before


class TestFailure:
    def test_all_of_it(self) -> None:
        """What got worse, on which examples, and what changed in the prompt."""
        assert failure(REGRESSED, 80).splitlines() == [
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

    def test_without_a_reference_the_baseline_counts(self) -> None:
        """It is what the examples and the prompt are compared with."""
        examples = [replace(each, accepted=None) for each in EXAMPLES]
        text = failure(task_summary(report("FAIL", examples=examples), failed=True), 80)
        assert "1 of 4 held-out examples got worse than the baseline, 1 better" in text
        assert "the prompt since the baseline:" in text
        assert "    - Route the ticket to a team." in text
        assert "score 1.000 -> 0.000\n" in text
        assert "reference" not in text

    def test_each_verdict_that_did_not_pass(self) -> None:
        """One that a user tolerates passes."""
        verdicts = report("PASS", "FAIL", "INCONCLUSIVE", sentence="so").verdicts
        tolerated = replace(verdicts[2], tolerated=True, sentence="tolerated")
        text = failure(task_summary(report(verdicts=(*verdicts, tolerated)), failed=True), 80)
        assert text.splitlines()[:3] == [
            "beats baseline: FAIL: so",
            "beats baseline: INCONCLUSIVE: so",
            "",
        ]

    def test_an_assert_on_a_score(self) -> None:
        """Without a verdict there are still the figures."""
        text = failure(task_summary(report(), failed=True), 80)
        assert text.startswith(
            "baseline 0.425, compiled 0.675, difference +0.250 [+0.080, +0.400], n = 40\n\n"
        )

    def test_an_assert_on_a_score_with_a_reference(self) -> None:
        """Its score is told, too, as the examples are compared with it."""
        assert REGRESSED.report is not None
        missed = replace(REGRESSED.report, verdicts=(), stale="")
        assert failure(task_summary(missed, failed=True), 120).startswith(
            "baseline 0.425, reference 0.750, compiled 0.675, "
            "difference from the baseline +0.250 [+0.080, +0.400], n = 40\n\n"
        )

    def test_a_missed_gain_is_about_the_baseline(self) -> None:
        """The reference was held, so what is looked for is what got worse than before."""
        assert REGRESSED.report is not None
        held = replace(REGRESSED.report.verdicts[1], word="PASS")
        missed = replace(REGRESSED.report.verdicts[0], word="FAIL")
        found = replace(REGRESSED.report, verdicts=(missed, held))
        text = failure(task_summary(found, failed=True), 80)
        assert "1 of 4 held-out examples got worse than the baseline, 1 better" in text
        assert "the prompt since the baseline:" in text

    def test_an_error_is_its_message(self) -> None:
        """There is nothing else to say."""
        assert failure(summary().tasks[-1], 50) == (
            "the language model failed while running Router:\nLMAuthError: the key was revoked"
        )

    def test_the_same_prompt(self) -> None:
        """Where only scores changed, that is said."""
        same = report("FAIL", prompts_before=report().prompts_after)
        assert "the prompt is that of the baseline" in failure(task_summary(same, failed=True), 80)

    def test_all_examples_are_as_good_as_can_be(self) -> None:
        """Then none is shown."""
        good = report("FAIL", examples=(held_out(1.0, 1.0),))
        assert "held-out" not in failure(task_summary(good, failed=True), 80)

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
        """Three, ten, all; and -q takes nothing away."""
        examples = [held_out(1.0, 0.0, number=number) for number in range(30)]
        failed = task_summary(report("FAIL", examples=examples), failed=True)
        text = failure(failed, 80, verbosity)
        assert heading in text
        assert text.count("input") == number

    @pytest.mark.parametrize("verbosity, lines", [(0, 1), (1, 6), (2, 26)])
    def test_more_of_a_value_with_v(self, verbosity: int, lines: int) -> None:
        """A line, a few, all."""
        words = " ".join(f"word{number:04}" for number in range(200))
        examples = [held_out(1.0, 0.0, compiled_team=words)]
        text = failure(task_summary(report("FAIL", examples=examples), failed=True), 90, verbosity)
        assert sum("word0" in line for line in text.splitlines()) == lines
        assert ("word0199" in text) == (verbosity == 2)
        assert ("…\n" in text) == (verbosity != 2)

    def test_more_of_the_prompt_with_v(self) -> None:
        """Twenty lines at first, and how many more there are."""
        prompt = Prompt("route", "\n".join(f"Rule {number}." for number in range(150)))
        failed = task_summary(report("FAIL", prompts_after=(prompt,)), failed=True)
        texts = [failure(failed, 80, verbosity) for verbosity in TALKATIVE]
        assert [text.count("+ Rule") for text in texts] == [18, 98, 150]
        assert "  … 132 more lines with -v\n" in texts[0]
        assert "  … 52 more lines with -vv\n" in texts[1]
        assert "more lines" not in texts[2]

    def test_a_long_instruction_leaves_room_for_the_new_one(self) -> None:
        """Instructions are often a single line: each is cut, so that both are seen."""
        prompts = [Prompt("route", f"{who} {INSTRUCTION}") for who in ("Old.", "New.")]
        found = report("FAIL", prompts_before=(prompts[0],), prompts_after=(prompts[1],))
        text = failure(task_summary(found, failed=True), 80)
        assert "    - Old. Rule 0." in text
        assert "    + New. Rule 0." in text
        assert "Rule 199." not in text
        assert "Rule 199." in failure(task_summary(found, failed=True), 80, 1)

    def test_demos_leave_room_for_instructions(self) -> None:
        """A demo is a line at first, and comes after the instructions of all predictors."""
        demos = tuple({"q": f"{number} {INSTRUCTION}"} for number in range(8))
        before = (Prompt("one", "Same."), Prompt("two", "Old."))
        after = (Prompt("one", "Same.", demos), Prompt("two", "New."))
        found = task_summary(
            report("FAIL", prompts_before=before, prompts_after=after), failed=True
        )
        lines = [line.strip() for line in failure(found, 60).splitlines()]
        start = lines.index("instruction of two:")
        assert lines[start + 1 : start + 4] == ["- Old.", "+ New.", "demos of one:"]
        assert [line[:5] for line in lines[start + 4 : start + 12]] == [
            f"+ q: {number}"[:5] for number in range(8)
        ]
        assert INSTRUCTION in " ".join(failure(found, 60, 1).split())

    def test_several_answers(self) -> None:
        """Each is shown once, with how often it was given."""
        answer = ExampleResult(0.25, ({"team": "web"}, {"team": "billing"}, {"team": "web"}))
        example = replace(held_out(1.0, 0.25), compiled=answer)
        text = failure(task_summary(report("FAIL", examples=[example]), failed=True), 80)
        assert "compiled  2 x team: web / 1 x team: billing" in text

    def test_only_the_score_is_known(self) -> None:
        """That is said, too."""
        example = replace(held_out(1.0, 0.0), baseline=ExampleResult(1.0))
        text = failure(task_summary(report("FAIL", examples=[example]), failed=True), 80)
        assert "baseline  (not kept)" in text

    def test_an_example_that_is_new(self) -> None:
        """There is nothing in the reference to compare its score with."""
        assert REGRESSED.report is not None
        found = replace(REGRESSED.report, held_out=(held_out(1.0, 0.0), held_out(1.0, 1.0)))
        text = failure(replace(REGRESSED, report=found), 80)
        assert "0 of 2 held-out examples got worse than the reference" in text
        assert "  1  score 0.000, baseline 1.000, not in the reference\n" in text

    def test_nothing_was_expected(self) -> None:
        """An example without a label has no line for it."""
        example = replace(held_out(1.0, 0.0), expected={})
        text = failure(task_summary(report("FAIL", examples=[example]), failed=True), 80)
        assert "expected" not in text

    def test_lines_of_a_value_stay_below_its_name(self) -> None:
        """At -v they are lines; before that they are one."""
        failed = task_summary(
            report("FAIL", examples=[held_out(1.0, 0.0, ticket="a\nb")]), failed=True
        )
        assert "input     ticket: a\\nb\n" in failure(failed, 80)
        assert "     input     ticket: a\n               b\n" in failure(failed, 80, 1)

    def test_what_else_there_is_to_see(self) -> None:
        """Each view says how to see more than it does."""
        assert "-vv" in failure(REGRESSED, 80)
        assert "-vv" not in failure(REGRESSED, 80, 2)
        assert "--mipro-report out.html" in failure(REGRESSED, 80, 2)


class TestDetails:
    def test_verdicts_and_prompts(self) -> None:
        """All sentences, why it was compiled, and the prompts as they are now."""
        assert details(REGRESSED, 80).splitlines() == [
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
        """Its whole message."""
        assert details(summary().tasks[-1], 120).splitlines() == [
            "broken (tests/test_router.py::test_broken)",
            "  the language model failed while running Router: LMAuthError: the key was revoked",
        ]

    def test_no_demos_and_no_instruction(self) -> None:
        """What is empty is said to be empty."""
        text = details(task_summary(report("PASS", prompts_after=(Prompt("classify", ""),))), 80)
        assert "    (empty)" in text.splitlines()
        assert "  compiled demos of classify: none" in text.splitlines()

    def test_nothing_is_left_out(self) -> None:
        """A long instruction goes on below itself."""
        text = details(
            task_summary(report("PASS", prompts_after=(Prompt("route", INSTRUCTION),))), 60
        )
        assert INSTRUCTION in " ".join(text.split())

    @pytest.mark.parametrize("fake", ["x\nother: PASS", "x\r\nother: PASS", "x" * 500])
    def test_no_text_can_fake_a_task(self, fake: str) -> None:
        """Whatever stands in them, the lines below a task are indented."""
        prompt = Prompt(fake, fake, ({"q": fake},))
        found = report("FAIL", sentence=fake, prompts_after=(prompt,), reasons=(fake,))
        lines = details(task_summary(found), 80).split("\n")
        assert [line for line in lines if not line.startswith("  ")] == lines[:1]


class TestHostile:
    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
    @pytest.mark.parametrize("width", WIDTHS)
    def test_it_is_shown_not_sent(self, width: int, text: str) -> None:
        """Whatever a model or dataset smuggles into any field, nobody obeys any of it."""
        for output in all_texts(hostile(text), width):
            assert printable(output) == output
            assert all(columns(line) <= width for line in output.split("\n"))
            output.encode("utf-8")

    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
    def test_a_name_stays_in_its_line(self, text: str) -> None:
        """A name with a line break fakes no second task."""
        found = task_summary(report("PASS", task=f"{text}\nother: PASS"))
        assert len(shown(summary(found), 80)) == 3

    @given(st.text(st.sampled_from("a :#[你\u0301\n\u115f\ufe0f"), max_size=60), st.integers(4, 30))
    def test_no_line_becomes_a_command_by_being_broken(self, text: str, width: int) -> None:
        """What begins no line of a text may begin one where the text is too wide."""
        prompt = Prompt("p", text)
        shown_text = details(task_summary(report(prompts_after=(prompt,))), width + 10)
        assert printable(shown_text) == shown_text
