from __future__ import annotations

from dataclasses import replace

import pytest
from hostile import TEXTS

from pytest_mipro.escaping import escaped_line
from pytest_mipro.records import Progress, Usage
from pytest_mipro.report.progress import progress_line
from pytest_mipro.report.text_width import columns


@pytest.mark.parametrize(
    "progress, left, line",
    [
        (Progress("bootstrap", 0, 6), None, "bootstrapping demos"),
        (Progress("propose", 0, 3), None, "proposing instructions"),
        (
            Progress("search", 3, 10, 0.8125, Usage(1420, 1000, 234, priced=1420, usd=0.5)),
            40.0,
            (
                "searching 3/10, best so far 0.812, about 40 s left, 1,420 LM calls, $0.5000, "
                "1,234 tokens"
            ),
        ),
        (
            Progress("evaluate", 5, None, None, Usage(7)),
            None,
            "scoring held-out examples, 7 LM calls",
        ),
        (Progress("search", 1, 10, 0.0), None, "searching 1/10, best so far 0.000"),
    ],
)
def test_lines(progress: Progress, left: float | None, line: str) -> None:
    """A line has the phase, its counts, the best score and the cost, as far as known."""
    assert progress_line("router", progress, left=left) == f"mipro: router: {line}"


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0.4, "about 10 s left"),
        (44, "about 40 s left"),
        (61, "about 1 min left"),
        (3500, "about 58 min left"),
        (5 * 3600, "about 5 h left"),
    ],
)
def test_time_left(seconds: float, words: str) -> None:
    """An estimate is rounded to tens of seconds, minutes or hours."""
    assert words in progress_line("router", Progress("search", 1, 2), left=seconds)


def test_facts_that_do_not_fit_are_left_out() -> None:
    """The others are complete, the most important first."""
    progress = Progress("search", 3, 10, 0.8125, Usage(420, 100, 10))
    lines = [progress_line("router", progress, left=40, width=width) for width in (30, 60, 99)]
    assert lines == [
        "router: searching 3/10",
        "router: searching 3/10, best so far 0.812, about 40 s left",
        "router: searching 3/10, best so far 0.812, about 40 s left, 420 LM calls, 110 tokens",
    ]


def test_a_provider_error_replaces_the_facts() -> None:
    """While a model is asked again, the line has the error instead of the other facts."""
    usage = Usage(420, 100, 10)
    progress = Progress("search", 3, 10, 0.8125, usage, provider_error="Refused: by\nhost \x1b[31m")
    words = "searching 3/10, asking the model again: Refused: by\\nhost \\x1b[31m"
    assert progress_line("router", progress, left=40) == f"mipro: router: {words}"
    assert progress_line("router", progress, width=99) == f"router: {words}"
    assert progress_line("router", progress, width=60) == "router: searching 3/10"


@pytest.mark.parametrize("provider_error", TEXTS)
@pytest.mark.parametrize("width", [10, 40, 200])
def test_any_provider_error_fits(provider_error: str, width: int) -> None:
    """The line is one line, and not wider than the terminal."""
    line = progress_line(
        "router", Progress("search", 3, 10, provider_error=provider_error * 99), width=width
    )
    assert columns(line) <= width
    assert escaped_line(line) == line


def test_a_long_name_leaves_room_for_the_counts() -> None:
    """The name is cut first."""
    line = progress_line("test_" + "x" * 99, Progress("search", 3, 10), width=40)
    assert line.endswith("…: searching 3/10")
    assert len(line) == 40


def test_the_record_is_not_changed() -> None:
    """Rendering only reads the record."""
    progress = Progress("search", 1, 2, 0.5, Usage(1))
    copy = replace(progress)
    progress_line("router", progress)
    assert progress == copy


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("width", [None, 40, 79])
def test_a_hostile_name_is_escaped(width: int | None, text: str) -> None:
    """A name adds no line, and neither a terminal nor a CI system obeys it."""
    line = progress_line(text, Progress("search", 1, 2), width=width)
    assert escaped_line(line) == line
    assert width is None or columns(line) <= width
