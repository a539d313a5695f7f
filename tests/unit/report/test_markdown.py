from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
import summaries
from hostile import TEXTS
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_mipro.records import Prompt, Usage, Verdict
from pytest_mipro.report.markdown import COMMENT_LIMIT, MARKER, code_span, prose, render_markdown
from pytest_mipro.report.summary import headline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

    from pytest_mipro.report.summary import Summary

GITHUB = MarkdownIt("gfm-like")
"""Tables, strikethrough, HTML and bare links, as on GitHub."""


class Tags(HTMLParser):
    """Collects the tags of a piece of HTML, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.found.append(f"<{tag} {attrs}>")

    def handle_endtag(self, tag: str) -> None:
        self.found.append(f"</{tag}>")

    def handle_comment(self, data: str) -> None:
        self.found.append(f"<!--{data}-->")


def flat(tokens: Sequence[Token]) -> list[Token]:
    """Return tokens with their children."""
    return [each for token in tokens for each in (token, *flat(token.children or ()))]


def shape(text: str) -> list[str]:
    """Return what GitHub would make of a text, without its words."""
    found: list[str] = []
    for token in flat(GITHUB.parse(text)):
        if token.type == "html_block":
            found += Tags(token.content).found
        elif token.type in {"code_inline", "text"}:
            # Words and code show a text equally well.
            found += ["text"] if found[-1:] != ["text"] else []
        else:
            found.append(f"{token.type} {token.tag} {token.nesting} {token.info}")
    return found


def rendered(summary: Summary, limit: int = COMMENT_LIMIT) -> str:
    """Return the text, which has to be within its limit."""
    text = render_markdown(summary, limit)
    assert len(text.encode()) <= limit
    return text


def code(text: str) -> list[str]:
    """Return what the code spans of a text show."""
    return [each.content for each in flat(GITHUB.parse(text)) if each.type == "code_inline"]


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "empty"])
def test_no_text_is_more_than_text(name: str) -> None:
    """Hostile texts, wherever they are, leave tables, headings, fences and HTML as they are."""
    assert shape(rendered(summaries.hostile(TEXTS[name]))) == shape(
        rendered(summaries.hostile("harmless"))
    )


@given(st.text(min_size=1, max_size=60))
def test_no_generated_text_is_more_than_text(text: str) -> None:
    """The same for any text there is."""
    summary = summaries.hostile(text)
    assert shape(rendered(summary)) == shape(rendered(summaries.hostile("harmless")))


@given(st.text(alphabet="`|\\ \n~<>a[]()!#@*_-", min_size=1, max_size=20))
def test_no_punctuation_is_more_than_text(text: str) -> None:
    """The same for texts of what Markdown gives a meaning."""
    summary = summaries.hostile(text)
    assert shape(rendered(summary)) == shape(rendered(summaries.hostile("harmless")))


def test_an_empty_text_is_said_to_be_empty() -> None:
    """Empty names leave no hole and make nothing else of the text."""
    text = rendered(summaries.hostile(""))
    assert "`(empty)`" in text
    kinds = {line.partition(" ")[0] for line in shape(text)}
    assert not kinds & {"html_inline", "link_open", "image"}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_nothing_is_sent_that_cannot_be_seen(text: str) -> None:
    """No control character, no lone surrogate and no workflow command is in the text."""
    shown = rendered(summaries.hostile(text))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\u2067\ufeff]", shown)
    assert not re.search(r"^\s*::|##\[|##vso\[", shown, re.MULTILINE)


@given(st.text(alphabet="`|\\ a", min_size=1, max_size=12))
def test_a_code_span_shows_what_it_is_given(text: str) -> None:
    """Also in a table, with bars, backslashes, backticks and spaces at the ends."""
    table = f"| a | b |\n| --- | --- |\n| {code_span(text)} | {code_span('b')} |"
    assert code(table) == [text, "b"]


@pytest.mark.parametrize(
    "text",
    [
        "compiled 0.775, baseline 0.292, p = 3.9e-11 (exact McNemar test), n = 120; so and so.",
        "difference +0.483 [+0.351, +0.599] at 95%",
        "from the store, 0 LM calls",
    ],
)
def test_plain_words_are_no_code(text: str) -> None:
    """Sentences with figures are shown as sentences."""
    (paragraph,) = [each for each in GITHUB.parse(prose(text)) if each.type == "inline"]
    assert [(each.type, each.content) for each in flat(paragraph.children or ())] == [
        ("text", text)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "ask @team",
        "fixes #1",
        "GH-1",
        "org/repo#2",
        "see www.example.com",
        "example.com",
        "a@example.com",
        "http://example.com",
        "as of 1a2b3c4d",
        "TICKET-12",
        "$x$",
        "a * b * c",
        "a_b_c",
        "5 < 6",
        "&amp;",
        "back\\slash",
        "a | b",
        "# title",
        "ends with a tick `",
        "two\nlines",
        "caf\u00e9",
        "::error::",
    ],
)
def test_everything_else_is_code(text: str) -> None:
    """What GitHub could make something of is in a code span, in which it looks for nothing."""
    assert re.fullmatch(r"(`+).+\1", prose(text))


def test_the_headline_comes_first() -> None:
    """Below the mark that a workflow finds its comment by."""
    session = summaries.summary()
    assert rendered(session).splitlines()[:2] == [MARKER, f"## {headline(session)}"]


def test_a_run_that_was_interrupted_is_said_to_be() -> None:
    """What passed until then is not all there is."""
    session = replace(summaries.summary(summaries.PASSED), interrupted=True)
    assert "\n## The task passed; the run was interrupted\n" in rendered(session)


def test_the_table_has_the_worst_first() -> None:
    """A row per task, with its verdict, scores, calls, cost and effort."""
    text = rendered(summaries.summary())
    rows = [
        line.split(" | ")[:2] for line in text.splitlines() if re.match(r"\| `\w+` \| \W", line)
    ]
    assert rows == [
        ["| `summary`", "❌ FAIL"],
        ["| `broken`", "💥 ERROR"],
        ["| `answer`", "❔ INCONCLUSIVE"],
        ["| `router`", "✅ PASS"],
    ]
    assert (
        "| task | verdict | n | baseline | reference | compiled | difference [interval] "
        "| LM calls | cost | effort |" in text
    )
    assert (
        "| `router` | ✅ PASS | 40 | 0.425 | - | 0.675 | +0.250 \\[+0.080, +0.400] | 1,234 "
        "| $0.0456 | compiled in 13 s |" in text
    )
    assert (
        "| `summary` | ❌ FAIL | 40 | 0.425 | 0.750 | 0.675 "
        "| **-0.275 \\[-0.400, -0.100]** no regression; +0.250 \\[+0.080, +0.400] baseline |"
        in text
    )
    assert "| `broken` | 💥 ERROR | - | - | - | - | - | - | - | - |" in text


def test_a_failed_task_shows_sentence_examples_and_prompt() -> None:
    """All that explains it, in this order, against the reference."""
    text = rendered(summaries.summary(summaries.REGRESSED))
    shown = [
        "### ❌ FAIL: `summary`",
        "- ❌ **FAIL** no regression: worse than the reference",
        "- ✅ **PASS** beats baseline: better",
        "| input | expected | baseline says | compiled says | baseline | reference | compiled |",
        "| `ticket: Ticket 2` | `team: mobile` | `team: mobile` | `team: billing` | 1 | 1 | 0 |",
        "`(failed) ValueError: no team called 'x'`",
        "what changed since the reference</summary>",
        "```diff\n-Route the ticket to the team that owns it.\n+Route the ticket to",
        " demos:\n+ticket: The app crashes | team: mobile\n```",
    ]
    places = [text.index(each) for each in shown]
    assert places == sorted(places)
    assert "assert FAIL" not in text  # the sentence says it


def test_a_command_does_not_make_code_of_a_whole_sentence() -> None:
    """Only the clause that has it is code."""
    verdict = Verdict("no regression", "FAIL", "lost 0.4; undo it: pytest --mipro a.py::b", None)
    task = summaries.task_summary(summaries.report(verdicts=(verdict,)), failed=True)
    text = rendered(summaries.summary(task))
    assert "no regression: lost 0.4; `undo it: pytest --mipro a.py::b`\n" in text


def test_the_message_is_shown_where_no_verdict_says_it() -> None:
    """Another assert failed, or no verdict was to be had."""
    missed = summaries.task_summary(
        summaries.report("PASS"), failed=True, message="assert 0.7 >= 0.8\nx"
    )
    text = rendered(summaries.summary(missed, summaries.ERRED))
    assert "### ❌ failed, verdict PASS: `router`" in text
    assert "```text\nassert 0.7 >= 0.8\nx\n```" in text
    assert f"```text\n{summaries.ERRED.message}\n```" in text


def test_an_error_after_the_verdict_is_shown() -> None:
    """A test that fails while it is torn down has an outcome and an error."""
    task = replace(summaries.PASSED, status="error", message="OSError: disk full")
    text = rendered(summaries.summary(task))
    assert "💥 error, verdict PASS" in text
    assert "OSError: disk full" in text


def test_at_most_five_examples() -> None:
    """Those that lost most; how many there are is said."""
    examples = [summaries.held_out(1.0, 0.0, number=number) for number in range(9)]
    text = rendered(
        summaries.summary(
            summaries.task_summary(summaries.report("FAIL", examples=examples), failed=True)
        )
    )
    assert text.count("| `ticket: Ticket") == 5
    assert (
        "\n9 of 9 held-out examples got worse than the baseline, 0 better. "
        "Examples to look at first, 5 of 9:\n" in text
    )


def test_a_long_prompt_shows_what_changed() -> None:
    """Lines far from any change are counted."""
    before = [f"line {number}" for number in range(50)]
    after = [*before[:20], "new", *before[20:]]
    found = summaries.report(
        "FAIL",
        prompts_before=(Prompt("p", "\n".join(before)),),
        prompts_after=(Prompt("p", "\n".join(after)),),
    )
    text = rendered(summaries.summary(summaries.task_summary(found, failed=True)))
    assert (
        "```diff\n … 17 lines as before …\n line 17\n line 18\n line 19\n+new\n"
        " line 20\n line 21\n line 22\n … 27 lines as before …\n```" in text
    )


def test_a_prompt_that_did_not_change_is_shown_as_it_is() -> None:
    """The failure has another reason then."""
    found = summaries.report("FAIL", prompts_after=(summaries.BASELINE_PROMPT,))
    text = rendered(summaries.summary(summaries.task_summary(found, failed=True)))
    assert "<code>route</code>: as in the baseline</summary>" in text
    assert "```text\n Route the ticket to a team.\n```" in text


def test_an_unknown_cost_is_said_to_be_unknown() -> None:
    """No price is made up."""
    found = summaries.report("PASS", usage=Usage(3))
    assert "| 3 | unknown |" in rendered(summaries.summary(summaries.task_summary(found)))


def test_an_answer_that_was_not_kept_is_said_to_be_missing() -> None:
    """Where only a score is known, no answer is shown."""
    example = summaries.held_out(1.0, 0.0)
    example = replace(example, baseline=replace(example.baseline, predictions=()))
    found = summaries.report("FAIL", examples=(example,))
    text = rendered(summaries.summary(summaries.task_summary(found, failed=True)))
    assert "| `(not kept)` | `team: mobile` | 1 | 0 |" in text


def many(count: int) -> Summary:
    """Return a session with so many tasks of each kind."""
    return summaries.summary(*summaries.summary().tasks * count)


def test_every_limit_is_kept() -> None:
    """At any limit, no section is cut, and what is missing is counted."""
    session = many(2)
    whole = rendered(session)
    for limit in range(0, len(whole.encode()), 7):
        text = rendered(session, limit)
        if not text:
            continue
        assert text.startswith(f"{MARKER}\n## 2 of 8 tasks got worse")
        assert text.count("<details>") == text.count("</details>")
        assert text.count("```") % 2 == 0
        assert f"Left out, to stay within {limit:,} bytes: " in text
    assert "Left out" not in whole
    assert rendered(session, len(whole.encode())) == whole


def test_the_least_important_is_left_out_first() -> None:
    """What did not pass stays longer than what did, and sentences longer than examples."""
    text = rendered(many(50))
    assert text.count("### ❌ FAIL") == 50
    assert text.count("### 💥 ERROR") == 50
    assert "table of examples" in text or "tables of examples" in text
    assert "100 passed tasks" in text
    assert "The HTML and the JSON report have everything." in text


@pytest.mark.parametrize("text", ["\U0001f600" * 5000, "word " * 20_000, "a\n" * 500, "|`" * 9000])
def test_long_texts_are_shortened(text: str) -> None:
    """A comment has room for all of a task with nothing but long texts."""
    shown = rendered(summaries.hostile(text))
    assert "…" in shown
    assert "Left out" not in shown
