"""The HTML report: one safe, small file with everything in it."""

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
    Candidate,
    Cut,
    ExampleResult,
    Means,
    Prompt,
    SearchLog,
    Trial,
    Usage,
    Verdict,
)
from pytest_mipro.report import charts, html
from pytest_mipro.report.html import MOST_BYTES, render_html, require_html
from pytest_mipro.report.html_filters import Limits, excerpt

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
    """Draw each picture once for all tests: drawing takes longer than all else in a page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "score_chart", once(charts.score_chart))
        patch.setattr(charts, "search_chart", once(charts.search_chart))
        yield


def once(draw: Callable[..., str]) -> Callable[..., str]:
    """Return ``draw`` with a memory for what it has drawn."""
    drawn: dict[str, str] = {}

    def draw_once(*content: object) -> str:
        key = repr(content)
        if key not in drawn:
            drawn[key] = draw(*content)
        return drawn[key]

    return draw_once


@dataclass
class Parsed(HTMLParser):
    """What a parser makes of a page."""

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
        """What there is to read, and a little more."""
        return " ".join(" ".join(self.words).split())


def parse(page: str) -> Parsed:
    """Read a page, of which every element is closed."""
    parsed = Parsed()
    parsed.feed(page)
    parsed.close()
    assert parsed.open == []
    return parsed


def shown(*tasks: TaskSummary) -> str:
    """Return the text of a report about these tasks."""
    return parse(render_html(summaries.summary(*tasks))).text


def tame(text: str) -> str:
    """Return a harmless text of the same form: the same words, and arrows for all else."""
    return "".join(
        each if each.isalnum() or each.isspace() or each in f"{BREAKS}_" else _arrow(each)
        for each in text
    )


def _arrow(character: str) -> str:
    return chr(0x2190 + ord(character) % 200)


@pytest.mark.parametrize("name", hostile.TEXTS)
def test_hostile_text_adds_nothing_to_the_page(name: str) -> None:
    """Whatever a text says, the page has the elements it has with harmless words."""
    text = hostile.TEXTS[name]
    page = render_html(summaries.hostile(text))
    parsed, expected = parse(page), parse(render_html(summaries.hostile(tame(text))))
    assert parsed.tags == expected.tags
    assert not CONTROL.search(page)
    assert len(page.encode()) <= MOST_BYTES


def test_only_known_elements_and_no_handlers() -> None:
    """There is one style sheet, one script, no event handler, and no address but in the page."""
    for found in (summaries.summary(), summaries.hostile(hostile.TEXTS["attribute"])):
        parsed = parse(render_html(found))
        names = [tag.partition(" ")[0] for tag in parsed.tags]
        assert {name for name in names if not name.startswith("/")} <= ELEMENTS
        assert names.count("script") == names.count("style") == 1
        for _, name, value in parsed.attributes:
            assert not name.startswith("on")
            assert name not in {"src", "style", "srcset", "action"}
            assert name != "href" or value.startswith("#") or value == "data:,"


def test_nothing_but_its_own_style_and_script_may_run() -> None:
    """The policy allows what has the digest of the package's files, and no request."""
    page = render_html(summaries.summary())
    policy = next(
        value
        for tag, _, value in parse(page).attributes
        if tag == "meta" and "default-src" in value
    )
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        found = re.search(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert found is not None
        assert html._hash(found[1]) in policy


def test_ids_are_unique() -> None:
    """No two elements have one id, and every reference finds its element."""
    parsed = parse(render_html(summaries.summary()))
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = [
        value.removeprefix("#")
        for _, name, value in parsed.attributes
        if name == "aria-labelledby" or (name == "href" and value.startswith("#"))
    ]
    assert set(targets) <= set(ids)


def test_overview_says_what_happened() -> None:
    """The page opens with the headline and a row for each task, worst first."""
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


def test_an_interrupted_run_says_so() -> None:
    """A report of a part of the tests does not look like one of all."""
    found = replace(summaries.summary(), interrupted=True)
    assert "the run was interrupted" in parse(render_html(found)).text


def test_its_words_are_those_of_the_other_reports() -> None:
    """A program is the baseline, compiled or the reference, and what it took is the effort."""
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
    """A run in which nothing was judged is reported, too."""
    found = replace(summaries.summary(), tasks=(), orphans=None)
    assert "<h1>" in render_html(found)


def test_an_error_shows_its_message_and_no_score() -> None:
    """A task without an outcome is an ERROR with its message."""
    text = shown(summaries.ERRED)
    assert text.count("LMAuthError: the key was revoked") == 2
    assert "! ERROR" in text
    assert "Scores" not in text


def test_verdicts_are_sentences() -> None:
    """Each verdict has its word, its question and its sentence; a tolerated one says so."""
    undecided = Verdict("no regression", "INCONCLUSIVE", "too few", summaries.COMPARISON, True)
    text = shown(summaries.task_summary(summaries.report("FAIL", sentence="not better")))
    assert "✗ FAIL beats baseline not better" in text
    assert "(this word passes here) too few" in shown(
        summaries.task_summary(summaries.report(verdicts=(undecided,)))
    )
    for word in ("PASS", "FAIL"):
        found = summaries.report(verdicts=(replace(undecided, word=word),))
        assert "this word passes here" not in shown(
            summaries.task_summary(found, failed=word == "FAIL")
        )
    assert "The test asked for no verdict." in shown(summaries.task_summary(summaries.report()))


def test_a_loss_is_not_told_as_a_gain() -> None:
    """What was lost comes before what is still better than the baseline, on top as below."""
    overview, task = shown(summaries.REGRESSED).split("Back to all tasks")
    for told in (
        "no regression -0.275 [-0.400, -0.100] baseline +0.250 [+0.080, +0.400]",
        "0.500 0.750 0.500 no regression -0.275",
    ):
        assert told in overview
    places = [
        task.index(each)
        for each in (
            "✗ FAIL no regression worse than the reference",
            "✓ PASS beats baseline better",
            "the reference is out of date: metric changed",
            "1 of 4 held-out examples got worse than the reference, 0 better",
            "changed in the prompt since the reference: instruction and demos of route",
            "Examples, prompts, scores, cost",
        )
    ]
    assert places == sorted(places)


def test_a_missed_gain_is_about_the_baseline() -> None:
    """Examples and prompts are compared with it first, though there is a reference."""
    assert summaries.REGRESSED.report is not None
    gain, kept = summaries.REGRESSED.report.verdicts
    verdicts = (replace(gain, word="FAIL"), replace(kept, word="PASS"))
    found = replace(summaries.REGRESSED.report, verdicts=verdicts)
    text = shown(summaries.task_summary(found, failed=True))
    assert "Against the baseline, 1 of 4 got worse" in text
    first, second = (text.index(f"What changed against the {x}") for x in ("baseline", "reference"))
    assert first < second


def test_a_failed_assert_on_a_score_is_on_top() -> None:
    """No verdict says it, so the overview has its first line."""
    task = summaries.task_summary(
        summaries.report(), failed=True, message="assert 0.7 >= 0.8\n + where"
    )
    overview = shown(task).partition("Back to all tasks")[0]
    assert "test_router assert 0.7 >= 0.8 - not judged" in overview
    assert "+ where" not in overview


def test_a_message_that_repeats_a_verdict_is_folded() -> None:
    """The reader does not read one sentence twice; another message is seen at once."""
    task = summaries.task_summary(
        summaries.report("FAIL", sentence="not better"),
        failed=True,
        message="assert FAIL: not better",
    )
    assert "The failing assert" in shown(task)
    assert "The failing assert" not in shown(replace(task, message="assert 1 == 2"))


def test_examples_are_compared_with_the_reference() -> None:
    """Each example has its texts, scores and change; those that got worse come first."""
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


def test_a_new_example_is_not_called_the_same() -> None:
    """What the reference does not know has no change, and no reference score."""
    examples = (summaries.held_out(1.0, 0.0), summaries.held_out(number=2, accepted=1.0))
    found = summaries.report(
        examples=examples, accepted=summaries.scorecard(examples[1:], "compiled")
    )
    text = shown(summaries.task_summary(found))
    assert "1 are new" in text
    assert "mobile 1 none 0 * new" in text


def test_every_answer_of_an_example_is_shown() -> None:
    """Several rollouts are numbered; an answer of which only the score is known says so."""
    example = replace(
        summaries.held_out(),
        baseline=ExampleResult(0.5),
        compiled=ExampleResult(0.5, ({"team": "a"}, {"team": "b"})),
    )
    text = shown(summaries.task_summary(summaries.report(examples=(example,))))
    assert "1. team: a\n2. team: b".replace("\n", " ") in text
    assert "(not kept)" in text


def test_a_traceback_is_folded_away() -> None:
    """A failure is its type and message; the traceback follows on a line of its own."""
    page = render_html(summaries.summary(summaries.PASSED))
    folded = re.search(
        r"<summary>[^/]*no team called[^/]*</span></summary>(.*?)</details>", page, re.DOTALL
    )
    assert folded is not None
    assert folded[1].startswith('<span class="text">\nTraceback:')


def test_examples_that_are_unknown_are_no_table() -> None:
    """Where only the scores are known there is nothing to sort."""
    found = replace(summaries.report("PASS"), held_out=())
    page = render_html(summaries.summary(summaries.task_summary(found)))
    assert "Only the scores are known." in page
    assert "data-filter" not in page.replace("[data-filter]", "")


def test_prompts_are_compared_word_by_word() -> None:
    """A replaced line shows the words that differ; both earlier prompts are compared with."""
    page = render_html(summaries.summary(summaries.REGRESSED))
    assert "What changed against the reference" in page
    assert "What changed against the baseline" in page
    assert "<mark>it</mark>" in page
    assert "<mark>the product</mark>" in page
    text = parse(page).text
    assert "+ added: ticket: The app crashes | team: mobile" in text


def test_unlike_lines_are_shown_whole() -> None:
    """Lines that have nothing in common are not taken apart."""
    before, after = Prompt("p", "Sort it."), Prompt("p", "ExampleResult only with a word you know")
    found = summaries.report(prompts_before=(before,), prompts_after=(after,))
    page = render_html(summaries.summary(summaries.task_summary(found)))
    assert "<mark>" not in page
    assert "removed: </span>Sort it.</del>" in page


def test_a_prompt_that_is_the_same_says_so() -> None:
    """A predictor nobody changed is shown, and called unchanged."""
    found = summaries.report(prompts_after=(summaries.BASELINE_PROMPT,))
    text = shown(summaries.task_summary(found))
    assert "route is unchanged" in text
    assert "None, before and after." in text


def test_search_is_told_in_words_too() -> None:
    """The picture of the search has a sentence, a legend and a table."""
    text = shown(summaries.PASSED)
    assert "3 trials on 180 rows, 1 dropped early." in text
    assert "On the 80 validation examples the baseline scores 0.450" in text
    assert "the winner (trial 2) 0.700" in text
    assert "1 20 0.350 dropped" in text
    assert "2 80 0.700 winner" in text


def test_a_search_that_kept_the_program_has_no_winning_trial() -> None:
    """Where the program as it came is the best, no trial is highlighted."""
    student = Candidate((0,), (0,))
    log = replace(summaries.SEARCH, winner=student, score=0.45)
    text = shown(summaries.task_summary(summaries.report(search=log)))
    assert "the program as it came 0.450" in text
    assert "2 80 0.700 kept" in text


def test_a_search_that_was_cut_at_once_has_words_only() -> None:
    """Without a trial or a baseline there is nothing to draw."""
    log = SearchLog(80, (), Candidate((0,), (0,)), None, 0.0)
    cut = Cut("--mipro-max-calls 5", "calls", 5.0)
    text = shown(summaries.task_summary(summaries.report(search=log, cut=cut)))
    assert "the baseline was not measured" in text
    assert "at --mipro-max-calls 5: 5 calls were left for it" in text


def test_costs_that_are_unknown_are_called_so() -> None:
    """No price is not a price of zero, and no latency no speed."""
    found = summaries.report(usage=Usage(3, 30, 6))
    quiet = replace(found.compiled, latency=None, usage=Usage(4, 40, 8))
    text = shown(summaries.task_summary(replace(found, compiled=quiet)))
    assert "This run, in all 3 36 unknown 12.6 s" in text
    assert "Baseline, a held-out example 1.0 120 $0.000525 0.42 s" in text
    assert "Compiled, a held-out example 1.0 12 unknown unknown" in text


def test_how_it_came_about_is_told() -> None:
    """The key, the reasons, what is stale and what was accepted are there."""
    accepted = Acceptance("first", ("a.json",), Means(4, 0.5, 0.75), (summaries.COMPILED_PROMPT,))
    text = shown(
        summaries.task_summary(summaries.report(acceptance=accepted, stale="metric changed"))
    )
    assert "Key 12ab34cd" in text
    assert "Compiled because metric changed (test_router.py:3)" in text
    assert "detectable difference 0.210" in text
    assert "first reference: a.json" in text


def test_long_texts_are_folded_and_cut() -> None:
    """What is not seen at once is folded; what is not in the page is counted."""
    limits = Limits(rows=10, characters=1000)
    found = excerpt("word " * 300, limits)
    assert found.head == "word " * 48
    assert found.head + found.rest == "word " * 200
    assert found.left == 500
    many = excerpt("a\n" * 20, limits)
    assert many.head == "a\n" * 6


def large(tasks: int, examples: int, text: str) -> Summary:
    """Return a summary with so many tasks and examples, with texts as long as this."""
    held_out = tuple(
        summaries.held_out(
            float(number % 2), float(number % 3 > 0), number=number, ticket=text, baseline_team=text
        )
        for number in range(examples)
    )
    found = summaries.task_summary(summaries.report("FAIL", examples=held_out), failed=True)
    return summaries.summary(*[replace(found, task=f"task {number}") for number in range(tasks)])


def test_thousands_of_examples_fit() -> None:
    """Tasks of a thousand examples each are shown as far as there is room."""
    page = render_html(large(8, 1000, "x" * 500))
    assert len(page.encode()) <= MOST_BYTES
    assert "Of each task, " in page
    assert re.search(r"The \d+ to look at first are shown; the JSON report has all\.", page)


@pytest.mark.parametrize("text", ["'" * 20_000, "\x9b" * 20_000, "\U000e0041" * 20_000])
def test_texts_that_grow_when_escaped_fit(text: str) -> None:
    """A text that takes many bytes a character is cut until the page is small enough."""
    page = render_html(large(4, 60, text))
    assert len(page.encode()) <= MOST_BYTES
    assert "more characters are in the JSON report" in page


def test_more_tasks_than_fit_are_counted() -> None:
    """A session of thousands of tests has a page of those to look at first."""
    erred = replace(summaries.ERRED, message="x" * 5000)
    page = render_html(summaries.summary(*[erred] * 2100))
    assert len(page.encode()) <= MOST_BYTES
    assert "of 2,100 tasks are shown" in page


def test_long_searches_leave_room_for_words() -> None:
    """Pictures of many trials are left out before examples are."""
    trials = tuple(
        Trial(number, Candidate((number,), (0,)), 80, number / 500, dropped=False)
        for number in range(500)
    )
    log = SearchLog(80, trials, trials[-1].candidate, 0.0, 0.998)
    found = summaries.task_summary(summaries.report("PASS", search=log))
    page = render_html(summaries.summary(*[found] * 20))
    assert len(page.encode()) <= MOST_BYTES
    assert re.search(r"\d+ of 500 trials are shown", page)
    assert 0 < page.count("Pictures are left out here") < 40
    assert page.count("499</td>") == 20


def test_scores_are_counted_one_by_one_or_in_bins() -> None:
    """Few different scores are shown as they are, many in ten ranges, none is lost."""
    few = charts.score_counts({"baseline": [0.0, 1.0, 0.0], "compiled": [1.0, 1.0, 0.5]})
    assert few == charts.ScoreCounts(
        ("0", "0.5", "1"), {"baseline": (2, 0, 1), "compiled": (0, 1, 2)}
    )
    many = charts.score_counts({"baseline": [number / 20 for number in range(21)]})
    assert many.bins[0] == "0 to 0.1"
    assert sum(many.counts["baseline"]) == 21
    wide = charts.score_counts({"baseline": [-5.0, *map(float, range(10))]})
    assert sum(wide.counts["baseline"]) == 11
    near = charts.score_counts({"baseline": [0.33333, 0.33334]})
    assert near.bins == ("0.33333", "0.33334")


def test_the_best_so_far_was_measured_in_full() -> None:
    """A candidate that was dropped after a lucky start is never the best."""
    trials = (
        Trial(0, Candidate((1,), (0,)), 5, 1.0, dropped=True),
        Trial(1, Candidate((2,), (0,)), 80, 0.4, dropped=False),
        Trial(2, Candidate((3,), (0,)), 80, 0.6, dropped=False),
    )
    log = SearchLog(80, trials, Candidate((3,), (0,)), 0.5, 0.6)
    assert [(each.kind, each.best) for each in charts.trial_points(log)] == [
        ("dropped", 0.5),
        ("kept", 0.5),
        ("winner", 0.6),
    ]


def test_axes_have_whole_numbers() -> None:
    """There is no half example and no half trial."""
    assert charts._ticks(0, 2) == [0, 1, 2]
    assert charts._ticks(0, 13) == [0, 5, 10]
    assert charts._ticks(7, 7) == [7]


def test_pictures_are_coloured_by_the_page() -> None:
    """No colour is fixed, so that a dark page has dark pictures."""
    points = charts.trial_points(summaries.SEARCH)
    drawn = [
        charts.score_chart(charts.score_counts({"baseline": [0.0, 1.0], "accepted": [1.0, 1.0]})),
        charts.search_chart(points, 0.45, 80),
    ]
    for each in drawn:
        colours = re.findall(r'(?:fill|stroke)="([^"]*)"', each)
        assert {name for name in colours if not name.startswith("var(--")} <= {
            "none",
            "transparent",
        }
        assert "id=" not in each


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error names the packages and the command that installs them."""

    def found(name: str) -> ModuleSpec | None:
        return None if name in {"altair", "vl_convert"} else find_spec(name)

    monkeypatch.setattr(html, "find_spec", found)
    with pytest.raises(DeclarationError, match="altair and vl-convert-python are not installed"):
        require_html()
    with pytest.raises(DeclarationError, match=r'install "pytest-mipro\[html\]"'):
        render_html(summaries.summary())
