from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.records import (
    PairedComparison,
    Progress,
    Prompt,
    Report,
    Scorecard,
    Usage,
    Verdict,
)
from pytest_mipro.report.summary import summarize
from pytest_mipro.report.terminal import printable, progress_line, render

if TYPE_CHECKING:
    from pytest_mipro.records import Word

HOSTILE = {
    "clear screen": "\x1b[2J",
    "window title": "\x1b]0;mine\x07",
    "8-bit escape": "\x9b31m",
    "carriage return": "good\rbad",
    "backspace": "bad\b\b\bgood",
    "nul": "a\x00b",
    "right-to-left override": "abc\u202edcba",
    "right-to-left isolate": "\u2067abc",
    "zero width": "a\u200bb",
    "byte order mark": "\ufeffa",
    "line separator": "a\u2028b",
    "next line": "a\x85b",
    "lone surrogate": "a\ud800b",
    "tag characters": "\U000e0041",
}
SCORES = "baseline 0.425 -> compiled 0.675  (+0.250 [+0.080, +0.400], n = 40)"
COMPARISON = PairedComparison(
    n=40,
    baseline=0.425,
    compiled=0.675,
    difference=0.25,
    low=0.08,
    high=0.4,
    p_value=0.0032,
    detectable=0.2,
    margin=0.0,
    confidence=0.95,
    method="exact McNemar test",
)


def report(
    word: Word = "PASS",
    *,
    task: str = "router",
    origin: Literal["compiled", "stored"] = "compiled",
    prompt: Prompt | None = None,
    sentence: str = "because",
) -> Report:
    """Return a report with one verdict."""
    return Report(
        task=task,
        test="test_x.py::test_router",
        key="12ab",
        origin=origin,
        reasons=(),
        baseline=Scorecard(("a",), (0.0,), Usage(4)),
        compiled=Scorecard(("a",), (1.0,), Usage(4)),
        comparison=COMPARISON,
        prompts_before=(Prompt("predict", "Do."),),
        prompts_after=(prompt or Prompt("predict", "Do well.", ({"question": "1 + 1"},)),),
        usage=Usage(120, 1200, 240),
        seconds=12.6,
        store=".mipro/store.db",
        verdicts=(Verdict("beats baseline", word, sentence, COMPARISON),),
    )


def is_harmless(text: str) -> bool:
    """Say whether a terminal would just show ``text``."""
    return all(
        character == "\n"
        or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
        for character in text
    )


class TestRender:
    def test_one_line_per_task(self) -> None:
        """Each task is one line with its name, word, both scores, interval, n and effort."""
        reports = [report(), report("FAIL", task="other", origin="stored")]
        lines = render(summarize(reports), detailed=False).splitlines()
        assert lines == [
            f"router: PASS  {SCORES}  compiled in 13 s, 120 LM calls",
            f"other: FAIL  {SCORES}  from the store, 120 LM calls",
        ]

    def test_nothing_to_show(self) -> None:
        """Without tasks there is no text."""
        assert not render(summarize([]), detailed=True)

    def test_details(self) -> None:
        """The detailed form adds verdict sentences, instruction and demos, indented."""
        prompt = Prompt("classify", "Line one.\nLine two.", ({"q": "1", "a": "x"}, {"q": "2"}))
        text = render(summarize([report(prompt=prompt, sentence="so and so")]), detailed=True)
        assert text.splitlines()[1:] == [
            "  beats baseline: PASS: so and so",
            "  compiled instruction of classify:",
            "    Line one.",
            "    Line two.",
            "  compiled demos of classify: 2",
            "    q: 1 | a: x",
            "    q: 2",
        ]

    def test_bookkeeping_of_demos_is_not_shown(self) -> None:
        """DSPy's mark on bootstrapped demos is not part of what the model reads."""
        prompt = Prompt("classify", "Do.", ({"augmented": True, "q": "1"},))
        assert "augmented" not in render(summarize([report(prompt=prompt)]), detailed=True)

    def test_no_demos_and_no_instruction(self) -> None:
        """What is empty is said to be empty."""
        text = render(summarize([report(prompt=Prompt("classify", ""))]), detailed=True)
        assert "    (empty)" in text.splitlines()
        assert "  compiled demos of classify: none" in text.splitlines()

    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
    def test_hostile_text_is_shown_not_sent(self, text: str) -> None:
        """Whatever a model or dataset smuggles into any field, the terminal obeys none of it."""
        prompt = Prompt(text, text, ({"question": text, text: "x"},))
        hostile = report(task=text, prompt=prompt, sentence=text)
        for detailed in (False, True):
            shown = render(summarize([hostile]), detailed=detailed)
            assert is_harmless(shown)
            shown.encode("utf-8")

    @pytest.mark.parametrize("text", ["two\nlines", *HOSTILE.values()])
    def test_a_task_is_one_line_whatever_its_name(self, text: str) -> None:
        """A name with a line break does not fake a second task."""
        reports = [report(task=f"{text}: PASS"), report("FAIL", task="other")]
        assert len(render(summarize(reports), detailed=False).split("\n")) == 2

    def test_a_demo_cannot_fake_a_task(self) -> None:
        """Lines of instructions and demos are indented, so that none looks like a verdict."""
        fake = "x\nother: PASS  baseline 0.1\r\nmore: PASS"
        prompt = Prompt("classify", fake, ({"q": fake},))
        text = render(summarize([report("FAIL", prompt=prompt)]), detailed=True)
        assert [line for line in text.split("\n") if not line.startswith("  ")] == [
            text.split("\n")[0]
        ]

    def test_a_predictor_or_sentence_cannot_fake_a_task(self) -> None:
        """Nor do lines of a verdict's sentence or of a predictor's name."""
        fake = "x\nother: PASS  baseline 0.1"
        hostile = report("FAIL", prompt=Prompt(fake, "Do."), sentence=fake)
        text = render(summarize([hostile]), detailed=True)
        assert [line for line in text.split("\n") if not line.startswith("  ")] == [
            text.split("\n")[0]
        ]

    def test_a_summary_is_not_changed(self) -> None:
        """Rendering only reads."""
        summary = summarize([report(task=HOSTILE["nul"])])
        render(summary, detailed=True)
        assert summary.tasks[0].report.task == HOSTILE["nul"]


class TestPrintable:
    @pytest.mark.parametrize(
        "text, shown",
        [
            ("\x1b[2J", "\\x1b[2J"),
            ("a\rb", "a\\rb"),
            ("a\x00b", "a\\x00b"),
            ("a\tb", "a\\tb"),
            ("\u202e", "\\u202e"),
            ("\ud800", "\\ud800"),
            ("a\nb", "a\nb"),
            ("äß\u6f22\U0001f600", "äß\u6f22\U0001f600"),
        ],
    )
    def test_examples(self, text: str, shown: str) -> None:
        """Control characters become escapes, letters and line breaks stay."""
        assert printable(text) == shown

    @given(st.text(st.characters()))
    def test_never_anything_a_terminal_obeys(self, text: str) -> None:
        """No text whatever gets through with a control or format character."""
        assert is_harmless(printable(text))
        printable(text).encode("utf-8")

    @given(st.text())
    def test_twice_is_once(self, text: str) -> None:
        """Text that is fit to print stays as it is."""
        assert printable(printable(text)) == printable(text)


class TestProgress:
    @pytest.mark.parametrize(
        "progress, line",
        [
            (Progress("bootstrap", 0, 6), "mipro: router: bootstrapping demos"),
            (Progress("propose", 0, 3), "mipro: router: proposing instructions"),
            (
                Progress("search", 3, 10, 0.8125, Usage(420, 1, 1)),
                "mipro: router: searching 3/10, best so far 0.812, 420 LM calls",
            ),
            (
                Progress("evaluate", 5, None, None, Usage(7)),
                "mipro: router: scoring held-out examples, 7 LM calls",
            ),
            (
                Progress("search", 1, 10, 0.0),
                "mipro: router: searching 1/10, best so far 0.000",
            ),
        ],
    )
    def test_lines(self, progress: Progress, line: str) -> None:
        """A line says the phase, how far it is, the best score and the cost, if known."""
        assert progress_line("router", progress) == line

    def test_hostile_names(self) -> None:
        """A task's name is shown, not sent, and stays in its line."""
        for text in (*HOSTILE.values(), "two\nlines"):
            line = progress_line(text, Progress("search", 1, 2))
            assert is_harmless(line)
            assert "\n" not in line

    def test_no_progress_changes_the_record(self) -> None:
        """The record is only read."""
        progress = Progress("search", 1, 2, 0.5, Usage(1))
        before = replace(progress)
        progress_line("router", progress)
        assert progress == before
