import re
from dataclasses import replace

import pytest
import summaries
from hostile import TEXTS
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.escaping import neutral
from pytest_mipro.records import Verdict
from pytest_mipro.report.github import (
    MOST_ANNOTATIONS,
    STEP_SUMMARY_LIMIT,
    render_annotations,
    render_step_summary,
)
from pytest_mipro.report.markdown import MARKER, render_markdown

COMMAND = re.compile(r"::(?P<name>\w+) (?P<properties>[^:]*)::(?P<data>.*)")


def parsed(line: str) -> tuple[str, dict[str, str], str]:
    """Return the name, the properties and the data of a command, as the runner reads them."""
    match = COMMAND.fullmatch(line)
    assert match is not None
    pairs = (pair.split("=", 1) for pair in match["properties"].split(","))
    properties = {name: unescaped(value) for name, value in pairs}
    return match["name"], properties, unescaped(match["data"])


def unescaped(text: str) -> str:
    """Return a text without the escapes of a command."""
    escapes = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}
    return re.sub("|".join(escapes), lambda match: escapes[match[0]], text)


def test_failures_are_errors_and_undecided_tests_warnings() -> None:
    """Errors come before failures, and each command points at its test."""
    assert [parsed(line) for line in render_annotations(summaries.summary())] == [
        (
            "error",
            {"file": "tests/test_router.py", "line": "30", "title": "broken: ERROR"},
            "the language model failed while running Router: LMAuthError: the key was revoked",
        ),
        (
            "error",
            {"file": "tests/test_router.py", "line": "12", "title": "summary: FAIL"},
            "no regression: FAIL: worse than the reference",
        ),
        (
            "warning",
            {"file": "tests/test_router.py", "line": "12", "title": "answer: INCONCLUSIVE"},
            "beats baseline: INCONCLUSIVE: so and so",
        ),
    ]


def test_a_passed_test_has_no_annotation() -> None:
    """A session in which every test passed has no annotation."""
    assert render_annotations(summaries.summary(summaries.PASSED)) == []


def test_the_message_is_shown_where_no_verdict_says_it() -> None:
    """An annotation has the message in one short line."""
    task = summaries.task_summary(
        summaries.report("PASS"), failed=True, message="assert 0.7 >= 0.8\n  where 0.7\n" * 99
    )
    ((_, properties, data),) = map(parsed, render_annotations(summaries.summary(task)))
    assert properties["title"] == "router: failed"
    assert data.startswith("assert 0.7 >= 0.8 where 0.7 assert")
    assert len(data) == 600


def test_a_warning_has_the_undecided_verdicts_only() -> None:
    """Verdicts that passed are not in it."""
    verdicts = (
        Verdict("beats_baseline", "PASS", "better", None),
        Verdict("no_regression", "INCONCLUSIVE", "ask more", None, tolerated=True),
    )
    task = summaries.task_summary(summaries.report(verdicts=verdicts))
    ((name, _, data),) = map(parsed, render_annotations(summaries.summary(task)))
    assert (name, data) == ("warning", "no regression: INCONCLUSIVE: ask more")


@pytest.mark.parametrize("count", [MOST_ANNOTATIONS, MOST_ANNOTATIONS + 1, 300])
def test_at_most_ten_of_each(count: int) -> None:
    """There are no more than GitHub shows, and the last counts the rest."""
    tasks = [*[summaries.ERRED] * count, *[summaries.UNDECIDED] * count]
    lines = render_annotations(summaries.summary(*tasks))
    for name in ("error", "warning"):
        commands = [line for line in lines if line.startswith(f"::{name} ")]
        assert len(commands) == MOST_ANNOTATIONS
        if count > MOST_ANNOTATIONS:
            assert commands[-1].endswith(f"::and {count - 9} more tasks, see the job summary")
        else:
            assert "more tasks" not in commands[-1]


@given(st.sampled_from(list(TEXTS.values())) | st.text())
def test_no_text_leaves_its_place(text: str) -> None:
    """Each command is one line with the same properties, whatever the texts in it."""
    lines = render_annotations(summaries.hostile(text))
    assert len(lines) == 2
    for line in lines:
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028]", line)
        name, properties, _ = parsed(line)
        assert name == "error"
        assert list(properties) == ["file", "line", "title"]
        assert neutral(line[2:]) == line[2:]


def test_escapes_are_those_of_the_toolkit() -> None:
    """Percent signs and line breaks are escaped anywhere, colons and commas in properties."""
    task = replace(summaries.ERRED, task="a%b:c,d", file="x\r,y.py", message="50% of: a, b")
    (line,) = render_annotations(summaries.summary(task))
    assert line == "::error file=x\\r%2Cy.py,line=30,title=a%25b%3Ac%2Cd%3A ERROR::50%25 of: a, b"


def test_the_step_summary_is_the_markdown() -> None:
    """The summary begins on a line of its own, after the output of other programs."""
    text = render_markdown(summaries.summary())
    assert render_step_summary(summaries.summary(), 0) == text
    assert render_step_summary(summaries.summary(), 10) == f"\n{text}"


@pytest.mark.parametrize("room", [0, 1, 100, 1000, 3000, 10_000])
def test_the_step_summary_fits_into_the_room_left(room: int) -> None:
    """It is empty where not even the headline fits."""
    text = render_step_summary(summaries.summary(), STEP_SUMMARY_LIMIT - room)
    assert len(text.encode()) <= room
    assert not text or text.startswith(f"\n{MARKER}\n## ")
    assert bool(text) == (room >= 1000)


def test_a_full_step_summary_gets_nothing_more() -> None:
    """The text is empty if other programs have filled the file."""
    assert not render_step_summary(summaries.summary(), STEP_SUMMARY_LIMIT + 5)
