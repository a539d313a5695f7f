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
    """Collect the tags of a piece of HTML, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(f"<{tag} {attrs}>")

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"</{tag}>")

    def handle_comment(self, data: str) -> None:
        self.tags.append(f"<!--{data}-->")


def flat(tokens: Sequence[Token]) -> list[Token]:
    """Return tokens with their children."""
    return [item for token in tokens for item in (token, *flat(token.children or ()))]


def shape(text: str) -> list[str]:
    """Return the tokens that GitHub reads in a text, without its words."""
    tokens: list[str] = []
    for token in flat(GITHUB.parse(text)):
        if token.type == "html_block":
            tokens += Tags(token.content).tags
        elif token.type in {"code_inline", "text"}:
            # Words and code show a text equally well.
            tokens += ["text"] if tokens[-1:] != ["text"] else []
        else:
            tokens.append(f"{token.type} {token.tag} {token.nesting} {token.info}")
    return tokens


def rendered(summary: Summary, limit: int = COMMENT_LIMIT) -> str:
    """Return the Markdown, which must be within its limit."""
    text = render_markdown(summary, limit)
    assert len(text.encode()) <= limit
    return text


def code(text: str) -> list[str]:
    """Return the contents of the code spans of a text."""
    return [token.content for token in flat(GITHUB.parse(text)) if token.type == "code_inline"]


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "empty"])
def test_no_text_is_markup(name: str) -> None:
    """A hostile text in any field changes no table, heading, fence or HTML."""
    assert shape(rendered(summaries.hostile(TEXTS[name]))) == shape(
        rendered(summaries.hostile("harmless"))
    )


@given(st.text(min_size=1, max_size=60))
def test_no_generated_text_is_markup(text: str) -> None:
    """A random text changes none of them either."""
    summary = summaries.hostile(text)
    assert shape(rendered(summary)) == shape(rendered(summaries.hostile("harmless")))


@given(st.text(alphabet="`|\\ \n~<>a[]()!#@*_-", min_size=1, max_size=20))
def test_no_punctuation_is_markup(text: str) -> None:
    """A text of the characters of Markdown changes none of them either."""
    summary = summaries.hostile(text)
    assert shape(rendered(summary)) == shape(rendered(summaries.hostile("harmless")))


def test_an_empty_text_is_shown_as_empty() -> None:
    """An empty name has a placeholder and makes no markup of the text beside it."""
    text = rendered(summaries.hostile(""))
    assert "`(empty)`" in text
    kinds = {line.partition(" ")[0] for line in shape(text)}
    assert not kinds & {"html_inline", "link_open", "image"}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_control_character_is_left(text: str) -> None:
    """No control character, no lone surrogate and no workflow command is in the text."""
    shown = rendered(summaries.hostile(text))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\u2067\ufeff]", shown)
    assert not re.search(r"^\s*::|##\[|##vso\[", shown, re.MULTILINE)


@given(st.text(alphabet="`|\\ a", min_size=1, max_size=12))
def test_a_code_span_shows_its_text(text: str) -> None:
    """It does in a table, too, with bars, backslashes, backticks and spaces at the ends."""
    table = f"| a | b |\n| --- | --- |\n| {code_span(text)} | {code_span('b')} |"
    assert code(table) == [text, "b"]


@pytest.mark.parametrize(
    "text",
    [
        "compiled 0.775, baseline 0.292, p = 3.9e-11 (exact score test), n = 120; so and so.",
        "difference +0.483 [+0.351, +0.599] at 95%",
        "from the store, 0 LM calls",
    ],
)
def test_plain_words_are_no_code(text: str) -> None:
    """Sentences with figures are shown as sentences."""
    (paragraph,) = [token for token in GITHUB.parse(prose(text)) if token.type == "inline"]
    tokens = flat(paragraph.children or ())
    assert [(token.type, token.content) for token in tokens] == [("text", text)]


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
    """A text that GitHub could link or format is in a code span."""
    assert re.fullmatch(r"(`+).+\1", prose(text))


def test_the_headline_comes_first() -> None:
    """It comes right after the marker by which a workflow recognizes its comment."""
    session = summaries.summary()
    assert rendered(session).splitlines()[:2] == [MARKER, f"## {headline(session)}"]


def test_the_headline_of_an_interrupted_run() -> None:
    """It says that not every task was judged."""
    session = replace(summaries.summary(summaries.PASSED), interrupted=True)
    assert "\n## The task passed; the run was interrupted\n" in rendered(session)


def test_the_table_has_the_worst_first() -> None:
    """Each task has a row with its verdict, scores, calls, cost and effort."""
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
    """They come in this order, and compare with the reference."""
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
    places = [text.index(piece) for piece in shown]
    assert places == sorted(places)
    assert "assert FAIL" not in text  # the sentence of the verdict has it


def test_only_the_clause_of_a_command_is_code() -> None:
    """The rest of its sentence is plain."""
    verdict = Verdict("no_regression", "FAIL", "lost 0.4; undo it: pytest --mipro a.py::b", None)
    task = summaries.task_summary(summaries.report(verdicts=(verdict,)), failed=True)
    text = rendered(summaries.summary(task))
    assert "no regression: lost 0.4; `undo it: pytest --mipro a.py::b`\n" in text


def test_the_message_is_shown_where_no_verdict_says_it() -> None:
    """It is shown where another assert failed, or the test has no verdict."""
    missed = summaries.task_summary(
        summaries.report("PASS"), failed=True, message="assert 0.7 >= 0.8\nx"
    )
    text = rendered(summaries.summary(missed, summaries.ERRED))
    assert "### ❌ failed, verdict PASS: `router`" in text
    assert "```text\nassert 0.7 >= 0.8\nx\n```" in text
    assert f"```text\n{summaries.ERRED.message}\n```" in text


def test_an_error_after_the_verdict_is_shown() -> None:
    """A test that fails in its teardown has an outcome and an error."""
    task = replace(summaries.PASSED, status="error", message="OSError: disk full")
    text = rendered(summaries.summary(task))
    assert "💥 error, verdict PASS" in text
    assert "OSError: disk full" in text


def test_at_most_five_examples() -> None:
    """They are those that lost most, and the text counts all."""
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
    """Lines far from any change are counted, not shown."""
    old = [f"line {number}" for number in range(50)]
    new = [*old[:20], "new", *old[20:]]
    outcome = summaries.report(
        "FAIL",
        prompts_before=(Prompt("p", "\n".join(old)),),
        prompts_after=(Prompt("p", "\n".join(new)),),
    )
    text = rendered(summaries.summary(summaries.task_summary(outcome, failed=True)))
    assert (
        "```diff\n … 17 lines as before …\n line 17\n line 18\n line 19\n+new\n"
        " line 20\n line 21\n line 22\n … 27 lines as before …\n```" in text
    )


def test_an_unchanged_prompt_is_shown_in_full() -> None:
    """Its title says that it is that of the baseline."""
    outcome = summaries.report("FAIL", prompts_after=(summaries.BASELINE_PROMPT,))
    text = rendered(summaries.summary(summaries.task_summary(outcome, failed=True)))
    assert "<code>route</code>: as in the baseline</summary>" in text
    assert "```text\n Route the ticket to a team.\n```" in text


def test_an_unknown_cost_is_called_unknown() -> None:
    """A cell without a price has no figure."""
    outcome = summaries.report("PASS", usage=Usage(3))
    assert "| 3 | unknown |" in rendered(summaries.summary(summaries.task_summary(outcome)))


def test_an_unknown_answer_is_marked() -> None:
    """An answer of which only the score is known has a placeholder."""
    example = summaries.held_out(1.0, 0.0)
    example = replace(example, baseline=replace(example.baseline, predictions=()))
    outcome = summaries.report("FAIL", examples=(example,))
    text = rendered(summaries.summary(summaries.task_summary(outcome, failed=True)))
    assert "| `(not kept)` | `team: mobile` | 1 | 0 |" in text


def many(count: int) -> Summary:
    """Return a session with ``count`` tasks of each kind."""
    return summaries.summary(*summaries.summary().tasks * count)


def test_every_limit_is_kept() -> None:
    """At any limit, sections are complete, and those left out are counted."""
    session = many(2)
    full = rendered(session)
    for limit in range(0, len(full.encode()), 41):
        text = rendered(session, limit)
        if not text:
            continue
        assert text.startswith(f"{MARKER}\n## 2 of 8 tasks got worse")
        assert text.count("<details>") == text.count("</details>")
        assert text.count("```") % 2 == 0
        assert f"Left out, to stay within {limit:,} bytes: " in text
    assert "Left out" not in full
    assert rendered(session, len(full.encode())) == full


def test_the_least_important_is_left_out_first() -> None:
    """Passed tasks are left out before failed ones, and examples before sentences."""
    text = rendered(many(50))
    assert text.count("### ❌ FAIL") == 50
    assert text.count("### 💥 ERROR") == 50
    assert "table of examples" in text or "tables of examples" in text
    assert "100 passed tasks" in text
    assert "The HTML and the JSON report have everything." in text


@pytest.mark.parametrize("text", ["\U0001f600" * 5000, "word " * 20_000, "a\n" * 500, "|`" * 9000])
def test_long_texts_are_shortened(text: str) -> None:
    """A comment has room for a task in which every text is long."""
    shown = rendered(summaries.hostile(text))
    assert "…" in shown
    assert "Left out" not in shown


def test_a_further_metric_has_a_line() -> None:
    """It has the means of all programs, and a verdict names its metric."""
    text = render_markdown(summaries.summary(summaries.TONED))
    assert (
        "- metric `tone`: baseline 0.375, reference 0.625, compiled 0.750, difference +0.3" in text
    )
    assert "**FAIL** `no regression (tone)`: ruder" in text or "no regression (tone): ruder" in text
