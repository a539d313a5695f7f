from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from importlib.util import find_spec
from typing import TYPE_CHECKING

import hostile
import pytest
import summaries

from pytest_mipro.errors import DeclarationError
from pytest_mipro.records import (
    Acceptance,
    BudgetCut,
    Candidate,
    ExampleResult,
    Means,
    Prompt,
    SearchLog,
    Trial,
    Usage,
    Verdict,
    WrittenInstruction,
)
from pytest_mipro.report import charts, html
from pytest_mipro.report.html import MOST_BYTES, render_html, require_html

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.machinery import ModuleSpec

    from pytest_mipro.report.summary import Summary, TaskSummary

pytestmark = [
    pytest.mark.uses("altair", "jinja2", "vl-convert-python"),
    pytest.mark.usefixtures("pictures_drawn_once"),
]

VOID = {"br", "col", "link", "meta"}
ELEMENTS = {
    *("html", "head", "meta", "title", "link", "style", "script", "body"),
    *("header", "main", "footer", "section", "div", "h1", "h2", "h3", "h4", "p", "br"),
    *("a", "span", "strong", "code", "button", "details", "summary", "ins", "del", "mark"),
    *("ul", "ol", "li", "dl", "dt", "dd"),
    *("table", "colgroup", "col", "thead", "tbody", "tr", "th", "td"),
    *("figure", "figcaption", "svg", "g", "path", "line", "circle", "text"),
}
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


@pytest.fixture(scope="module")
def pictures_drawn_once() -> Iterator[None]:
    """Draw each chart once for all tests: a chart takes longer than the rest of a page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "score_chart", once(charts.score_chart))
        patch.setattr(charts, "search_chart", once(charts.search_chart))
        yield


def once(draw: Callable[..., str]) -> Callable[..., str]:
    """Return ``draw`` with a cache of its charts."""
    drawn: dict[str, str] = {}

    def draw_once(*content: object) -> str:
        key = repr(content)
        if key not in drawn:
            drawn[key] = draw(*content)
        return drawn[key]

    return draw_once


@dataclass
class Parsed(HTMLParser):
    """The tags, attributes and words of a page."""

    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(" ".join([tag, *sorted(name for name, _ in attrs)]))
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.tags.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")

    @property
    def text(self) -> str:
        """The words of the page, also those that are folded away."""
        return " ".join(" ".join(self.words).split())


def parse(page: str) -> Parsed:
    """Parse a page, and check that every element is closed."""
    parsed = Parsed()
    parsed.feed(page)
    parsed.close()
    assert parsed.open == []
    return parsed


def shown(*tasks: TaskSummary) -> str:
    """Return the text of a report about these tasks."""
    return parse(render_html(summaries.summary(*tasks))).text


def tame(text: str) -> str:
    """Return a harmless text of the same form: the same words, and arrows for other characters."""
    return "".join(
        letter if letter.isalnum() or letter.isspace() or letter in f"{BREAKS}_" else _arrow(letter)
        for letter in text
    )


def _arrow(character: str) -> str:
    return chr(0x2190 + ord(character) % 200)


@pytest.mark.parametrize("name", hostile.TEXTS)
def test_hostile_text_adds_nothing_to_the_page(name: str) -> None:
    """A page with a hostile text has the elements of one with a harmless text."""
    text = hostile.TEXTS[name]
    page = render_html(summaries.hostile(text))
    parsed, expected = parse(page), parse(render_html(summaries.hostile(tame(text))))
    assert parsed.tags == expected.tags
    assert not CONTROL.search(page)
    assert len(page.encode()) <= MOST_BYTES


def test_only_known_elements_and_no_handlers() -> None:
    """A page has one style sheet, one script, no event handler, and no address outside of it."""
    for session in (summaries.summary(), summaries.hostile(hostile.TEXTS["attribute"])):
        parsed = parse(render_html(session))
        names = [tag.partition(" ")[0] for tag in parsed.tags]
        assert {name for name in names if not name.startswith("/")} <= ELEMENTS
        assert names.count("script") == names.count("style") == 1
        for _, name, value in parsed.attributes:
            assert not name.startswith("on")
            assert name not in {"src", "style", "srcset", "action"}
            assert name != "href" or value.startswith("#") or value == "data:,"


def test_the_policy_allows_only_its_style_and_script() -> None:
    """The policy has the digests of both files of the package, and allows no request."""
    page = render_html(summaries.summary())
    policy = next(
        value
        for tag, _, value in parse(page).attributes
        if tag == "meta" and "default-src" in value
    )
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        match = re.search(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert match is not None
        assert html._hash(match[1]) in policy


def test_ids_are_unique() -> None:
    """No two elements have one id, and every reference has its element."""
    parsed = parse(render_html(summaries.summary()))
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = [
        value.removeprefix("#")
        for _, name, value in parsed.attributes
        if name == "aria-labelledby" or (name == "href" and value.startswith("#"))
    ]
    assert set(targets) <= set(ids)


def test_the_overview_comes_first() -> None:
    """The page opens with the headline and a row for each task, the worst first."""
    page = render_html(summaries.summary())
    text = parse(page).text
    assert page.startswith("<!doctype html>")
    assert "<h1>1 of 4 tasks got worse" in page
    assert "1 min 15 s" in text
    assert "dspy 3.4.1, pytest 9.0.0, pytest-mipro 0.1.0" in text
    assert "2026-01-02 03:04:05+00:00" in text
    assert "tests/__mipro__/test_old/gone.json" in text
    rows = re.findall(r'<a href="#(task-\d)">(.*?)</a>', page)
    assert rows == [
        ("task-1", "summary"),
        ("task-2", "broken"),
        ("task-3", "answer"),
        ("task-4", "router"),
    ]
    assert "compiled in 13 s, 1,234 LM calls" in text
    assert "+0.250 [+0.080, +0.400]" in text


def test_the_headline_of_an_interrupted_run() -> None:
    """It says that not every task was judged."""
    session = replace(summaries.summary(), interrupted=True)
    assert "the run was interrupted" in parse(render_html(session)).text


def test_the_headings_are_those_of_the_other_reports() -> None:
    """The columns have the names of the programs, and the effort."""
    page = render_html(summaries.summary(summaries.REGRESSED))
    tables = [
        re.findall(r"<th role=\"columnheader\"[^>]*>(.*?)</th>", part)
        for part in page.split("<h3")[:2]
    ]
    assert tables == [
        ["Task", "Verdict", "n", "Baseline", "Reference", "Compiled", "Difference", "Effort"],
        [
            *("No.", "Inputs", "Expected", "Baseline says", "Compiled says"),
            *("Baseline", "Reference", "Compiled", "Change"),
        ],
    ]


def test_a_session_without_tasks_has_a_page() -> None:
    """A session without tasks has a headline, too."""
    session = replace(summaries.summary(), tasks=(), orphans=None)
    assert "<h1>" in render_html(session)


def test_an_error_shows_its_message_and_no_score() -> None:
    """A task without an outcome has its message and no figures."""
    text = shown(summaries.ERRED)
    assert text.count("LMAuthError: the key was revoked") == 2
    assert "! ERROR" in text
    assert "Scores" not in text


def test_verdicts_are_sentences() -> None:
    """Each verdict has its word, its question and its sentence; a tolerated one has a note."""
    undecided = Verdict("no_regression", "INCONCLUSIVE", "too few", summaries.COMPARISON, True)
    text = shown(summaries.task_summary(summaries.report("FAIL", sentence="not better")))
    assert "✗ FAIL beats baseline not better" in text
    assert "(this word passes here) too few" in shown(
        summaries.task_summary(summaries.report(verdicts=(undecided,)))
    )
    for word in ("PASS", "FAIL"):
        outcome = summaries.report(verdicts=(replace(undecided, word=word),))
        task = summaries.task_summary(outcome, failed=word == "FAIL")
        assert "this word passes here" not in shown(task)
    assert "The test asked for no verdict." in shown(summaries.task_summary(summaries.report()))


def test_a_loss_comes_before_a_gain() -> None:
    """A loss to the reference comes before the gain over the baseline, in both places."""
    overview, task = shown(summaries.REGRESSED).split("Back to all tasks")
    for figures in (
        "no regression -0.275 [-0.400, -0.100] baseline +0.250 [+0.080, +0.400]",
        "0.500 0.750 0.500 no regression -0.275",
    ):
        assert figures in overview
    places = [
        task.index(piece)
        for piece in (
            "✗ FAIL no regression worse than the reference",
            "✓ PASS beats baseline better",
            "the reference is out of date: metric changed",
            "1 of 4 held-out examples got worse than the reference, 0 better",
            "changed in the prompt since the reference: instruction and demos of route",
            "Examples, prompts, scores, cost",
        )
    ]
    assert places == sorted(places)


def test_a_missed_gain_compares_with_the_baseline() -> None:
    """Examples and prompts are compared with it first, also where there is a reference."""
    assert summaries.REGRESSED.report is not None
    gain, regression = summaries.REGRESSED.report.verdicts
    verdicts = (replace(gain, word="FAIL"), replace(regression, word="PASS"))
    outcome = replace(summaries.REGRESSED.report, verdicts=verdicts)
    text = shown(summaries.task_summary(outcome, failed=True))
    assert "Against the baseline, 1 of 4 got worse" in text
    first, second = (text.index(f"What changed against the {x}") for x in ("baseline", "reference"))
    assert first < second


def test_a_failed_assert_on_a_score_is_in_the_overview() -> None:
    """The overview has the first line of a message that repeats no verdict."""
    task = summaries.task_summary(
        summaries.report(), failed=True, message="assert 0.7 >= 0.8\n + where"
    )
    overview = shown(task).partition("Back to all tasks")[0]
    assert "test_router assert 0.7 >= 0.8 - not judged" in overview
    assert "+ where" not in overview


def test_a_message_that_repeats_a_verdict_is_folded() -> None:
    """A message that repeats a verdict is folded; any other is seen at once."""
    task = summaries.task_summary(
        summaries.report("FAIL", sentence="not better"),
        failed=True,
        message="assert FAIL: not better",
    )
    assert "The failing assert" in shown(task)
    assert "The failing assert" not in shown(replace(task, message="assert 1 == 2"))


def test_examples_are_compared_with_the_reference() -> None:
    """Each example has its texts, scores and change; worse ones come first."""
    page = render_html(summaries.summary(summaries.REGRESSED))
    kinds = re.findall(r'data-kinds="(.*?)"', page)
    assert kinds == ["worse", "same failed", "same", "same"]
    text = parse(page).text
    assert "Against the reference, 1 of 4 got worse , 0 got better and 3 stayed" in text
    assert "All (4)" in text
    assert "Got worse (1)" in text
    assert "Failed (1)" in text
    assert "ValueError: no team called 'x'" in text
    assert "ticket: Ticket 2 team: mobile team: mobile team: billing 1 1 0 ▼ worse" in text


def test_a_new_example_is_named_so() -> None:
    """An example that the reference does not have has neither a change nor its score."""
    examples = (summaries.held_out(1.0, 0.0), summaries.held_out(number=2, accepted=1.0))
    outcome = summaries.report(
        examples=examples, accepted=summaries.scorecard(examples[1:], "compiled")
    )
    text = shown(summaries.task_summary(outcome))
    assert "1 are new" in text
    assert "mobile 1 none 0 * new" in text


def test_every_answer_of_an_example_is_shown() -> None:
    """Several rollouts are numbered; an unknown answer has a placeholder."""
    example = replace(
        summaries.held_out(),
        baseline=ExampleResult(0.5),
        compiled=ExampleResult(0.5, ({"team": "a"}, {"team": "b"})),
    )
    text = shown(summaries.task_summary(summaries.report(examples=(example,))))
    assert "1. team: a\n2. team: b".replace("\n", " ") in text
    assert "(not kept)" in text


def test_a_traceback_is_folded_away() -> None:
    """The type and the message of a failure are seen; its traceback is folded away."""
    page = render_html(summaries.summary(summaries.PASSED))
    folded = re.search(
        r"<summary>[^/]*no team called[^/]*</span></summary>(.*?)</details>", page, re.DOTALL
    )
    assert folded is not None
    assert folded[1].startswith('<span class="text">\nTraceback:')


def test_no_table_without_examples() -> None:
    """A task of which only the scores are known has no table to sort."""
    outcome = replace(summaries.report("PASS"), held_out=())
    page = render_html(summaries.summary(summaries.task_summary(outcome)))
    assert "Only the scores are known." in page
    assert "data-filter" not in page.replace("[data-filter]", "")


def test_prompts_are_compared_word_by_word() -> None:
    """A replaced line has its different words marked, against both earlier programs."""
    page = render_html(summaries.summary(summaries.REGRESSED))
    assert "What changed against the reference" in page
    assert "What changed against the baseline" in page
    assert "<mark>it</mark>" in page
    assert "<mark>the product</mark>" in page
    text = parse(page).text
    assert "+ added: ticket: The app crashes | team: mobile" in text


def test_different_lines_have_no_marked_words() -> None:
    """Lines that have nothing in common are shown as removed and added."""
    old, new = Prompt("p", "Sort it."), Prompt("p", "Answer only with a word you know")
    outcome = summaries.report(prompts_before=(old,), prompts_after=(new,))
    page = render_html(summaries.summary(summaries.task_summary(outcome)))
    assert "<mark>" not in page
    assert "removed: </span>Sort it.</del>" in page


def test_an_unchanged_prompt_is_named_so() -> None:
    """A predictor without a change is shown, and called unchanged."""
    outcome = summaries.report(prompts_after=(summaries.BASELINE_PROMPT,))
    text = shown(summaries.task_summary(outcome))
    assert "route is unchanged" in text
    assert "None, before and after." in text


def test_the_search_has_words_too() -> None:
    """The chart of the search has a sentence, a legend and a table."""
    text = shown(summaries.PASSED)
    assert "3 trials on 180 rows, 1 dropped early." in text
    assert "On the 80 validation examples the baseline scores 0.450" in text
    assert "the winner (trial 2) 0.700" in text
    assert "1 20 0.350 dropped" in text
    assert "2 80 0.700 winner" in text


def test_a_search_without_a_winning_trial() -> None:
    """No trial is highlighted where the baseline is the best."""
    student = Candidate((0,), (0,))
    log = replace(summaries.SEARCH, winner=student, score=0.45)
    text = shown(summaries.task_summary(summaries.report(search=log)))
    assert "the program as it came 0.450" in text
    assert "2 80 0.700 kept" in text


def test_a_search_without_trials_has_words_only() -> None:
    """A search that was cut before its first trial has no chart."""
    log = SearchLog(80, (), Candidate((0,), (0,)), None, 0.0)
    cut = BudgetCut("--mipro-max-calls 5", "calls", 5.0)
    text = shown(summaries.task_summary(summaries.report(search=log, cut=cut)))
    assert "the baseline was not measured" in text
    assert "at --mipro-max-calls 5: 5 calls were left for it" in text


def test_written_instructions_say_what_they_come_from() -> None:
    """A written instruction has its round, its training examples and what it gained."""
    written = WrittenInstruction(2, "route", 5, 1, "Mind <b>refunds</b>.", (3, 17), 20, 0.15)
    log = SearchLog(80, (), Candidate((5,), (0,)), 0.5, 0.65, (written,))
    page = render_html(summaries.summary(summaries.task_summary(summaries.report(search=log))))
    assert "Mind &lt;b&gt;refunds&lt;/b&gt;." in page
    assert "<td>3, 17</td>" in page
    assert "+0.150</td>" in page


def test_unknown_costs_are_called_unknown() -> None:
    """Neither an unknown price nor an unknown latency is shown as a figure."""
    outcome = summaries.report(usage=Usage(3, 30, 6))
    compiled = replace(outcome.compiled, latency=None, usage=Usage(4, 40, 8))
    text = shown(summaries.task_summary(replace(outcome, compiled=compiled)))
    assert "This run, in all 3 36 unknown 12.6 s" in text
    assert "Baseline, a held-out example 1.0 120 $0.000525 0.42 s" in text
    assert "Compiled, a held-out example 1.0 12 unknown unknown" in text


def test_the_facts_about_an_outcome() -> None:
    """A task has its key, the reasons of its compile, its statistics and its acceptance."""
    accepted = Acceptance("first", ("a.json",), Means(4, 0.5, 0.75), (summaries.COMPILED_PROMPT,))
    text = shown(
        summaries.task_summary(summaries.report(acceptance=accepted, stale="metric changed"))
    )
    assert "Key 12ab34cd" in text
    assert "Compiled because metric changed (test_router.py:3)" in text
    assert "detectable difference 0.210" in text
    assert "first reference: a.json" in text


def large(tasks: int, examples: int, text: str) -> Summary:
    """Return a summary of ``tasks`` tasks, each with ``examples`` examples of this text."""
    held_out = tuple(
        summaries.held_out(
            float(number % 2), float(number % 3 > 0), number=number, ticket=text, baseline_team=text
        )
        for number in range(examples)
    )
    task = summaries.task_summary(summaries.report("FAIL", examples=held_out), failed=True)
    return summaries.summary(*[replace(task, task=f"task {number}") for number in range(tasks)])


def test_thousands_of_examples_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page about thousands of examples has those for which it has room."""
    monkeypatch.setattr(html, "MOST_BYTES", 1_000_000)
    page = render_html(large(2, 1000, "x" * 500))
    assert len(page.encode()) <= 1_000_000
    assert "Of each task, " in page
    assert re.search(r"The \d+ to look at first are shown; the JSON report has all\.", page)


def test_a_page_is_rendered_until_it_is_too_large() -> None:
    """The template stops as soon as the page has more bytes than it may have."""

    def pieces() -> Iterator[str]:
        yield "é"
        yield "b"
        pytest.fail("the template goes on")

    assert not html._joined(pieces(), 2)
    assert html._joined(["é", "b"], 3) == "éb"


@pytest.mark.parametrize("text", ["'" * 20_000, "\x9b" * 20_000, "\U000e0041" * 20_000])
def test_texts_that_grow_when_escaped_fit(text: str) -> None:
    """A text with many bytes a character is cut until the page is small enough."""
    page = render_html(large(4, 60, text))
    assert len(page.encode()) <= MOST_BYTES
    assert "more characters are in the JSON report" in page


def test_more_tasks_than_fit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page about thousands of tasks has those to look at first."""
    monkeypatch.setattr(html, "MOST_BYTES", 400_000)
    erred = replace(summaries.ERRED, message="x" * 5000)
    page = render_html(summaries.summary(*[erred] * 1001))
    assert len(page.encode()) <= 400_000
    assert "of 1,001 tasks are shown" in page


def test_long_searches_leave_room_for_words() -> None:
    """Charts of many trials are left out before examples."""
    trials = tuple(
        Trial(number, Candidate((number,), (0,)), 80, number / 500, dropped=False)
        for number in range(500)
    )
    log = SearchLog(80, trials, trials[-1].candidate, 0.0, 0.998)
    task = summaries.task_summary(summaries.report("PASS", search=log))
    page = render_html(summaries.summary(*[task] * 20))
    assert len(page.encode()) <= MOST_BYTES
    assert re.search(r"\d+ of 500 trials are shown", page)
    assert 0 < page.count("Pictures are left out here") < 40
    assert page.count("499</td>") == 20


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the missing packages and the command that installs them."""

    def find_some(name: str) -> ModuleSpec | None:
        return None if name in {"altair", "vl_convert"} else find_spec(name)

    monkeypatch.setattr(html, "find_spec", find_some)
    with pytest.raises(DeclarationError, match="altair and vl-convert-python are not installed"):
        require_html()
    with pytest.raises(DeclarationError, match=r'install "pytest-mipro\[html\]"'):
        render_html(summaries.summary())


def test_a_task_has_a_table_of_further_metrics() -> None:
    """The table has the means of all programs; a verdict names its metric."""
    text = render_html(summaries.summary(summaries.TONED))
    assert "Further metrics" in text
    row = text.partition('<th scope="row"><span class="text">tone</span></th>')[2]
    row = row.partition("</tr>")[0]
    assert [cell in row for cell in ("0.375", "0.625", "0.750", "+0.375")] == [True] * 4
    assert "no regression (tone)" in text
    assert "Further metrics" not in render_html(summaries.summary(summaries.PASSED))
